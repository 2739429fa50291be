use super::*;
use crate::{registry::LeaseId, support::cases};
use proptest::prelude::*;

fn key() -> Key {
    Key::new("/services/hello/a").unwrap()
}

fn decode(value: impl Into<Bytes>) -> Option<Instance> {
    DefaultCodec.decode(&Entry::new(key(), value)).ok()
}

#[test]
fn addresses_are_told_from_garbage() {
    for good in [
        "10.0.0.1:8080",
        "localhost:1",
        "[::1]:8080",
        "hello.default.svc:65535",
        "http://10.0.0.1:8080",
        "https://hello.local/path",
        "grpc://[::1]:8080",
    ] {
        assert!(decode(good).is_some(), "{good:?}");
    }
    for bad in [
        "",
        " ",
        "hello",
        ":80",
        "host:",
        "host:65536",
        "host:+80",
        "a b:80",
        "[x]:80",
        "a:b:80",
        "://x",
        "http://",
        "1tp://x",
        "key=value:80",
        "host:80\n",
        "<html>:80",
        "unix:///run/hello.sock",
        "gopher://h:70/",
        "http://user:secret@h:80",
        "h:0",
    ] {
        assert!(decode(bad).is_none(), "{bad:?}");
    }
    assert!(decode(&b"\xff\xfe:80"[..]).is_none());
    assert!(decode(vec![b'x'; 1 << 20]).is_none());
}

#[test]
fn foreign_json_is_not_an_instance() {
    for bad in [
        "{",
        "{}",
        "{\"address\":1}",
        "{\"address\":\"\"}",
        "{\"address\":\"x\"}",
        "{\"Addr\":\"10.0.0.1:80\"}",
        "[\"10.0.0.1:80\"]",
    ] {
        assert!(decode(bad).is_none(), "{bad:?}");
    }
    let deep = "{\"address\":".to_owned() + &"[".repeat(60_000);
    assert!(decode(deep).is_none());
    let unknown = decode("{\"address\":\"h:1\",\"colour\":\"red\"}").unwrap();
    assert_eq!(unknown.address(), "h:1");
}

#[test]
fn a_lease_is_no_part_of_the_value() {
    let plain = Instance::new(key(), "h:1");
    for instance in [plain.clone(), plain.with_weight(3)] {
        let leased = instance.clone().with_lease(LeaseId::from(7));
        let value = DefaultCodec.encode(&leased).unwrap();
        assert_eq!(value, DefaultCodec.encode(&instance).unwrap());
        assert_eq!(decode(value), Some(instance));
    }
}

/// Row 34: a newer or foreign provider writes an attribute that this codec does not know.
#[test]
fn one_strange_attribute_costs_the_attribute_only() {
    let plain = Instance::new(key(), "h:1")
        .with_weight(3)
        .with_zone("eu-1")
        .with_metadata("a", "b");
    let no_weight = plain.clone().with_weight(1);
    let no_zone = Instance::new(key(), "h:1")
        .with_weight(3)
        .with_metadata("a", "b");
    let no_metadata = Instance::new(key(), "h:1").with_weight(3).with_zone("eu-1");
    for (attribute, value, expected) in [
        ("weight", "1.0", &no_weight),
        ("weight", "\"10\"", &no_weight),
        ("weight", "-1", &no_weight),
        ("weight", "4294967296", &no_weight),
        ("weight", "1e400", &no_weight),
        ("weight", "null", &no_weight),
        ("zone", "7", &no_zone),
        ("zone", "null", &no_zone),
        ("status", "\"starting\"", &plain),
        ("status", "null", &plain),
        ("status", "{}", &plain),
        ("metadata", "null", &no_metadata),
        ("metadata", "[]", &no_metadata),
        ("metadata", "{\"shard\":7,\"a\":\"b\"}", &plain),
    ] {
        let mut fields: BTreeMap<&str, &str> = BTreeMap::from([
            ("address", "\"h:1\""),
            ("weight", "3"),
            ("zone", "\"eu-1\""),
            ("metadata", "{\"a\":\"b\"}"),
        ]);
        fields.insert(attribute, value);
        let fields = fields
            .iter()
            .map(|(name, value)| format!("\"{name}\":{value}"));
        let json = format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
        assert_eq!(decode(json.clone()).as_ref(), Some(expected), "{json}");
        let ignored = DefaultCodec.ignored(&Entry::new(key(), json.clone()));
        let ignored = ignored.expect(&json).to_string();
        assert!(ignored.contains(attribute), "{json}: {ignored}");
        // Other readers may know what to make of it.
        let drained = DefaultCodec.draining(&key(), &json.into()).unwrap();
        if attribute != "status" {
            let field = format!("\"{attribute}\":{value}");
            let drained = std::str::from_utf8(&drained).unwrap();
            assert!(drained.contains(&field), "{drained} without {field}");
        }
    }
    for value in [
        "h:1",
        "?",
        "{}",
        r#"{"address":"h:1","weight":3,"x":1e400}"#,
    ] {
        let ignored = DefaultCodec.ignored(&Entry::new(key(), value));
        assert!(ignored.is_none(), "{value}: {ignored:?}");
    }
}

