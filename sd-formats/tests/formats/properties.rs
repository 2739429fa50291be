//! Whatever the bytes are, nothing panics; whatever is written is read back; whatever is read can be edited.

use crate::{lease, named};
use proptest::prelude::*;
use sd_core::{Advert, Bytes, Edit, Entry, Format, Instance, JsonObject, Key, Status};
use sd_test_support::cases;
use serde_json::value::RawValue;

/// Formats, some with options.
fn format() -> impl Strategy<Value = String> {
    let names: Vec<_> = sd_formats::all()
        .iter()
        .map(|it| it.name().to_owned())
        .collect();
    let options = [
        "kratos?scheme=http",
        "grpc?depth=every",
        "dubbo-interface?group=g&version=1.0&protocol=tri",
    ];
    let options = options.map(str::to_owned);
    prop::sample::select([names, options.to_vec()].concat())
}

/// Text in which the characters that matter here are common.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z0-9]{1,4}",
        1 => ".{0,6}",
        2 => "[a-z:/.@{}\"\\[\\]é %+&=#?;,~<\n-]{0,8}",
        1 => prop::sample::select(vec!["weight", "zone", "group", "null", "methods", "", "-1", "3"])
            .prop_map(String::from),
    ]
}

fn address() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z]{1,3}:[1-9][0-9]{0,3}",
        1 => "\\[[0-9a-f]{1,2}::[0-9a-f]{1,2}\\]:[1-9]{1,4}",
        1 => "[0-9a-f]{1,2}::[0-9a-f]{1,2}:[1-9]{1,4}",
        1 => "(http|grpc|tri|x)://[a-z]{1,3}:[1-9][0-9]?(/[a-z]{1,2}(\\?a=b)?)?",
        1 => text(),
    ]
}

fn advert() -> impl Strategy<Value = Advert> {
    let some = |chance: f64| prop::option::weighted(chance, text());
    let metadata = prop::collection::btree_map(text(), text(), 0..3);
    let others = prop::collection::vec(address(), 0..2);
    let weight = prop::option::weighted(0.3, prop_oneof![0..3_u32, Just(u32::MAX)]);
    let status = prop::bool::weighted(0.1);
    (
        address(),
        others,
        weight,
        status,
        some(0.2),
        some(0.3),
        some(0.2),
        metadata,
    )
        .prop_map(
            |(address, others, weight, drains, zone, id, version, metadata)| {
                let mut advert = Advert::new(address);
                advert = others
                    .into_iter()
                    .fold(advert, |it, other| it.address(other));
                if let Some(weight) = weight {
                    advert = advert.weight(weight);
                }
                if drains {
                    advert = advert.status(Status::Draining);
                }
                if let Some(zone) = zone {
                    advert = advert.zone(zone);
                }
                if let Some(id) = id {
                    advert = advert.id(id);
                }
                if let Some(version) = version {
                    advert = advert.version(version);
                }
                metadata
                    .into_iter()
                    .fold(advert, |it, (name, value)| it.metadata(name, value))
            },
        )
}

/// What might be JSON of one of the formats, and often nearly is.
fn json() -> impl Strategy<Value = String> {
    let fields = vec![
        "address",
        "Addr",
        "addr",
        "Host",
        "Port",
        "weight",
        "Weight",
        "Enable",
        "Healthy",
        "metadata",
        "Metadata",
        "tags",
        "id",
        "ID",
        "UniqueId",
        "name",
        "Name",
        "version",
        "endpoints",
        "nodes",
        "x",
    ];
    let leaf = prop_oneof![
        3 => address().prop_map(|address| format!("{address:?}")),
        1 => prop::sample::select(vec![
            "null", "1", "-1", "80", "1e400", "{}", "[]", "true", "false", "\"svc\"", "[\"grpc://h:1\"]",
            "{\"weight\":\"3\"}", "{\"a\":1}", "[{\"address\":\"h:1\"},{\"id\":\"1\",\"address\":\"h:2\"}]",
        ]).prop_map(String::from),
    ];
    let field = (prop::sample::select(fields), leaf);
    prop::collection::vec(field, 0..6).prop_map(|fields| {
        let fields = fields
            .iter()
            .map(|(name, value)| format!("{name:?}:{value}"));
        format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
    })
}

