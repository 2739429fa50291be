//! An edit changes what it names, and nothing else in the value.

use crate::{codec, entry};
use sd_core::{Edit, Status};

#[test]
fn what_is_not_named_keeps_its_text_and_place() {
    let edit = Edit::new()
        .weight(4)
        .metadata("a", "new")
        .without_metadata("gone");
    for (format, key, value, expected) in [
        (
            "grpc",
            "svc/7",
            r#"{"x":1e400,"metadata":{"gone":1,"n":[1.0],"weight":"3"},"Addr":"h:1","Op":1}"#,
            r#"{"x":1e400,"metadata":{"n":[1.0],"weight":4,"a":"new"},"Addr":"h:1","Op":1}"#,
        ),
        (
            "grpc",
            "svc/7",
            r#"{"Addr":"h:1","Metadata":null}"#,
            r#"{"Addr":"h:1","Metadata":{"weight":4,"a":"new"}}"#,
        ),
        (
            "kratos",
            "/microservices/svc/i",
            r#"{"endpoints":["http://h:2","grpc://h:1","ws://h:3"],"x":{"y":[]},"name":"svc","Metadata":{"n":7,"weight":"3","gone":"x"}}"#,
            r#"{"endpoints":["http://h:2","grpc://h:1","ws://h:3"],"x":{"y":[]},"name":"svc","Metadata":{"n":7,"weight":"4","a":"new"}}"#,
        ),
        (
            "kitex",
            "kitex/registry-etcd/svc/h:1",
            r#"{"network":"udp","Weight":3,"address":"h:1","tags":{"gone":"x"},"more":null}"#,
            r#"{"network":"udp","Weight":4,"address":"h:1","tags":{"a":"new"},"more":null}"#,
        ),
        (
            "hertz",
            "hertz/registry-etcd/svc/h:1",
            r#"{"address":"::1:80"}"#,
            r#"{"address":"::1:80","weight":4,"tags":{"a":"new"}}"#,
        ),
        (
            "dubbo-app",
            "/services/svc/h:1",
            "{\"Host\":\"h\",\"Port\":1,\"Weight\":0,\"ServiceMetadata\":{\"app\":\"x\"},\"Metadata\":{\"gone\":\"1\"},\"Tag\":\"t\"}\n",
            "{\"Host\":\"h\",\"Port\":1,\"Weight\":4,\"ServiceMetadata\":{\"app\":\"x\"},\"Metadata\":{\"a\":\"new\"},\"Tag\":\"t\"}\n",
        ),
    ] {
        let edited = codec(format, "svc")
            .edit(&entry(key, value), &edit)
            .unwrap();
        assert_eq!(edited, entry(key, expected), "{format}");
        // Nothing to change.
        let same = codec(format, "svc").edit(&edited, &edit).unwrap();
        assert_eq!(same, edited, "{format}");
        let same = codec(format, "svc")
            .edit(&entry(key, value), &Edit::new())
            .unwrap();
        assert_eq!(same, entry(key, value), "{format}");
    }
}

#[test]
fn one_node_is_changed_and_the_others_stay() {
    let key = "/micro/registry/svc/i";
    let value = r#"{"name":"svc","x":1,"nodes":[{"id":"1","address":"h:1","metadata":{"a":"b"}},7,{"y":[],"id":"2","address":"h:2"}],"version":"v1"}"#;
    let codec = codec("gomicro", "svc");
    let edit = Edit::new().weight(4).part("2");
    let edited = codec.edit(&entry(key, value), &edit).unwrap();
    assert_eq!(
        edited.value,
        r#"{"name":"svc","x":1,"nodes":[{"id":"1","address":"h:1","metadata":{"a":"b"}},7,{"y":[],"id":"2","address":"h:2","metadata":{"weight":"4"}}],"version":"v1"}"#
    );
    let all = codec
        .edit(&entry(key, value), &Edit::new().weight(4))
        .unwrap();
    assert_eq!(
        all.value,
        r#"{"name":"svc","x":1,"nodes":[{"id":"1","address":"h:1","metadata":{"a":"b","weight":"4"}},7,{"y":[],"id":"2","address":"h:2","metadata":{"weight":"4"}}],"version":"v1"}"#
    );
    let none = codec
        .edit(&entry(key, value), &Edit::new().weight(4).part("3"))
        .unwrap();
    assert_eq!(none.value, value);
}

