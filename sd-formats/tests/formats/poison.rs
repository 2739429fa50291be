//! No value that is written here breaks a consumer of another format, nor one of its own: the consumers in Go are
//! played by what their sources do with whatever is below their prefix.

use crate::{codec, named, registered};
use sd_core::{Advert, Bytes, Entry, Key, Status};
use serde_json::Value;
use std::collections::BTreeMap;

type Registry = BTreeMap<String, Bytes>;

/// The addresses that the Go consumer of `service` shows.
///
/// # Errors
/// What blinds or crashes it.
fn go_view(format: &str, service: &str, registry: &Registry) -> Result<Vec<String>, String> {
    let below = |prefix: String| {
        let entries = registry.iter();
        entries.filter(move |(key, _)| key.starts_with(&prefix))
    };
    let text = |value: &Bytes| String::from_utf8_lossy(value).into_owned();
    let field = |json: &Value, name: &str| match &json[name] {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        other => Err(format!("{name} is {other}")),
    };
    let mut view = Vec::new();
    match format {
        "gokit" => {
            view.extend(below(format!("/services/{service}/")).map(|(_, value)| text(value)))
        }
        "gozero" => view.extend(below(format!("{service}/")).map(|(_, value)| text(value))),
        "grpc" => {
            for (_, value) in below(format!("{service}/")) {
                // What is no JSON is skipped.
                if let Ok(json @ (Value::Object(_) | Value::Null)) = serde_json::from_slice(value) {
                    view.extend(field(&json, "Addr"));
                }
            }
        }
        // The whole prefix, without a separator, and all or nothing.
        "kratos" => {
            for (key, value) in below(format!("/microservices/{service}")) {
                let json: Value =
                    serde_json::from_slice(value).map_err(|error| format!("{key}: {error}"))?;
                if json.is_null() {
                    return Err(format!("{key}: nil dereference"));
                }
                let no_text = |it: &Value| !it.is_string();
                if json["metadata"]
                    .as_object()
                    .is_some_and(|it| it.values().any(no_text))
                {
                    return Err(format!("{key}: metadata is no text"));
                }
                if field(&json, "name")? != service {
                    continue;
                }
                for endpoint in json["endpoints"].as_array().ok_or("no endpoints")? {
                    let url = endpoint.as_str().ok_or("an endpoint is no text")?;
                    view.extend(url.strip_prefix("grpc://").map(str::to_owned));
                }
            }
        }
        "kitex" | "hertz" => {
            for (_, value) in below(format!("{format}/registry-etcd/{service}/")) {
                let json: Value = serde_json::from_slice(value).unwrap_or(Value::Bool(false));
                if json["weight"].is_i64() || json["weight"].is_null() && !json.is_boolean() {
                    view.extend(field(&json, "address"));
                }
            }
        }
        "gomicro" => {
            for (_, value) in below(format!("/micro/registry/{service}/")) {
                let json: Value = serde_json::from_slice(value).unwrap_or(Value::Null);
                for node in json["nodes"].as_array().into_iter().flatten() {
                    if node.is_null() {
                        return Err("nil dereference".to_owned());
                    }
                    view.extend(field(node, "address"));
                }
            }
        }
        "dubbo-app" => {
            for (_, value) in below(format!("/services/{service}/")) {
                match serde_json::from_slice::<Value>(value) {
                    Ok(Value::Null) => return Err("nil dereference".to_owned()),
                    Ok(json @ Value::Object(_))
                        if json["Port"].is_u64() || json["Port"].is_null() =>
                    {
                        let port = json["Port"].as_u64().unwrap_or(0);
                        view.push(format!("{}:{port}", field(&json, "Host")?));
                    }
                    _ => {}
                }
            }
        }
        // No program of these is known: they are as their codec here.
        _ => {
            let (prefix, codec) = (
                named(format).prefix(service).unwrap(),
                codec(format, service),
            );
            for (key, value) in below(prefix.as_str().to_owned()) {
                let entry = Entry::new(Key::new(key).unwrap(), value.clone());
                let decoded = codec
                    .decode(&entry)
                    .map_err(|error| format!("{key}: {error}"))?;
                view.extend(decoded.into_iter().map(|it| it.address().to_owned()));
            }
        }
    }
    Ok(view)
}

/// As much as `format` can say, in all ways that it can.
fn adverts(format: &str, address: &str) -> Vec<Advert> {
    let format = named(format);
    let plain = Advert::new(address);
    let mut rich = plain.clone();
    let mut all = vec![plain];
    for say in [
        |it: Advert| it.weight(7),
        |it: Advert| it.zone("eu-1"),
        |it: Advert| it.metadata("a", "<b> \"null\" 日本\u{2028}\n"),
        |it: Advert| it.metadata("methods", "A,B"),
        |it: Advert| it.address("http://10.0.0.9:9"),
        |it: Advert| it.id("null"),
        |it: Advert| it.version("{}"),
        |it: Advert| it.status(Status::Draining),
    ] {
        let richer = say(rich.clone());
        if format.service("svc", &richer).is_ok() {
            rich = richer;
            all.push(rich.clone());
        }
    }
    all
}

