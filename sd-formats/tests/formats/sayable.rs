//! The table on the page of each format is true.

use crate::{one, registered};
use sd_core::{Advert, Codec, Edit, Format, Instance, Status};
use std::{collections::BTreeMap, sync::Arc};

/// The source of each format, whose page has a table of what it can say.
const PAGES: [(&str, &str); 12] = [
    ("default", DEFAULT),
    ("gokit", include_str!("../../src/gokit.rs")),
    ("grpc", include_str!("../../src/grpcgo.rs")),
    ("gozero", include_str!("../../src/gozero.rs")),
    ("kratos", include_str!("../../src/kratos.rs")),
    ("kitex", include_str!("../../src/kitex.rs")),
    ("hertz", include_str!("../../src/hertz.rs")),
    ("gomicro", include_str!("../../src/gomicro.rs")),
    ("dubbo-app", include_str!("../../src/dubbo_app.rs")),
    (
        "dubbo-interface",
        include_str!("../../src/dubbo_interface.rs"),
    ),
    ("nodes", include_str!("../../src/node_directory.rs")),
    ("lease-named", include_str!("../../src/lease_named.rs")),
];

/// The toolkit's own, whose page is elsewhere.
const DEFAULT: &str = "
/// | an address | `host:port` or a URL |
/// | other addresses | yes |
/// | a weight | yes |
/// | a weight of 0 | yes |
/// | a zone | yes |
/// | draining | yes |
/// | an id | yes |
/// | a version | yes |
/// | metadata | yes |
/// | metadata that is no text | yes |
/// | several instances in an entry | no |
/// | a service called `a/b` | no |
/// | time to live | 15 s |
";

/// The rows of the table in `source`: what there is to say, and what is said about it.
fn table(source: &str) -> BTreeMap<&str, &str> {
    let lines = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("/// | "));
    let rows = lines.filter_map(|line| line.trim_end_matches(['|', ' ']).split_once(" | "));
    rows.collect()
}

