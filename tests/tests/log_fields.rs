//! No field of a log line holds outside text that is not escaped: the sources are searched.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Fields that are written with `%` or `?` and hold no outside text: durations, a `Ttl`, addresses
/// that were resolved, words and numbers that the toolkit chose, and an `Unproven`, which escapes its cause.
const OWN: [&str; 19] = [
    "addresses",
    "after",
    "asked",
    "ejection_time",
    "gap",
    "grace",
    "granted",
    "held_for",
    "interval",
    "limit",
    "linger",
    "outcome",
    "pause",
    "reason",
    "stale",
    "took",
    "unproven",
    "ttl",
    "waited",
];
/// Fields that hold outside text, wherever they are.
const OUTSIDE: [&str; 13] = [
    "address", "endpoint", "error", "key", "lane", "member", "next", "owner", "prefix", "service",
    "user", "value", "why",
];

/// The `.rs` files below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
    let files = entries.flat_map(|path| {
        if path.is_dir() {
            sources(&path)
        } else {
            vec![path]
        }
    });
    let is_rust = |path: &PathBuf| path.extension().is_some_and(|it| it == "rs");
    files.filter(is_rust).collect()
}

/// The arguments of the macro whose opening parenthesis `text` follows.
fn arguments(text: &str) -> Vec<String> {
    let (mut arguments, mut depth, mut is_string) = (vec![String::new()], 1, false);
    let mut escaped = false;
    for character in text.chars() {
        match character {
            '"' if !escaped => is_string = !is_string,
            '(' | '[' | '{' if !is_string => depth += 1,
            ')' | ']' | '}' if !is_string => depth -= 1,
            ',' if !is_string && depth == 1 => {
                arguments.push(String::new());
                continue;
            }
            _ => {}
        }
        escaped = is_string && character == '\\' && !escaped;
        if depth == 0 {
            break;
        }
        arguments.last_mut().unwrap().push(character);
    }
    arguments.iter().map(|it| it.trim().to_owned()).collect()
}

/// Whether an argument of a log macro may hold outside text as it is.
fn is_unsafe(argument: &str) -> bool {
    if argument.starts_with('"') {
        // A constant, or a whole message that was chosen before.
        if argument == "\"{}\"" {
            return false;
        }
        let mut inserted = argument.split('{').skip(1);
        return inserted.any(|it| !it.starts_with(|it: char| it.is_ascii_uppercase()));
    }
    let (name, value) = argument.split_once('=').unwrap_or((argument, argument));
    let (name, value) = (name.trim().trim_start_matches(['%', '?']), value.trim());
    // The last writes an `ErrorChain`, or that there was no answer.
    let escaped = ["%Escaped(", "%ErrorChain(", "%cause("];
    if escaped.iter().any(|it| value.starts_with(it)) {
        return false;
    }
    OUTSIDE.contains(&name) || value.starts_with(['%', '?']) && !OWN.contains(&name)
}

/// faults row 43, hostile row 6
#[test]
fn every_field_that_others_wrote_is_escaped() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut lines = 0;
    for room in ["sd-core", "sd-etcd", "sd-formats", "sd-memory", "sd-tower"] {
        for path in sources(&workspace.join(room).join("src")) {
            let source = fs::read_to_string(&path).unwrap();
            for level in ["trace", "debug", "info", "warn", "error"] {
                let start = format!("tracing::{level}!(");
                for (at, _) in source.match_indices(&start) {
                    lines += 1;
                    let arguments = arguments(&source[at + start.len()..]);
                    let unsafe_one = arguments.iter().find(|it| is_unsafe(it));
                    assert_eq!(unsafe_one, None, "in {}: {arguments:?}", path.display());
                }
            }
            let spans = ["tracing::instrument", "_span!(", "use tracing::"];
            let span = spans.iter().find(|it| source.contains(**it));
            assert_eq!(
                span,
                None,
                "its fields would not be searched: {}",
                path.display()
            );
        }
    }
    assert!(lines > 50, "{lines} lines were found");
}

#[test]
fn the_search_knows_what_is_escaped() {
    for bad in [
        r#"%key, "deleted""#,
        r#"key, "deleted""#,
        r#"key = &*key, "deleted""#,
        r#"lease, who = %name, "deleted""#,
        r#"?error, "deleted""#,
        r#"error = %error, "deleted""#,
        r#""deleted {key}""#,
        r#"key = %Escaped(key), %error, "(,""#,
    ] {
        let arguments = arguments(&format!("{bad}); more(%key)"));
        assert!(arguments.iter().any(|it| is_unsafe(it)), "{arguments:?}");
    }
    let good = r#"key = %Escaped(f(a, ")")), lease, ?pause, ttl = %self.ttl, "a, \"b\" (%) {A}""#;
    let arguments = arguments(&format!("{good}); more(%key)"));
    assert_eq!(arguments.len(), 5);
    assert!(!arguments.iter().any(|it| is_unsafe(it)), "{arguments:?}");
}
