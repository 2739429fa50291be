//! Every row of `docs/faults.md` and of `docs/hostile.md` has a test that names it, and every step of
//! `docs/migration.md` names a test that is there.

use std::{collections::BTreeSet, fs, path::Path};

/// The numbers of the rows of a document.
fn rows(document: &str) -> BTreeSet<u32> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let document = fs::read_to_string(docs.join(document)).expect("the document");
    let first = |line: &str| line.strip_prefix("| ")?.split(' ').next()?.parse().ok();
    document.lines().filter_map(first).collect()
}

/// The numbers that follow the word "row" or "rows" in `comment`: "Rows 37 and 38", "row 4, 5". With
/// `hostile`, those that follow "hostile row", else the others.
fn named(comment: &str, hostile: bool) -> Vec<u32> {
    let mut numbers = Vec::new();
    let words = comment.split([' ', ',', '.', ':', ';', '(', ')']);
    let (mut after_row, mut before) = (false, "");
    for word in words.filter(|word| !word.is_empty()) {
        match word.parse() {
            Ok(number) if after_row => numbers.push(number),
            _ => {
                let is_row = matches!(word, "Row" | "Rows" | "row" | "rows");
                let is_hostile = matches!(before, "Hostile" | "hostile");
                after_row = is_row && is_hostile == hostile || (after_row && word == "and");
            }
        }
        before = word;
    }
    numbers
}

fn collect(folder: &Path, hostile: bool, found: &mut BTreeSet<u32>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, hostile, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let source = fs::read_to_string(&path).expect("text");
            let comments = source.lines().map(str::trim_start);
            let comments = comments.filter(|line| line.starts_with("//"));
            found.extend(comments.flat_map(|line| named(line, hostile)));
        }
    }
}

#[test]
fn every_row_is_named_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (document, hostile) in [("faults.md", false), ("hostile.md", true)] {
        let mut found = BTreeSet::new();
        for folder in [
            "tests/tests",
            "sd-core/src",
            "sd-etcd/src",
            "sd-memory",
            "examples",
        ] {
            collect(&root.join(folder), hostile, &mut found);
        }
        let rows = rows(document);
        assert!(!rows.is_empty());
        let missing: Vec<_> = rows.difference(&found).collect();
        assert!(
            missing.is_empty(),
            "no test names row {missing:?} of {document}"
        );
    }
}

#[test]
fn rows_are_read_from_comments() {
    assert_eq!(
        named("/// Rows 37 and 38: ours is the same lease", false),
        [37, 38]
    );
    assert_eq!(
        named("//! Faults of row 4, 5 and 6, on 3.4", false),
        [4, 5, 6]
    );
    assert_eq!(named("/// In 30 rows of the table", false), []);
    let both = "/// faults row 43, hostile row 6: escaped";
    assert_eq!((named(both, false), named(both, true)), (vec![43], vec![6]));
}

/// The names in backquotes that are names of tests: words in lower case, at least four of them.
fn tests_named_by(document: &str) -> BTreeSet<&str> {
    let quoted = document.split('`').skip(1).step_by(2);
    let is_test = |name: &&str| {
        let is_word = |it: char| it.is_ascii_lowercase() || it == '_';
        name.chars().all(is_word) && (name.split('_').count() > 3 || name.ends_with("_both_ways"))
    };
    quoted.filter(is_test).collect()
}

#[test]
fn every_step_of_a_migration_names_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let guide = fs::read_to_string(root.join("docs/migration.md")).expect("the guide");
    let mut sources = fs::read_to_string(root.join("tests/tests/moves.rs")).expect("text");
    for file in fs::read_dir(root.join("tests/tests/interop")).expect("a folder") {
        sources += &fs::read_to_string(file.expect("a file").path()).expect("text");
    }
    let is_there = |name: &str| {
        [format!("fn {name}("), format!(" {name}: ")]
            .iter()
            .any(|it| sources.contains(it))
    };
    let named = tests_named_by(&guide);
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        assert!(is_there(name), "there is no test called {name}");
    }
    // A step has a number; its last cell names a test, or refers to that of the step before.
    let steps = guide
        .lines()
        .filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit());
    let mut count = 0;
    for step in steps {
        let tests = step
            .trim_end_matches('|')
            .rsplit('|')
            .next()
            .unwrap_or_default();
        let tests = tests.trim();
        let refers = tests == "both" || tests.starts_with("the same");
        assert!(
            refers || !tests_named_by(tests).is_empty(),
            "no test: {step}"
        );
        count += 1;
    }
    assert_eq!(count, 14);
}