#[test]
fn where_the_key_says_it_all_an_edit_is_another_key() {
    let codec = codec("dubbo-interface", "svc");
    for (before, after) in [
        (
            "dubbo%3A%2F%2Fh%3A1%2Fsvc%3Fmethods%3DA%2CB%26weight%3D3%26gone%3D1%26timestamp%3D7",
            "dubbo%3A%2F%2Fh%3A1%2Fsvc%3Fmethods%3DA%2CB%26weight%3D4%26timestamp%3D7%26a%3Dnew",
        ),
        (
            "dubbo://h:1/svc?x=y%2526",
            "dubbo%3A%2F%2Fh%3A1%2Fsvc%3Fx%3Dy%2526%26weight%3D4%26a%3Dnew",
        ),
        ("dubbo://h:1/svc", "dubbo://h:1/svc?weight=4&a=new"),
    ] {
        let key = |url| format!("/dubbo/svc/providers/{url}");
        let edit = Edit::new()
            .weight(4)
            .metadata("a", "new")
            .without_metadata("gone");
        let edited = codec.edit(&entry(&key(before), ""), &edit).unwrap();
        assert_eq!(edited, entry(&key(after), ""));
        let error = codec.edit(&entry(&key(before), ""), &Edit::new().metadata("a", "b&c"));
        assert!(error.unwrap_err().is_unsayable());
    }
}

#[test]
fn what_cannot_be_said_is_no_edit() {
    let drain = Edit::new().status(Status::Draining);
    for (format, key, value) in [
        ("gokit", "/services/svc/h:1", "h:1"),
        ("gozero", "svc/7", "h:1"),
        ("lease-named", "svc7", "h:1"),
        ("grpc", "svc/7", r#"{"Addr":"h:1"}"#),
        (
            "kratos",
            "/microservices/svc/i",
            r#"{"name":"svc","endpoints":["grpc://h:1"]}"#,
        ),
        (
            "kitex",
            "kitex/registry-etcd/svc/h:1",
            r#"{"address":"h:1"}"#,
        ),
        (
            "gomicro",
            "/micro/registry/svc/i",
            r#"{"nodes":[{"address":"h:1"}]}"#,
        ),
        (
            "dubbo-interface",
            "/dubbo/svc/providers/dubbo://h:1/svc",
            "",
        ),
        ("nodes", "discovery/svc/instance_id/i", r#"{"Addr":"h:1"}"#),
    ] {
        let codec = codec(format, "svc");
        let error = codec.edit(&entry(key, value), &drain).unwrap_err();
        assert!(error.is_unsayable(), "{format}: {error:?}");
    }
    // Go reads 0 as none.
    let none = Edit::new().weight(0);
    for (format, key, value) in [
        (
            "kitex",
            "kitex/registry-etcd/svc/h:1",
            r#"{"address":"h:1"}"#,
        ),
        ("dubbo-app", "/services/svc/h:1", r#"{"Host":"h","Port":1}"#),
    ] {
        let error = codec(format, "svc")
            .edit(&entry(key, value), &none)
            .unwrap_err();
        assert!(error.is_unsayable(), "{format}: {error:?}");
    }
    // These names mean more.
    for name in ["weight", "zone"] {
        let value = r#"{"name":"svc","endpoints":["grpc://h:1"]}"#;
        let edit = Edit::new().metadata(name, "x");
        let edited = codec("kratos", "svc").edit(&entry("/microservices/svc/i", value), &edit);
        assert!(edited.unwrap_err().is_unsayable(), "{name}");
    }
    for (format, key, value) in [
        (
            "kratos",
            "/microservices/svc/i",
            r#"{"name":"other","endpoints":["grpc://h:1"]}"#,
        ),
        ("kratos", "/microservices/svc/i", "null"),
        ("grpc", "svc/7", "h:1"),
    ] {
        let error = codec(format, "svc")
            .edit(&entry(key, value), &drain)
            .unwrap_err();
        assert!(!error.is_unsayable(), "{format}: {error:?}");
    }
}

#[test]
fn dubbo_applications_are_drained_and_brought_back() {
    let codec = codec("dubbo-app", "svc");
    let value = r#"{"Healthy":false,"Enable":true,"Host":"h","Port":1}"#;
    let entry = entry("/services/svc/h:1", value);
    let drained = codec
        .edit(&entry, &Edit::new().status(Status::Draining))
        .unwrap();
    assert_eq!(
        drained.value,
        r#"{"Healthy":false,"Enable":false,"Host":"h","Port":1}"#
    );
    let serving = codec
        .edit(&drained, &Edit::new().status(Status::Serving))
        .unwrap();
    assert_eq!(
        serving.value,
        r#"{"Healthy":true,"Enable":true,"Host":"h","Port":1}"#
    );
}

/// So no provider gives it one in the belief that somebody reads it.
#[test]
fn where_the_key_says_it_all_a_value_says_nothing() {
    let codec = codec("dubbo-interface", "svc");
    let key = "/dubbo/svc/providers/dubbo://h:1/svc";
    for (value, is_ignored) in [("", false), (r#"{"weight":5}"#, true)] {
        let decoded = codec.decode(&entry(key, value)).unwrap();
        assert_eq!(decoded.instances().len(), 1);
        assert_eq!(decoded.instances()[0].weight(), 100);
        assert_eq!(decoded.ignored().is_some(), is_ignored);
    }
}
