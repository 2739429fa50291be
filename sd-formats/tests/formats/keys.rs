//! What the keys say: which entries are for others, and what is in them.

use crate::{codec, entry, one};
use sd_core::{Advert, Bytes, Entry, Instance, Key, LeaseId};

/// Neither instances of the service nor faults.
#[test]
fn what_belongs_to_others_is_passed_over() {
    let url = |text: &str| format!("/dubbo/svc/providers/{text}");
    let kratos = |name: &str| format!(r#"{{"name":"{name}","endpoints":["grpc://h:1"]}}"#);
    for (format, key, value) in [
        ("gokit", "/services/svc/b/h:1".to_owned(), "h:1".to_owned()),
        ("grpc", "svc/b/h:1".into(), "garbage".into()),
        ("gozero", "svc/b/7".into(), "garbage".into()),
        ("kratos", "/microservices/svc/b/i".into(), kratos("svc/b")),
        ("kratos", "/microservices/svc/i".into(), kratos("svc2")),
        (
            "kratos",
            "/microservices/svc/i".into(),
            r#"{"endpoints":["grpc://h:1"]}"#.into(),
        ),
        (
            "kratos",
            "/microservices/svc/i".into(),
            r#"{"name":"svc","endpoints":["http://h:1"]}"#.into(),
        ),
        (
            "kitex",
            "kitex/registry-etcd/svc/b/h:1".into(),
            "garbage".into(),
        ),
        (
            "gomicro",
            "/micro/registry/svc/i".into(),
            r#"{"name":"svc","nodes":[]}"#.into(),
        ),
        (
            "nodes",
            "discovery/svc/instance_id/i".into(),
            r#"{"Name":"chat","Addr":"h:1"}"#.into(),
        ),
        ("lease-named", "svcWorld/a".into(), "garbage".into()),
        ("lease-named", "svc".into(), "h:1".into()),
        (
            "dubbo-interface",
            url("tri%3A%2F%2Fh%3A1%2Fsvc"),
            String::new(),
        ),
        (
            "dubbo-interface",
            url("dubbo%3A%2F%2Fh%3A1%2Fother"),
            String::new(),
        ),
        (
            "dubbo-interface",
            url("dubbo://h:1/svc?group=g"),
            String::new(),
        ),
        (
            "dubbo-interface",
            url("dubbo://h:1/svc?version=1.0.0"),
            String::new(),
        ),
        (
            "dubbo-interface",
            url("dubbo://h:1/svc?interface=other"),
            String::new(),
        ),
        (
            "dubbo-interface",
            url("dubbo://h:1/svc?category=configurators"),
            String::new(),
        ),
        (
            "dubbo-interface",
            url("dubbo://me:secret@h:1/svc"),
            String::new(),
        ),
        (
            "dubbo-interface?group=g",
            url("dubbo://h:1/svc"),
            String::new(),
        ),
        ("dubbo-interface", "/dubbo/svc".into(), String::new()),
    ] {
        let decoded = codec(format, "svc").decode(&entry(&key, value.clone()));
        let decoded = decoded.unwrap_or_else(|error| panic!("{format}: {key}: {value}: {error}"));
        assert!(decoded.instances().is_empty(), "{format}: {key}: {value}");
        assert!(decoded.ignored().is_none(), "{format}: {key}: {value}");
    }
}

#[test]
fn every_depth_is_read_on_demand() {
    for (format, key) in [("gokit", "/services/svc/eu/h:1"), ("grpc", "svc/eu/h:1")] {
        let value = match format {
            "gokit" => "h:1",
            _ => r#"{"Addr":"h:1"}"#,
        };
        let format = format!("{format}?depth=every");
        let decoded = codec(&format, "svc").decode(&entry(key, value)).unwrap();
        assert_eq!(one(decoded).address(), "h:1");
    }
}

#[test]
fn the_url_in_a_key_is_read_escaped_or_not() {
    for (key, options) in [
        (
            "dubbo%3A%2F%2F127.0.0.1%3A1%2Fsvc%3Fa%3Db+c%26weight%3D3",
            "",
        ),
        ("dubbo://127.0.0.1:1/svc?a=b+c&weight=3", ""),
        (
            "dubbo://127.0.0.1:1/path?interface=svc&a=b%2520c&weight=3&x=",
            "",
        ),
        (
            "dubbo://127.0.0.1:1/svc?group=g&version=1.0&a=b c&weight=3",
            "?group=g&version=1.0",
        ),
        ("tri://127.0.0.1:1/svc?a=b c&weight=3&&a=d", "?protocol=tri"),
    ] {
        let key = format!("/dubbo/svc/providers/{key}");
        let codec = codec(&format!("dubbo-interface{options}"), "svc");
        let instance = one(codec.decode(&entry(&key, "")).unwrap());
        let expected = Instance::new(Key::new(key).unwrap(), "127.0.0.1:1");
        assert_eq!(instance, expected.with_weight(3).with_metadata("a", "b c"));
    }
    for garbage in ["x", "%zz", "%ff", "dubbo://:1/svc", "dubbo://h/svc", "a%0A"] {
        let key = format!("/dubbo/svc/providers/{garbage}");
        let decoded = codec("dubbo-interface", "svc").decode(&entry(&key, ""));
        assert!(decoded.is_err(), "{garbage}: {decoded:?}");
    }
}

/// For tools that look at a whole fleet.
#[test]
fn an_entry_tells_its_service() {
    for format in sd_formats::all() {
        for service in ["svc", "a/b"] {
            let advert = Advert::new("10.0.0.1:80");
            let Ok(registered) = format.service(service, &advert) else {
                assert!(service.contains('/'), "{}", format.name());
                continue;
            };
            let key = registered.key.under(&LeaseId::from(7));
            if let Some(root) = format.root() {
                assert!(root.matches(&key), "{}: {key}", format.name());
            }
            let of = |value: Bytes| format.service_of(&Entry::new(key.clone(), value));
            let told = of(registered.value);
            assert_eq!(told.as_deref(), Some(service), "{}", format.name());
            if service == "svc" {
                let told = of("garbage".into());
                assert_eq!(told.as_deref(), Some(service), "{}", format.name());
            }
        }
    }
}

#[test]
fn what_lies_elsewhere_is_of_no_service() {
    for format in sd_formats::all() {
        for key in [
            "/elsewhere/a/b/c/d",
            "/",
            "/services",
            "x",
            "/services//h:1",
        ] {
            let told = format.service_of(&entry(key, "h:1"));
            assert_eq!(told, None, "{}: {key}", format.name());
        }
    }
    for (name, key, expected) in [
        ("gokit", "/services/svc/eu/h:1", None),
        ("gokit?depth=every", "/services/svc/eu/h:1", Some("svc")),
        ("grpc?root=r", "r/svc/h:1", Some("svc")),
        ("grpc?root=r", "svc/h:1", None),
        ("dubbo-interface", "/dubbo/svc/consumers/x", None),
        ("lease-named?root=/n", "/n/svc7", Some("svc")),
        ("lease-named?root=/n", "/n/svc", None),
    ] {
        let format = sd_formats::by_name(name).unwrap();
        let told = format.service_of(&entry(key, "h:1"));
        assert_eq!(told.as_deref(), expected, "{name}: {key}");
    }
    // A name with a `/` is said by the value alone.
    let kratos = sd_formats::by_name("kratos").unwrap();
    let value = r#"{"name":"svc","endpoints":["grpc://h:1"]}"#;
    let told = kratos.service_of(&entry("/microservices/svc/b/i", value));
    assert_eq!(told.as_deref(), Some("svc"));
}
