//! What a fleet's consumers make something of is read, and what costs something is said.

use crate::{codec, entry, one};
use sd_core::{Decoded, Instance, Key, Status};

/// What `format` reads in `value`, under a key of its own.
fn read(format: &str, value: &str) -> Option<Decoded> {
    codec(format, "svc")
        .decode(&entry(key_of(format), value.to_owned()))
        .ok()
}

fn key_of(format: &str) -> &'static str {
    match format.split('?').next().unwrap() {
        "grpc" | "gozero" => "svc/7",
        "kratos" => "/microservices/svc/i",
        "kitex" => "kitex/registry-etcd/svc/zzz",
        "hertz" => "hertz/registry-etcd/svc/zzz",
        "gomicro" => "/micro/registry/svc/i",
        "nodes" => "discovery/svc/instance_id/i",
        "lease-named" => "svc7",
        _ => "/services/svc/zzz",
    }
}

/// Nothing at an address under the key of `format`.
fn plain(format: &str, address: &str) -> Instance {
    let instance = Instance::new(Key::new(key_of(format)).unwrap(), address);
    match format.split('?').next().unwrap() {
        "kratos" | "dubbo-app" => instance.with_weight(100),
        "kitex" | "hertz" => instance.with_weight(10),
        _ => instance,
    }
}

