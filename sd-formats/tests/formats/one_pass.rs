//! A value is read in one pass if it is as programs write it, and field by field if it is not: both read the same.

use crate::{codec, entry};
use proptest::prelude::*;
use sd_core::{CodecError, Instance};
use sd_test_support::cases;

/// What is in a place of a value.
fn any() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        r#""svc""#,
        r#""h:1""#,
        r#""h\u003a1""#,
        r#""\ud800""#,
        r#""""#,
        "null",
        "true",
        "3",
        "-0",
        "3.0",
        "4294967296",
        r#""3""#,
        "[]",
        r#"["grpc://h:1","http://h:2"]"#,
        r#"["grpc://h\u003a1",null]"#,
        r#"[{"address":"h:1","id":"i"},{"address":"h:2","id":"j"}]"#,
        r#"[{"id":"i"}]"#,
        "{}",
        r#"{"weight":"3","zone":"z","a":"1"}"#,
        r#"{"b":"1","a":"2","b":"3"}"#,
        r#"{"a":null,"weight":3}"#,
        r#"{"a":{"x":[1e400]}}"#,
    ])
}

/// The fields of an object: those of `plain` with what belongs there, of which each may be another or missing.
fn fields(plain: &'static [(&'static str, &'static str)]) -> impl Strategy<Value = String> {
    let field = |(name, value): &(&'static str, &'static str)| {
        let (name, value) = (*name, *value);
        prop_oneof![
            8 => Just(format!(r#""{name}":{value}"#)),
            1 => any().prop_map(move |any| format!(r#""{name}":{any}"#)),
            1 => any().prop_map(move |any| format!(r#""{name}":{value},"{name}":{any}"#)),
            1 => any().prop_map(move |any| format!(r#""{}":{any}"#, name.to_uppercase())),
        ]
    };
    plain
        .iter()
        .map(field)
        .collect::<Vec<_>>()
        .prop_map(|all| all.join(","))
}

/// A format, a key and the fields of its value.
fn value() -> impl Strategy<Value = (&'static str, &'static str, String)> {
    const KRATOS: &[(&str, &str)] = &[
        ("id", r#""i""#),
        ("name", r#""svc""#),
        ("version", r#""v1""#),
        ("metadata", r#"{"weight":"3","zone":"z","a":"1"}"#),
        ("endpoints", r#"["grpc://h:1","http://h:2"]"#),
    ];
    const DUBBO: &[(&str, &str)] = &[
        ("ID", r#""i""#),
        ("ServiceName", r#""svc""#),
        ("Host", r#""h""#),
        ("Port", "80"),
        ("Weight", "3"),
        ("Enable", "true"),
        ("Healthy", "true"),
        ("Metadata", r#"{"zone":"z","a":"1"}"#),
        ("Tag", r#""""#),
    ];
    const GO_MICRO: &[(&str, &str)] = &[
        ("name", r#""svc""#),
        ("version", r#""latest""#),
        ("metadata", "null"),
        ("endpoints", "[]"),
    ];
    const NODE: &[(&str, &str)] = &[
        ("metadata", r#"{"weight":"3","zone":"z","a":"1"}"#),
        ("id", r#""i""#),
        ("address", r#""h:1""#),
    ];
    let of = |format, key, fields| (format, key, fields);
    let nodes = prop::collection::vec(fields(NODE), 0..3);
    prop_oneof![
        fields(KRATOS).prop_map(move |it| of("kratos", "/microservices/svc/i", it)),
        fields(DUBBO).prop_map(move |it| of("dubbo-app", "/services/svc/h:80", it)),
        (fields(GO_MICRO), nodes).prop_map(move |(it, nodes)| {
            let nodes: Vec<_> = nodes.iter().map(|node| format!("{{{node}}}")).collect();
            let fields = format!(r#"{it},"nodes":[{}]"#, nodes.join(","));
            of("gomicro", "/micro/registry/svc/i", fields)
        }),
    ]
}

/// What is read in a value with these fields, in words that may be in another order.
fn read(format: &str, key: &str, fields: &str) -> Option<(Vec<Instance>, Vec<String>)> {
    let decoded = codec(format, "svc").decode(&entry(key, format!("{{{fields}}}")));
    let decoded = decoded.ok()?;
    let ignored = decoded.ignored().map(CodecError::to_string);
    let mut ignored: Vec<_> = ignored
        .iter()
        .flat_map(|it| it.split("; "))
        .map(String::from)
        .collect();
    ignored.sort();
    Some((decoded.instances().to_vec(), ignored))
}

proptest! {
    #![proptest_config(cases(8))]

    #[test]
    fn what_is_read_in_one_pass_is_what_is_read_field_by_field((format, key, fields) in value()) {
        // A field that is not known is not read, and neither is the rest in one pass.
        let with_another = format!(r#"{fields},"another":1"#);
        let (one, other) = (read(format, key, &fields), read(format, key, &with_another));
        prop_assert_eq!(&one, &other, "{}", format);
        if let (Some((one, _)), Some((other, _))) = (one, other) {
            for (one, other) in one.iter().zip(&other) {
                prop_assert_eq!(one.said_weight(), other.said_weight());
            }
        }
    }
}