#[test]
fn what_is_written_is_read_back() {
    let plain = Instance::new(key(), "10.0.0.1:8080");
    let value = DefaultCodec.encode(&plain).unwrap();
    assert_eq!(&value[..], b"10.0.0.1:8080");
    let full = plain
        .clone()
        .with_weight(0)
        .with_zone("eu-1")
        .with_status(Status::Draining)
        .with_metadata("a", "b");
    for instance in [plain, full] {
        let value = DefaultCodec.encode(&instance).unwrap();
        assert_eq!(decode(value), Some(instance));
    }
}

#[test]
fn what_could_not_be_read_is_not_written() {
    let zone = "z".repeat(LONGEST_JSON);
    let instance = Instance::new(key(), "h:1").with_zone(zone);
    assert!(DefaultCodec.encode(&instance).is_err());
}

#[test]
fn only_json_can_announce_draining() {
    let json = Bytes::from_static(br#"{"address":"h:1","weight":2}"#);
    let drained = decode(DefaultCodec.draining(&key(), &json).unwrap()).unwrap();
    assert_eq!((drained.status(), drained.weight()), (Status::Draining, 2));
    assert_eq!(DefaultCodec.draining(&key(), &Bytes::from("h:1")), None);
}

#[test]
fn draining_changes_nothing_but_the_status() {
    let value = Bytes::from_static(br#"{"x":[1e3,{"y":"z"}],"address":"h:1","status":"serving"}"#);
    let drained = DefaultCodec.draining(&key(), &value).unwrap();
    let expected = r#"{"address":"h:1","status":"draining","x":[1e3,{"y":"z"}]}"#;
    assert_eq!(drained, expected);
    assert_eq!(DefaultCodec.draining(&key(), &drained), Some(drained));
}

/// Text in which the characters that matter here are common.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,12}", "[a-z0-9:/.@{}\"\\[\\]é \n-]{0,12}"]
}

fn address() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z]{1,3}(\\.[a-zé_-]{1,3})?:[1-9][0-9]{0,3}",
        1 => "\\[[0-9a-f:]{0,4}\\]:[0-9]{1,5}",
        1 => "[a-z+]{1,4}://[!-~é]{0,8}",
        1 => text(),
    ]
}

fn instance() -> impl Strategy<Value = Instance> {
    let metadata = prop::collection::btree_map(text(), text(), 0..3);
    let long = (0..100_000_usize).prop_map(|length| "z".repeat(length));
    let zone = prop::option::of(prop_oneof![9 => text(), 1 => long]);
    (address(), 0..3_u32, any::<bool>(), zone, metadata).prop_map(
        |(address, weight, drains, zone, metadata)| {
            let mut instance = Instance::new(key(), address).with_weight(weight);
            if drains {
                instance = instance.with_status(Status::Draining);
            }
            if let Some(zone) = zone {
                instance = instance.with_zone(zone);
            }
            let named = metadata.into_iter();
            named.fold(instance, |it, (name, value)| it.with_metadata(name, value))
        },
    )
}

/// What might be an instance in JSON, and often nearly is.
fn json() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        4 => address().prop_map(|address| format!("{address:?}")),
        1 => prop::sample::select(vec!["null", "1", "-1", "4294967296", "1e400", "{}", "[[]]"])
            .prop_map(String::from),
        1 => Just("\"draining\"".to_owned()),
    ];
    let field = prop::sample::select(vec!["address", "weight", "zone", "status", "metadata", "x"]);
    let fields = prop::collection::vec((field, value), 0..4);
    fields.prop_map(|fields| {
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
    prop_oneof![
        bytes,
        address().prop_map(Bytes::from),
        json().prop_map(Bytes::from),
        mangled
    ]
}

/// All fields but the status, as they stand there.
fn others(json: &[u8]) -> BTreeMap<String, String> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(json).unwrap();
    let others = fields.into_iter().filter(|(name, _)| name != "status");
    others
        .map(|(name, value)| (name, value.get().to_owned()))
        .collect()
}

proptest! {
    #![proptest_config(cases(4))]

    #[test]
    fn whatever_can_be_written_is_read_back(instance in instance()) {
        if let Ok(value) = DefaultCodec.encode(&instance) {
            prop_assert_eq!(decode(value), Some(instance));
        } else {
            let is_long = instance.zone().is_some_and(|zone| zone.len() > LONGEST_JSON / 2);
            prop_assert!(is_long || check_address(instance.address()).is_err());
        }
    }

    #[test]
    fn whatever_is_read_can_be_written_and_drained(value in value()) {
        let draining = DefaultCodec.draining(&key(), &value);
        let Some(instance) = decode(value.clone()) else {
            prop_assert_eq!(draining, None);
            return Ok(());
        };
        prop_assert_eq!(instance.key(), &key());
        let written = DefaultCodec.encode(&instance).unwrap();
        prop_assert_eq!(decode(written), Some(instance.clone()));
        let Some(draining) = draining else {
            let is_json = value.starts_with(b"{") && std::str::from_utf8(&value).is_ok();
            prop_assert!(!is_json);
            return Ok(());
        };
        prop_assert_eq!(value[0], b'{');
        if draining != value {
            prop_assert_eq!(others(&draining), others(&value));
        }
        let drained = instance.with_status(Status::Draining);
        prop_assert_eq!(decode(draining), Some(drained));
    }
}