/// Values that are read whole: Go reads the same.
#[test]
fn what_go_reads_is_read() {
    let grpc = plain("grpc", "h:1");
    let kratos = plain("kratos", "h:1");
    let kitex = plain("kitex", "h:1");
    let node = plain("gomicro", "h:1");
    let dubbo = plain("dubbo-app", "h:1");
    let cases = [
        ("gokit", "http://h:1/x", plain("gokit", "http://h:1/x")),
        ("grpc", r#"{"Addr":"h:1"}"#, grpc.clone()),
        ("grpc", r#"{"addr":"h:1","OP":1,"more":[{}]}"#, grpc.clone()),
        (
            "grpc",
            r#" {"Addr":"h:1","Metadata":{"weight":3,"zone":"eu-1","a":"b","n":1.50,"l":[null]}} "#,
            grpc.with_weight(3)
                .with_zone("eu-1")
                .with_metadata("a", "b")
                .with_json_metadata("n", "1.50")
                .with_json_metadata("l", "[null]"),
        ),
        (
            "kratos",
            r#"{"name":"svc","endpoints":["grpc://h:1"]}"#,
            kratos.clone(),
        ),
        (
            "kratos",
            "{\"NAME\":\"svc\",\"Endpoints\":[\"http://h:2?isSecure=false\",\"GRPC://h:1?isSecure=false\",\"grpc://h:3\"],\"version\":null,\"metadata\":{\"a\":null}}\n",
            kratos
                .clone()
                .with_other_address("http://h:2?isSecure=false")
                .with_other_address("grpc://h:3")
                .with_metadata("a", ""),
        ),
        (
            "kratos?scheme=http",
            r#"{"name":"svc","id":"7","version":"v1","endpoints":["grpc://h:2","http://h:1"],"metadata":{"weight":"0"}}"#,
            kratos
                .with_weight(0)
                .with_other_address("grpc://h:2")
                .with_id("7")
                .with_version("v1"),
        ),
        (
            "kratos?scheme=http",
            r#"{"name":"svc","endpoints":["http://h"]}"#,
            plain("kratos", "h:80"),
        ),
        ("kitex", r#"{"address":"h:1"}"#, kitex.clone()),
        (
            "kitex",
            r#"{"Address":"h:1","WEIGHT":0,"tags":null,"network":null}"#,
            kitex.clone(),
        ),
        ("kitex", r#"{"address":"h:1","weight":-3}"#, kitex.clone()),
        (
            "kitex",
            r#"{"address":"h:1","weight":7,"tags":{"a":"b"}}"#,
            kitex.with_weight(7).with_metadata("a", "b"),
        ),
        (
            "kitex",
            r#"{"address":"2001:db8::1:8888"}"#,
            plain("kitex", "[2001:db8::1]:8888"),
        ),
        (
            "hertz",
            r#"{"address":"[::1]:8888","weight":0}"#,
            plain("hertz", "[::1]:8888"),
        ),
        (
            "gomicro",
            r#"{"nodes":[{"address":"h:1"}]}"#,
            node.clone().with_part("h:1"),
        ),
        (
            "gomicro",
            r#"{"name":"other","version":"v2","nodes":[{"Id":"a","address":"h:1","metadata":{"weight":"3"}}]}"#,
            node.with_part("a")
                .with_id("a")
                .with_version("v2")
                .with_weight(3),
        ),
        ("dubbo-app", r#"{"Host":"h","Port":1}"#, dubbo.clone()),
        (
            "dubbo-app",
            "{\"host\":\"h\",\"port\":1,\"weight\":-1,\"servicename\":\"x\"}\n",
            dubbo.clone(),
        ),
        (
            "dubbo-app",
            r#"{"Host":"h","Port":1,"Enable":false,"Healthy":false}"#,
            dubbo.clone().with_status(Status::Draining),
        ),
        (
            "dubbo-app",
            r#"{"Host":"h","Port":1,"Enable":true,"Healthy":false}"#,
            dubbo.with_unknown_status("unhealthy"),
        ),
        (
            "dubbo-app",
            r#"{"Host":"::1","Port":1}"#,
            plain("dubbo-app", "[::1]:1"),
        ),
        ("nodes", r#"{"Addr":"h:1"}"#, plain("nodes", "h:1")),
        ("gozero", "h:1", plain("gozero", "h:1")),
    ];
    for (format, value, expected) in cases {
        let decoded = read(format, value).unwrap_or_else(|| panic!("{format}: {value}"));
        assert!(
            decoded.ignored().is_none(),
            "{format}: {value}: {decoded:?}"
        );
        assert_eq!(one(decoded), expected, "{format}: {value}");
    }
}

/// Values of which an attribute cannot be read, or that Go refuses whole: read, said once, and not registered.
#[test]
fn a_strange_attribute_costs_the_attribute_and_is_said() {
    let cases = [
        ("gokit", "h:1\n", plain("gokit", "h:1"), "space"),
        ("gozero", "http://h:1", plain("gozero", "http://h:1"), "URL"),
        (
            "grpc",
            r#"{"Addr":"h:1","Op":"0"}"#,
            plain("grpc", "h:1"),
            "Op",
        ),
        (
            "grpc",
            r#"{"Addr":"h:1","Metadata":"blue"}"#,
            plain("grpc", "h:1"),
            "Metadata",
        ),
        (
            "grpc",
            r#"{"Addr":"h:1","Metadata":{"weight":-1}}"#,
            plain("grpc", "h:1"),
            "weight",
        ),
        (
            "kratos",
            r#"{"name":"svc","endpoints":["grpc://h:1"],"metadata":{"weight":20,"b":true}}"#,
            plain("kratos", "h:1")
                .with_weight(20)
                .with_json_metadata("b", "true"),
            "metadata.weight",
        ),
        (
            "kratos",
            r#"{"name":"svc","endpoints":["grpc://h:1","grpc://"],"version":7}"#,
            plain("kratos", "h:1"),
            "version",
        ),
        (
            "kratos",
            r#"{"name":"svc","endpoints":["grpc://h:1"],"metadata":{"weight":"heavy"}}"#,
            plain("kratos", "h:1"),
            "weight",
        ),
        (
            "kitex",
            r#"{"address":"h:1","weight":"3"}"#,
            plain("kitex", "h:1").with_weight(3),
            "weight",
        ),
        (
            "kitex",
            r#"{"address":"h:1","weight":7.5}"#,
            plain("kitex", "h:1"),
            "weight",
        ),
        (
            "kitex",
            r#"{"address":"h:1","weight":5000000000}"#,
            plain("kitex", "h:1"),
            "weight",
        ),
        (
            "hertz",
            r#"{"address":"h:1","tags":{"a":7,"b":"c"}}"#,
            plain("hertz", "h:1")
                .with_json_metadata("a", "7")
                .with_metadata("b", "c"),
            "tags.a",
        ),
        (
            "hertz",
            r#"{"address":"h:1","tags":[]}"#,
            plain("hertz", "h:1"),
            "tags",
        ),
        (
            "gomicro",
            r#"{"nodes":[null,{"id":"1"},{"id":"2","address":"h:1"},{"id":"2","address":"h:3"}]}"#,
            plain("gomicro", "h:1").with_part("2").with_id("2"),
            "nodes",
        ),
        (
            "dubbo-app",
            r#"{"Host":"h","Port":1,"Enable":"no"}"#,
            plain("dubbo-app", "h:1"),
            "Enable",
        ),
        (
            "nodes",
            r#"{"Addr":"h:1","UniqueId":7}"#,
            plain("nodes", "h:1"),
            "UniqueId",
        ),
    ];
    for (format, value, expected, part) in cases {
        let decoded = read(format, value).unwrap_or_else(|| panic!("{format}: {value}"));
        let said = decoded
            .ignored()
            .unwrap_or_else(|| panic!("{format}: {value}"))
            .to_string();
        assert!(said.contains(part), "{format}: {value}: {said}");
        assert_eq!(one(decoded), expected, "{format}: {value}");
    }
}

#[test]
fn garbage_is_unreadable_and_takes_nothing_along() {
    for format in sd_formats::all() {
        let name = format.name();
        if name == "dubbo-interface" {
            continue;
        }
        for value in [
            "",
            "null",
            "{",
            "{}x",
            "[]",
            "7",
            "\"h:1\"",
            "not an address",
            "\0",
        ] {
            // Kratos passes over what has no name.
            assert!(read(name, value).is_none(), "{name}: {value:?}");
        }
        let bytes = entry(key_of(name), &b"\xff\xfe"[..]);
        assert!(codec(name, "svc").decode(&bytes).is_err(), "{name}");
        let long = " ".repeat(2 << 20) + r#"{"address":"h:1"}"#;
        let is_address = ["gokit", "gozero", "lease-named", "default"].contains(&name);
        assert!(is_address || read(name, &long).is_none(), "{name}");
    }
    for (format, value) in [
        ("gokit", r#"{"address":"h:1"}"#),
        ("gozero", r#"{"Op":0,"Addr":"h:1","Metadata":null}"#),
        ("grpc", "h:1"),
        ("grpc", r#"{"Addr":""}"#),
        ("kratos", r#"{"name":7,"endpoints":["grpc://h:1"]}"#),
        ("kratos", r#"{"name":"svc"}"#),
        ("kratos", r#"{"name":"svc","endpoints":["h:1"]}"#),
        ("kratos", r#"{"name":"svc","endpoints":[7]}"#),
        ("kitex", r#"{"weight":1}"#),
        ("gomicro", r#"{"nodes":[{"address":"?"}]}"#),
        ("dubbo-app", r#"{"Host":"h","Port":"1"}"#),
        ("dubbo-app", r#"{"Host":"h"}"#),
    ] {
        assert!(read(format, value).is_none(), "{format}: {value}");
    }
}

#[test]
fn however_much_is_strange_it_is_one_line() {
    let nodes = "7,".repeat(10_000) + r#"{"id":"1","address":"h:1"}"#;
    let decoded = read("gomicro", &format!(r#"{{"nodes":[{nodes}]}}"#)).unwrap();
    assert!(decoded.ignored().unwrap().to_string().len() < 1000);
    assert_eq!(one(decoded).address(), "h:1");
}

#[test]
fn nodes_come_and_go_with_their_entry_and_keep_their_identity() {
    let node = |n: u32| format!(r#"{{"id":"n{n}","address":"h:{n}"}}"#);
    let read = |nodes: &[u32]| {
        let nodes: Vec<_> = nodes.iter().map(|n| node(*n)).collect();
        let value = format!(r#"{{"name":"svc","nodes":[{}]}}"#, nodes.join(","));
        let decoded = read("gomicro", &value).unwrap();
        let identities = decoded
            .instances()
            .iter()
            .map(|it| it.identity().to_string());
        identities.collect::<Vec<_>>()
    };
    let all = read(&[1, 2, 3]);
    let key = key_of("gomicro");
    assert_eq!(all, [1, 2, 3].map(|n| format!("{key}#n{n}")));
    assert_eq!(read(&[3, 1]), [all[2].clone(), all[0].clone()]);
    assert_eq!(read(&[2]), [all[1].clone()]);
}