fn value() -> impl Strategy<Value = Bytes> {
    let bytes = prop::collection::vec(any::<u8>(), 0..64).prop_map(Bytes::from);
    let mangled =
        (json(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(json, at, byte)| {
            let mut bytes = json.into_bytes();
            *at.get_mut(&mut bytes) = byte;
            Bytes::from(bytes)
        });
    let base = |fields: &'static str| {
        json().prop_map(move |json| {
            Bytes::from(format!("{{{fields},{}", &json[1..]).replace(",}", "}"))
        })
    };
    prop_oneof![
        1 => bytes,
        1 => address().prop_map(Bytes::from),
        2 => json().prop_map(Bytes::from),
        1 => mangled,
        1 => base(r#""name":"svc","endpoints":["grpc://h:1","http://h:2"]"#),
        1 => base(r#""address":"h:1","Addr":"h:1","Host":"h","Port":1"#),
        1 => base(r#""nodes":[{"id":"1","address":"h:1","x":1},7,{"address":"h:2"}]"#),
    ]
}

fn key(format: &dyn Format, rest: &str) -> Key {
    let prefix = format.prefix("svc").unwrap();
    Key::new(format!("{prefix}{rest}")).unwrap()
}

fn rest() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("7".to_owned()),
        "[a-z0-9/:.%+&=?#-]{0,12}",
        "(dubbo|tri)%3A%2F%2Fh%3A[1-9]%2Fsvc%3F[a-z0-9%+=]{0,12}",
        "(dubbo|tri)://h:[1-9]/svc\\?(group=g&)?[a-z0-9%+=&]{0,12}",
        ".{0,8}",
    ]
}

/// The fields of an object, and of the objects in its lists, but for those that an edit of weight and metadata may
/// touch: each with its text.
fn others(json: &[u8]) -> Vec<String> {
    const TOUCHED: [&str; 3] = ["weight", "metadata", "tags"];
    let Ok(object) = JsonObject::parse(json) else {
        return Vec::new();
    };
    let is_other = |(name, _): &(&str, &str)| !TOUCHED.contains(&&*name.to_lowercase());
    let fields = object.iter().filter(is_other);
    let texts =
        fields.flat_map(
            |(name, value)| match serde_json::from_str::<Vec<&RawValue>>(value) {
                Ok(list) => list
                    .iter()
                    .flat_map(|it| other_or_whole(it.get()))
                    .collect(),
                Err(_) => vec![format!("{name}:{value}")],
            },
        );
    texts.collect()
}

fn other_or_whole(json: &str) -> Vec<String> {
    match json.starts_with('{') {
        true => others(json.as_bytes()),
        false => vec![json.to_owned()],
    }
}

/// What was said of it, whatever the format adds where nothing was.
fn says(read: &Instance, said: &Instance) -> bool {
    let is_said = |read: Option<&str>, said: Option<&str>| said.is_none() || read == said;
    let address = |it: &Instance| match it.address().split_once("://") {
        Some((_, rest)) if read.address() != it.address() => rest.to_owned(),
        _ => it.address().to_owned(),
    };
    let is_weight = match (read.said_weight(), said.said_weight()) {
        // Each of these stands for nothing said.
        (read, None) => read.is_none_or(|weight| weight == 10),
        // The toolkit's own leaves a weight of 1 out.
        (None, Some(said)) => said == read.weight(),
        (read, said) => read == said,
    };
    is_weight
        && address(read) == address(said)
        && read.other_addresses().eq(said.other_addresses())
        && read.status() == said.status()
        && read.zone() == said.zone()
        && is_said(read.id(), said.id())
        && is_said(read.version(), said.version())
        && read.all_metadata().eq(said.all_metadata())
}

proptest! {
    #![proptest_config(cases(8))]

    #[test]
    fn whatever_is_written_is_read_back(format in format(), service in "[a-z]{1,3}", advert in advert()) {
        let format = named(&format);
        let Ok(written) = format.service(&service, &advert) else { return Ok(()) };
        let entry = Entry::new(written.key.under(&lease()), written.value);
        prop_assert!(format.prefix(&service).unwrap().matches(&entry.key));
        let codec = format.codec(&service).unwrap();
        let decoded = codec.decode(&entry).unwrap();
        prop_assert!(decoded.ignored().is_none(), "{:?}", decoded);
        let [read] = decoded.instances() else { panic!("{decoded:?}") };
        let said = advert.to_instance(entry.key.clone());
        prop_assert!(says(read, &said), "{read:?} of {said:?} in {}", format.name());
        // And so on for ever.
        let again = entry.clone().with_value(codec.encode(read).unwrap());
        let again = codec.decode(&again).unwrap();
        prop_assert_eq!(again.instances(), decoded.instances());
    }

    #[test]
    fn whatever_the_bytes_are_nothing_panics(
        format in format(), rest in rest(), value in value(), part in prop::option::of(text()),
    ) {
        let format = named(&format);
        let entry = Entry::new(key(&*format, &rest), value);
        let codec = format.codec("svc").unwrap();
        let mut edit = Edit::new().weight(5).metadata("a", "b").without_metadata("c");
        edit.part = part;
        let Ok(decoded) = codec.decode(&entry) else {
            prop_assert!(codec.edit(&entry, &edit).is_err());
            return Ok(());
        };
        for instance in decoded.instances() {
            prop_assert_eq!(instance.key(), &entry.key);
            let _ = codec.encode(instance);
        }
        let Ok(edited) = codec.edit(&entry, &edit) else { return Ok(()) };
        let expected = decoded.instances().iter().cloned().map(|it| edit.apply(it));
        let read = codec.decode(&edited).unwrap();
        let read = read.into_iter().map(|it| it.with_key(entry.key.clone()));
        prop_assert_eq!(read.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        prop_assert_eq!(others(&edited.value), others(&entry.value));
    }

    #[test]
    fn whatever_a_service_is_called_its_keys_are_its_own(
        format in format(), one in text(), other in text(), advert in advert(),
    ) {
        let format = named(&format);
        let (Ok(mine), Ok(theirs)) = (format.prefix(&one), format.service(&other, &advert)) else {
            return Ok(());
        };
        prop_assert!(!mine.as_str().contains(char::is_control));
        let key = theirs.key.under(&lease());
        let is_same = |name: &str| name.replace('/', "-");
        if is_same(&one) != is_same(&other) && mine.matches(&key) {
            let entry = Entry::new(key, theirs.value);
            let decoded = format.codec(&one).unwrap().decode(&entry).unwrap();
            prop_assert!(decoded.instances().is_empty(), "{one} has {entry:?} of {other}");
        }
    }
}
