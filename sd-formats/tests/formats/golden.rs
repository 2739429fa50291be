//! Keys and values as the frameworks' own libraries wrote them on 2026-11-21, on etcd 3.4.23: go-kit 0.13.0, etcd's
//! client 3.7.3 for grpc-go, go-zero 1.10.3, Kratos 2.9.2, Kitex 0.15.2, Hertz 0.10.3, go-micro 4.11.0 and
//! dubbo-go 3.3.1.

use crate::{codec, entry, lease, named, one, registered};
use sd_core::{Advert, Instance};

struct Golden {
    format: &'static str,
    key: &'static str,
    value: &'static str,
    /// What is read, under a key that does not matter.
    instance: Instance,
    /// What makes the same bytes.
    advert: Advert,
}

const ADDRESS: &str = "127.0.0.1:18001";

fn golden() -> Vec<Golden> {
    let read = |key: &str| Instance::new(sd_core::Key::new(key).unwrap(), ADDRESS);
    let plain = |format, key, value| Golden {
        format,
        key,
        value,
        instance: read(key),
        advert: Advert::new(ADDRESS),
    };
    let kratos = "/microservices/svc/a61c5c65-e550-11f1-ad6a-6e15b4b49a6c";
    let id = "a61c5c65-e550-11f1-ad6a-6e15b4b49a6c";
    let kratos_instance = read(kratos).with_id(id).with_version("v1.0.0");
    let kratos_advert = Advert::new(ADDRESS).id(id).version("v1.0.0");
    let kitex = "kitex/registry-etcd/svc/127.0.0.1:18001";
    let hertz = "hertz/registry-etcd/svc/127.0.0.1:18001";
    let gomicro = "/micro/registry/svc/svc-22cd3f82-ed00-443f-88ca-c9361737f038";
    let node = "svc-22cd3f82-ed00-443f-88ca-c9361737f038";
    let node_metadata = [
        ("broker", "http"),
        ("protocol", "mucp"),
        ("registry", "etcd"),
        ("server", "mucp"),
        ("transport", "http"),
    ];
    let gomicro_instance = node_metadata.iter().fold(
        read(gomicro)
            .with_part(node)
            .with_id(node)
            .with_version("latest"),
        |instance, (name, value)| instance.with_metadata(*name, *value),
    );
    let gomicro_advert = (node_metadata.iter())
        .fold(Advert::new(ADDRESS).id(node), |it, (name, value)| {
            it.metadata(*name, *value)
        });
    let dubbo = "/services/svc/127.0.0.1:18001";
    let interface = "/dubbo/svc/providers/dubbo%3A%2F%2F127.0.0.1%3A18001%2Fsvc%3Fanyhost%3Dtrue%26application%3Dinterop%26interface%3Dsvc%26methods%3DCheck%26registry.role%3D3";
    let interface_weight = "/dubbo/svc/providers/dubbo%3A%2F%2F127.0.0.1%3A18001%2Fsvc%3Fanyhost%3Dtrue%26application%3Dinterop%26interface%3Dsvc%26methods%3DCheck%26registry.role%3D3%26weight%3D30";
    let interface_instance = read(interface)
        .with_weight(100)
        .with_metadata("application", "interop")
        .with_metadata("methods", "Check");
    let interface_advert = Advert::new(ADDRESS)
        .metadata("application", "interop")
        .metadata("methods", "Check");
    vec![
        plain("gokit", "/services/svc/127.0.0.1:18001", ADDRESS),
        plain(
            "grpc",
            "svc/127.0.0.1:18001",
            r#"{"Op":0,"Addr":"127.0.0.1:18001","Metadata":null}"#,
        ),
        Golden {
            format: "grpc",
            key: "svc/127.0.0.1:18001",
            value: r#"{"Op":0,"Addr":"127.0.0.1:18001","Metadata":{"weight":30}}"#,
            instance: read("svc/127.0.0.1:18001").with_weight(30),
            advert: Advert::new(ADDRESS).weight(30),
        },
        plain("gozero", "svc/1716893986092094983", ADDRESS),
        Golden {
            format: "kratos?scheme=grpc",
            key: kratos,
            value: r#"{"id":"a61c5c65-e550-11f1-ad6a-6e15b4b49a6c","name":"svc","version":"v1.0.0","metadata":null,"endpoints":["grpc://127.0.0.1:18001"]}"#,
            instance: kratos_instance.clone().with_weight(100),
            advert: kratos_advert.clone(),
        },
        Golden {
            format: "kratos",
            key: kratos,
            value: r#"{"id":"a61c5c65-e550-11f1-ad6a-6e15b4b49a6c","name":"svc","version":"v1.0.0","metadata":{"weight":"30"},"endpoints":["grpc://127.0.0.1:18001"]}"#,
            instance: kratos_instance.with_weight(30),
            advert: kratos_advert.weight(30),
        },
        Golden {
            format: "kitex",
            key: kitex,
            value: r#"{"network":"tcp","address":"127.0.0.1:18001","weight":10,"tags":null}"#,
            instance: read(kitex).with_weight(10),
            advert: Advert::new(ADDRESS),
        },
        Golden {
            format: "kitex",
            key: kitex,
            value: r#"{"network":"tcp","address":"127.0.0.1:18001","weight":30,"tags":null}"#,
            instance: read(kitex).with_weight(30),
            advert: Advert::new(ADDRESS).weight(30),
        },
        Golden {
            format: "hertz",
            key: hertz,
            value: r#"{"network":"tcp","address":"127.0.0.1:18001","weight":10,"tags":null}"#,
            instance: read(hertz).with_weight(10),
            advert: Advert::new(ADDRESS),
        },
        Golden {
            format: "gomicro",
            key: gomicro,
            value: r#"{"name":"svc","version":"latest","metadata":null,"endpoints":[],"nodes":[{"metadata":{"broker":"http","protocol":"mucp","registry":"etcd","server":"mucp","transport":"http"},"id":"svc-22cd3f82-ed00-443f-88ca-c9361737f038","address":"127.0.0.1:18001"}]}"#,
            instance: gomicro_instance,
            advert: gomicro_advert,
        },
        Golden {
            format: "dubbo-app",
            key: dubbo,
            value: "{\"ID\":\"127.0.0.1:18001\",\"ServiceName\":\"svc\",\"Host\":\"127.0.0.1\",\"Port\":18001,\"Weight\":0,\"Enable\":true,\"Healthy\":true,\"Metadata\":{},\"ServiceMetadata\":null,\"Address\":\"\",\"GroupName\":\"\",\"Tag\":\"\"}\n",
            instance: read(dubbo).with_weight(100),
            advert: Advert::new(ADDRESS),
        },
        Golden {
            format: "dubbo-app",
            key: dubbo,
            value: "{\"ID\":\"127.0.0.1:18001\",\"ServiceName\":\"svc\",\"Host\":\"127.0.0.1\",\"Port\":18001,\"Weight\":30,\"Enable\":true,\"Healthy\":true,\"Metadata\":{},\"ServiceMetadata\":null,\"Address\":\"\",\"GroupName\":\"\",\"Tag\":\"\"}\n",
            instance: read(dubbo).with_weight(30),
            advert: Advert::new(ADDRESS).weight(30),
        },
        Golden {
            format: "dubbo-interface",
            key: interface,
            value: "",
            instance: interface_instance.clone(),
            advert: interface_advert.clone(),
        },
        Golden {
            format: "dubbo-interface",
            key: interface_weight,
            value: "",
            instance: interface_instance.with_weight(30),
            advert: interface_advert.weight(30),
        },
        // As the examples have them.
        Golden {
            format: "nodes",
            key: "discovery/svc/instance_id/c1",
            value: r#"{"Addr":"127.0.0.1:18001","Name":"svc","UniqueId":"c1"}"#,
            instance: read("discovery/svc/instance_id/c1").with_id("c1"),
            advert: Advert::new(ADDRESS).id("c1"),
        },
        plain("lease-named", "svc1716893986092094983", ADDRESS),
    ]
}