/// Each row that says yes or no, with an advert that says it, and whether an instance does.
type Row = (&'static str, fn(Advert) -> Advert, fn(&Instance) -> bool);

const ROWS: [Row; 9] = [
    (
        "other addresses",
        |advert| advert.address("http://10.0.0.1:81"),
        |it| it.other_addresses().eq(["http://10.0.0.1:81"]),
    ),
    (
        "a weight",
        |advert| advert.weight(3),
        |it| it.said_weight() == Some(3),
    ),
    (
        "a weight of 0",
        |advert| advert.weight(0),
        |it| it.said_weight() == Some(0),
    ),
    (
        "a zone",
        |advert| advert.zone("eu-1"),
        |it| it.zone() == Some("eu-1"),
    ),
    (
        "draining",
        |advert| advert.status(Status::Draining),
        |it| it.status() == Status::Draining,
    ),
    (
        "an id",
        |advert| advert.id("i-7"),
        |it| it.id() == Some("i-7"),
    ),
    (
        "a version",
        |advert| advert.version("v2"),
        |it| it.version() == Some("v2"),
    ),
    (
        "metadata",
        |advert| advert.metadata("team", "search"),
        |it| it.metadata("team") == Some("search"),
    ),
    // Adverts have no such metadata; see below.
    (
        "metadata that is no text",
        |advert| advert,
        |it| it.is_json_metadata("shard"),
    ),
];

/// Whether `says` is what the table says of a row.
fn is_yes(format: &str, table: &BTreeMap<&str, &str>, row: &str) -> bool {
    match table
        .get(row)
        .map(|says| says.split([':', ';', ' ', ',']).next().unwrap_or_default())
    {
        Some("yes") => true,
        Some("no") => false,
        other => panic!("{format}: the table says {other:?} of {row:?}"),
    }
}

fn says(format: &dyn Format, codec: &Arc<dyn Codec>, row: &Row) -> bool {
    let (name, say, is_said) = row;
    let advert = say(Advert::new("10.0.0.1:80"));
    let entry = match *name {
        "metadata that is no text" => {
            let mut entry = registered(format, "svc", &advert);
            let instance = one(codec.decode(&entry).unwrap());
            let instance = instance.with_json_metadata("shard", "[7]");
            match codec.encode(&instance) {
                Ok(value) => entry.value = value,
                Err(error) => {
                    assert!(error.is_unsayable(), "{}: {error:?}", format.name());
                    return false;
                }
            }
            entry
        }
        _ => match format.service("svc", &advert) {
            Ok(_) => registered(format, "svc", &advert),
            Err(error) => {
                assert!(error.is_unsayable(), "{}: {error:?}", format.name());
                return false;
            }
        },
    };
    let decoded = codec.decode(&entry).unwrap();
    assert!(
        decoded.ignored().is_none(),
        "{}: {decoded:?}",
        format.name()
    );
    assert!(
        is_said(&one(decoded)),
        "{} loses {name}: {entry:?}",
        format.name()
    );
    true
}

#[test]
fn every_format_says_what_its_page_claims_and_no_more() {
    let formats = sd_formats::all();
    assert_eq!(formats.len(), PAGES.len());
    for (format, (name, source)) in formats.iter().zip(PAGES) {
        assert_eq!(format.name(), name);
        let (table, codec) = (table(source), format.codec("svc").unwrap());
        assert_eq!(table.len(), 13, "{name}: {table:?}");
        for row in &ROWS {
            let claimed = is_yes(name, &table, row.0);
            assert_eq!(says(&**format, &codec, row), claimed, "{name}: {}", row.0);
        }
        let url = format.service("svc", &Advert::new("http://10.0.0.1:80"));
        let claimed = table["an address"].starts_with("`host:port` or a URL");
        assert_eq!(url.is_ok(), claimed, "{name}: a URL");
        let nested = format.prefix("a/b").is_ok();
        assert_eq!(
            nested,
            is_yes(name, &table, "a service called `a/b`"),
            "{name}"
        );
        assert_eq!(nested, format.codec("a/b").is_ok(), "{name}");
        assert_eq!(
            nested,
            format.service("a/b", &Advert::new("h:1")).is_ok(),
            "{name}"
        );
        let ttl = format
            .service("svc", &Advert::new("h:1"))
            .unwrap()
            .ttl
            .as_secs();
        assert!(
            table["time to live"].starts_with(&format!("{ttl} s")),
            "{name}: {ttl}"
        );
    }
}

#[test]
fn what_can_be_said_can_be_edited() {
    for (format, (name, source)) in sd_formats::all().iter().zip(PAGES) {
        let (table, codec) = (table(source), format.codec("svc").unwrap());
        // The toolkit's own has no place for anything in a bare address.
        let advert = match name {
            "default" => Advert::new("10.0.0.1:80").weight(2),
            _ => Advert::new("10.0.0.1:80"),
        };
        let entry = registered(&**format, "svc", &advert);
        for (row, edit) in [
            ("a weight", Edit::new().weight(3)),
            ("a weight of 0", Edit::new().weight(0)),
            ("draining", Edit::new().status(Status::Draining)),
            ("metadata", Edit::new().metadata("team", "search")),
        ] {
            let expected = edit.apply(one(codec.decode(&entry).unwrap()));
            match codec.edit(&entry, &edit) {
                Ok(edited) => {
                    assert!(is_yes(name, &table, row), "{name}: {row}");
                    let read = one(codec.decode(&edited).unwrap());
                    assert_eq!(read.with_key(entry.key.clone()), expected, "{name}: {row}");
                }
                Err(error) => {
                    assert!(error.is_unsayable(), "{name}: {row}: {error:?}");
                    assert!(!is_yes(name, &table, row), "{name}: {row}: {error}");
                }
            }
        }
    }
}

/// Whether or not a program of the fleet would ask for it.
#[test]
fn entries_live_as_long_as_those_of_their_fleet() {
    let fleets = [
        ("gokit", 10),
        ("grpc", 10),
        ("gozero", 10),
        ("kratos", 15),
        ("kitex", 60),
        ("hertz", 60),
        ("gomicro", 90),
        ("dubbo-app", 30),
        ("dubbo-interface", 30),
    ];
    for (name, secs) in fleets {
        let format = crate::named(name);
        let advert = Advert::new("h:1");
        assert_eq!(
            format.service("svc", &advert).unwrap().ttl.as_secs(),
            secs,
            "{name}"
        );
        let asked = advert.ttl(sd_core::Ttl::from_secs(7).unwrap());
        assert_eq!(
            format.service("svc", &asked).unwrap().ttl.as_secs(),
            7,
            "{name}"
        );
    }
}

#[test]
fn what_no_fleet_could_name_is_refused() {
    for format in sd_formats::all() {
        for service in [
            "",
            ".",
            "..",
            "a\n",
            "/a",
            "a/",
            "a//b",
            "\u{202e}a",
            "a/../b",
        ] {
            let name = format.name();
            assert!(format.prefix(service).is_err(), "{name}: {service:?}");
            assert!(format.codec(service).is_err(), "{name}: {service:?}");
            let advert = Advert::new("h:1");
            assert!(
                format.service(service, &advert).is_err(),
                "{name}: {service:?}"
            );
        }
        for id in ["..", "a/b", "a\n"] {
            let service = format.service("svc", &Advert::new("h:1").id(id));
            let is_escaped = (format.name(), id) == ("gomicro", "a/b");
            let is_in_value = format.name() == "default" || format.name() == "dubbo-app";
            assert_eq!(
                service.is_ok(),
                is_escaped || is_in_value,
                "{}: {id:?}",
                format.name()
            );
        }
        for address in ["", "h", ":80", "0.0.0.0:80", "h:0", "a b:80", "null", "{}"] {
            assert!(
                format.service("svc", &Advert::new(address)).is_err(),
                "{address:?}"
            );
        }
    }
    assert!(
        crate::named("lease-named").prefix("svc2").is_err(),
        "its keys are like those of svc"
    );
    assert!(
        crate::named("dubbo-interface").prefix("org.A$B").is_err(),
        "it is escaped in the key"
    );
}