fn put(registry: &mut Registry, format: &str, service: &str, advert: &Advert) {
    let entry = registered(&*named(format), service, advert);
    registry.insert(entry.key.to_string(), entry.value);
}

fn names() -> Vec<String> {
    let formats = sd_formats::all();
    formats
        .iter()
        .map(|format| format.name().to_owned())
        .collect()
}

/// Neighbours of `svc`, also in the order of keys.
const NEIGHBOURS: [&str; 9] = [
    "sv", "svc2", "svcX", "svc-b", "svc.b", "svc/b", "b", "svc_", "svc:1",
];

#[test]
fn no_neighbour_is_seen_or_breaks_anything() {
    let mut count = 0;
    for reader in names() {
        for writer in names() {
            for neighbour in NEIGHBOURS {
                if named(&writer).prefix(neighbour).is_err() {
                    continue;
                }
                for advert in adverts(&writer, "10.0.0.2:80") {
                    let mut registry = Registry::new();
                    put(&mut registry, &reader, "svc", &Advert::new("10.0.0.1:80"));
                    put(&mut registry, &writer, neighbour, &advert);
                    assert_eq!(registry.len(), 2);
                    let view = go_view(&reader, "svc", &registry);
                    assert_eq!(
                        view.as_deref(),
                        Ok(&["10.0.0.1:80".to_owned()][..]),
                        "{reader} beside {neighbour} in {writer}"
                    );
                    count += 1;
                }
            }
        }
    }
    assert!(count > 1000, "{count}");
}

/// What has one prefix cannot have one name: the page of the crate says so.
#[test]
fn formats_of_one_service_are_apart_unless_the_page_says_so() {
    let prefix = |format: &str| named(format).prefix("svc").unwrap();
    let together = |one: &str, other: &str| {
        let groups = [
            ["default", "gokit", "dubbo-app"].as_slice(),
            &["grpc", "gozero"],
        ];
        groups
            .iter()
            .any(|group| group.contains(&one) && group.contains(&other))
    };
    for reader in names() {
        for writer in names() {
            let is_one = prefix(&reader) == prefix(&writer);
            assert_eq!(
                is_one,
                reader == writer || together(&reader, &writer),
                "{reader}, {writer}"
            );
            if is_one {
                continue;
            }
            for advert in adverts(&writer, "10.0.0.2:80") {
                let mut registry = Registry::new();
                put(&mut registry, &reader, "svc", &Advert::new("10.0.0.1:80"));
                put(&mut registry, &writer, "svc", &advert);
                let view = go_view(&reader, "svc", &registry);
                let expected = ["10.0.0.1:80".to_owned()];
                assert_eq!(
                    view.as_deref(),
                    Ok(&expected[..]),
                    "{reader} beside {writer}"
                );
            }
        }
    }
}

#[test]
fn its_own_consumers_see_what_is_written() {
    for format in names() {
        for advert in adverts(&format, "10.0.0.1:80") {
            let mut registry = Registry::new();
            put(&mut registry, &format, "svc", &advert);
            let view = go_view(&format, "svc", &registry);
            assert_eq!(
                view.as_deref(),
                Ok(&["10.0.0.1:80".to_owned()][..]),
                "{format}: {registry:?}"
            );
        }
    }
}

/// What the real consumers were seen to do, those that are played here do too.
#[test]
fn the_players_are_as_fragile_as_what_they_play() {
    let registry =
        |key: &str, value: &str| Registry::from([(key.to_owned(), value.to_owned().into())]);
    let view = |format: &str, key: &str, value: &str| go_view(format, "svc", &registry(key, value));
    assert_eq!(view("gokit", "/services/svc/a", "{}").unwrap(), ["{}"]);
    assert_eq!(view("grpc", "svc/a", "null").unwrap(), [""]);
    assert!(view("grpc", "svc/a", "h:1").unwrap().is_empty());
    assert!(view("kratos", "/microservices/svc2/a", "h:1").is_err());
    assert!(view("kratos", "/microservices/svc/a", "null").is_err());
    assert!(
        view(
            "kratos",
            "/microservices/svc/a",
            r#"{"name":"svc","metadata":{"a":1}}"#
        )
        .is_err()
    );
    assert_eq!(
        view("kitex", "kitex/registry-etcd/svc/a", "{}").unwrap(),
        [""]
    );
    assert!(
        view("kitex", "kitex/registry-etcd/svc/a", "h:1")
            .unwrap()
            .is_empty()
    );
    assert!(
        view("gomicro", "/micro/registry/svc/a", "null")
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        view("dubbo-app", "/services/svc/a", r#"{"address":"h:1"}"#).unwrap(),
        [":0"]
    );
}
