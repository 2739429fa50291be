//! Any text, and any target.

use super::{Target, text::encoded};
use proptest::prelude::*;
use sd_test_support::cases;
use std::{collections::BTreeMap, net::Ipv6Addr};

/// Texts that come near to a target.
fn nearly() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z0-9]{1,3}",
        2 => prop::sample::select(vec![
            "etcd", "://", "/", ":", ",", "?", "&", "=", "@", "#", "%", "%41", "%ff", "[", "]",
            "[::1]", ":2379", "zone=", "version=", "subset=", "prefix=", "metadata.", "password=",
            "balancer=random", "format=", "kratos", "ü", "\n",
        ]).prop_map(String::from),
        1 => any::<String>(),
    ];
    let pieces = prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat());
    (any::<bool>(), pieces).prop_map(|(is_near, text)| match is_near {
        true => format!("etcd://a/{text}"),
        false => text,
    })
}

/// The text of any target.
fn valid() -> impl Strategy<Value = String> {
    let host = prop_oneof![
        "[a-zA-Z]([a-z0-9]|-[a-z0-9]){0,5}(\\.[a-z]{1,3})?\\.?",
        "[0-9]\\.0\\.0\\.1",
        any::<Ipv6Addr>().prop_map(|address| format!("[{address}]"))
    ];
    let authority = (host, prop::option::of(1..=u16::MAX))
        .prop_map(|(host, port)| port.map_or(host.clone(), |port| format!("{host}:{port}")));
    let text = || "[^\\p{Cc}]{1,4}".prop_map(|text: String| encoded(&text).to_string());
    let segment = text().prop_filter("a path", |text| !text.contains('/'));
    let option = prop_oneof![
        text().prop_map(|value| ("zone".to_owned(), value)),
        text().prop_map(|value| ("version".to_owned(), value)),
        text().prop_map(|value| ("prefix".to_owned(), value)),
        Just(("prefix".to_owned(), String::new())),
        (text(), text()).prop_map(|(name, value)| (format!("metadata.{name}"), value)),
        (1..100_u32).prop_map(|size| ("subset".to_owned(), size.to_string())),
        prop::sample::select(vec!["round_robin", "weighted_random", "consistent_hash"])
            .prop_map(|kind| ("balancer".to_owned(), kind.to_owned())),
    ];
    (
        "[a-zA-Z][a-z0-9+.-]{0,4}",
        prop::collection::vec(authority, 0..4),
        prop::collection::vec(segment, 1..4),
        prop::collection::vec(option, 0..5),
    )
        .prop_map(|(scheme, authorities, segments, options)| {
            let options: BTreeMap<_, _> = options.into_iter().collect();
            let options = options
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            let options: Vec<_> = options.collect();
            let (authorities, path) = (authorities.join(","), segments.join("/"));
            format!("{scheme}://{authorities}/{path}?{}", options.join("&"))
        })
}

proptest! {
    #![proptest_config(cases(4))]

    #[test]
    fn no_text_panics_and_every_error_has_a_place(text in nearly()) {
        match text.parse::<Target>() {
            Ok(target) => prop_assert_eq!(target.to_string().parse(), Ok(target)),
            Err(error) => {
                prop_assert!(text.get(error.span()).is_some());
                prop_assert_eq!(error.to_string().lines().count(), 1);
                let shown = format!("{error:#}");
                prop_assert_eq!(shown.lines().count(), 3);
                prop_assert!(shown.lines().all(|line| line.chars().count() < 600));
            }
        }
    }

    #[test]
    fn the_text_of_a_target_is_read_as_the_same(text in valid()) {
        let target: Target = text.parse().map_err(|error| {
            TestCaseError::fail(format!("{error:#}"))
        })?;
        let normal = target.to_string();
        let again: Target = normal.parse().map_err(|error| {
            TestCaseError::fail(format!("{error:#}"))
        })?;
        prop_assert_eq!(&again, &target);
        prop_assert_eq!(again.to_string(), normal);
    }
}