#[test]
fn what_go_wrote_is_read() {
    for golden in golden() {
        let codec = codec(golden.format, "svc");
        let decoded = codec.decode(&entry(golden.key, golden.value)).unwrap();
        assert!(
            decoded.ignored().is_none(),
            "{}: {decoded:?}",
            golden.format
        );
        let expected = golden
            .instance
            .with_key(sd_core::Key::new(golden.key).unwrap());
        assert_eq!(one(decoded), expected, "{}", golden.format);
        assert!(
            named(golden.format)
                .prefix("svc")
                .unwrap()
                .matches(golden.key)
        );
    }
}

#[test]
fn what_is_written_is_what_go_wrote() {
    for golden in golden() {
        let written = registered(&*named(golden.format), "svc", &golden.advert);
        assert_eq!(written.key.as_str(), golden.key, "{}", golden.format);
        assert_eq!(written.value, golden.value, "{}", golden.format);
    }
    // A lease is what its fleet calls it: in decimal.
    assert_eq!(lease().as_str(), "1716893986092094983");
}

/// Those that no Go program would write differently, and that need an escape.
#[test]
fn what_go_escapes_is_escaped() {
    let advert = Advert::new("[2001:db8::1]:80").metadata("a", "<b>&\u{2028}\"");
    for (format, key, value) in [
        (
            "kitex",
            "kitex/registry-etcd/svc/[2001:db8::1]:80",
            r#"{"network":"tcp","address":"[2001:db8::1]:80","weight":10,"tags":{"a":"\u003cb\u003e\u0026\u2028\""}}"#,
        ),
        (
            "dubbo-app",
            "/services/svc/2001:db8::1:80",
            "{\"ID\":\"2001:db8::1:80\",\"ServiceName\":\"svc\",\"Host\":\"2001:db8::1\",\"Port\":80,\"Weight\":0,\"Enable\":true,\"Healthy\":true,\"Metadata\":{\"a\":\"\\u003cb\\u003e\\u0026\\u2028\\\"\"},\"ServiceMetadata\":null,\"Address\":\"\",\"GroupName\":\"\",\"Tag\":\"\"}\n",
        ),
    ] {
        let written = registered(&*named(format), "svc", &advert);
        assert_eq!(written.key.as_str(), key);
        assert_eq!(written.value, value);
        let read = one(codec(format, "svc").decode(&written).unwrap());
        assert_eq!(read.address(), "[2001:db8::1]:80");
    }
}
