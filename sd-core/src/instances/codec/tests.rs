use super::*;
use crate::{
    registry::{Key, LeaseId},
    support::cases,
};
use proptest::prelude::*;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

fn key() -> Key {
    Key::new("/services/hello/a").unwrap()
}

fn decode(value: impl Into<Bytes>) -> Option<Instance> {
    let decoded = DefaultCodec.decode(&Entry::new(key(), value)).ok()?;
    decoded.into_iter().next()
}

fn ignored(value: impl Into<Bytes>) -> Option<String> {
    let decoded = DefaultCodec.decode(&Entry::new(key(), value)).ok()?;
    decoded.ignored().map(ToString::to_string)
}

fn edit(value: &Bytes, edit: &Edit) -> Result<Bytes, CodecError> {
    let edited = DefaultCodec.edit(&Entry::new(key(), value.clone()), edit)?;
    assert_eq!(edited.key, key());
    Ok(edited.value)
}

fn draining(value: &Bytes) -> Option<Bytes> {
    edit(value, &Edit::new().status(Status::Draining)).ok()
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
        ("weight", "\"10%\"", &no_weight),
        ("weight", "-1", &no_weight),
        ("weight", "4294967296", &no_weight),
        ("weight", "1e400", &no_weight),
        ("weight", "null", &no_weight),
        ("zone", "7", &no_zone),
        ("zone", "null", &no_zone),
        ("status", "null", &plain),
        ("status", "{}", &plain),
        ("metadata", "null", &no_metadata),
        ("metadata", "[]", &no_metadata),
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
        let said = ignored(json.clone());
        assert_eq!(said.is_some(), value != "null", "{json}: {said:?}");
        assert!(said.is_none_or(|said| said.contains(attribute)), "{json}");
        // Other readers may know what to make of it.
        let drained = draining(&json.into()).unwrap();
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
        assert_eq!(ignored(value), None, "{value}");
    }
}

/// What Go programs write, and what a newer release may.
#[test]
fn what_others_write_is_read_and_said_only_if_something_is_lost() {
    let plain = Instance::new(key(), "h:1");
    let silent = [
        (r#" {"address":"h:1"} "#, plain.clone()),
        (
            "{\"address\":\"h:1\",\"weight\":\"10\"}\n",
            plain.clone().with_weight(10),
        ),
        (
            r#"{"address":"h:1","metadata":{"a":"b","n":7,"l":[1.50],"t":true}}"#,
            plain
                .clone()
                .with_metadata("a", "b")
                .with_json_metadata("n", "7")
                .with_json_metadata("l", "[1.50]")
                .with_json_metadata("t", "true"),
        ),
        (
            r#"{"address":"h:1","id":"h-1","version":"1.4","addresses":["http://h:2"]}"#,
            plain
                .clone()
                .with_id("h-1")
                .with_version("1.4")
                .with_other_address("http://h:2"),
        ),
    ];
    for (json, expected) in silent {
        assert_eq!(
            (decode(json), ignored(json)),
            (Some(expected.clone()), None),
            "{json}"
        );
        let written = DefaultCodec.encode(&expected).unwrap();
        assert_eq!(decode(written), Some(expected), "{json}");
    }
    let starting = decode(r#"{"address":"h:1","status":"starting"}"#).unwrap();
    assert_eq!(
        (starting.status(), starting.status_word()),
        (Status::Unknown, "starting")
    );
    assert!(ignored(r#"{"address":"h:1","status":"starting"}"#).is_some());
    assert!(DefaultCodec.encode(&starting).unwrap_err().is_unsayable());
    assert_eq!(decode(" h:1\n"), Some(plain));
    assert!(ignored("h:1\n").is_some());
}

#[test]
fn an_edit_changes_what_it_names_and_nothing_else() {
    let value = Bytes::from_static(
        br#"{"x":1e400,"metadata":{"a":"b","n":7},"weight":"3","address":"h:1"}"#,
    );
    let change = Edit::new()
        .weight(4)
        .metadata("c", "d")
        .without_metadata("a");
    assert_eq!(
        edit(&value, &change).unwrap(),
        r#"{"x":1e400,"metadata":{"n":7,"c":"d"},"weight":4,"address":"h:1"}"#
    );
    assert_eq!(edit(&value, &Edit::new().weight(3)).unwrap(), value);
    assert_eq!(
        edit(&value, &Edit::new().weight(4).part("n1")).unwrap(),
        value
    );
    let plain = Bytes::from_static(b"h:1");
    assert!(edit(&plain, &change).unwrap_err().is_unsayable());
    assert!(!edit(&Bytes::new(), &change).unwrap_err().is_unsayable());
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
    let drained = decode(draining(&json).unwrap()).unwrap();
    assert_eq!((drained.status(), drained.weight()), (Status::Draining, 2));
    assert_eq!(draining(&Bytes::from("h:1")), None);
}

#[test]
fn draining_changes_nothing_but_the_status() {
    let value = Bytes::from_static(br#"{"x":[1e3,{"y":"z"}],"address":"h:1","status":"serving"}"#);
    let drained = draining(&value).unwrap();
    let expected = r#"{"x":[1e3,{"y":"z"}],"address":"h:1","status":"draining"}"#;
    assert_eq!(drained, expected);
    assert_eq!(draining(&drained), Some(drained));
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
        let draining = draining(&value);
        let Some(instance) = decode(value.clone()) else {
            prop_assert_eq!(draining, None);
            return Ok(());
        };
        prop_assert_eq!(instance.key(), &key());
        let written = DefaultCodec.encode(&instance).ok();
        prop_assert_eq!(written.is_none(), instance.status() == Status::Unknown);
        if let Some(written) = written {
            prop_assert_eq!(decode(written), Some(instance.clone()));
        }
        let json = value.trim_ascii();
        let Some(draining) = draining else {
            let is_json = json.starts_with(b"{") && std::str::from_utf8(json).is_ok();
            prop_assert!(!is_json);
            return Ok(());
        };
        prop_assert_eq!(json[0], b'{');
        if draining != value {
            prop_assert_eq!(others(&draining), others(&value));
        }
        let drained = instance.with_status(Status::Draining);
        prop_assert_eq!(decode(draining), Some(drained));
    }
}
