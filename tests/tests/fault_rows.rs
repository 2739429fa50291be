//! Every row of `docs/faults.md` has a test that names it.

use std::{collections::BTreeSet, fs, path::Path};

/// The numbers of the rows.
fn rows() -> BTreeSet<u32> {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/faults.md");
    let document = fs::read_to_string(document).expect("the document");
    let first = |line: &str| line.strip_prefix("| ")?.split(' ').next()?.parse().ok();
    document.lines().filter_map(first).collect()
}

/// The numbers that follow the word "row" or "rows" in `comment`: "Rows 37 and 38", "row 4, 5".
fn named(comment: &str) -> Vec<u32> {
    let mut numbers = Vec::new();
    let words = comment.split([' ', ',', '.', ':', ';', '(', ')']);
    let mut after_row = false;
    for word in words.filter(|word| !word.is_empty()) {
        match word.parse() {
            Ok(number) if after_row => numbers.push(number),
            _ => {
                let is_row = matches!(word, "Row" | "Rows" | "row" | "rows");
                after_row = is_row || (after_row && word == "and");
            }
        }
    }
    numbers
}

fn collect(folder: &Path, found: &mut BTreeSet<u32>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let source = fs::read_to_string(&path).expect("text");
            let comments = source.lines().map(str::trim_start);
            let comments = comments.filter(|line| line.starts_with("//"));
            found.extend(comments.flat_map(named));
        }
    }
}

#[test]
fn every_row_is_named_by_a_test() {
    let mut found = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for folder in ["tests/tests", "sd-core/src", "sd-etcd/src", "sd-memory"] {
        collect(&root.join(folder), &mut found);
    }

    let rows = rows();
    assert!(rows.contains(&1) && rows.len() >= 45, "{rows:?}");
    let missing: Vec<_> = rows.difference(&found).collect();
    assert!(missing.is_empty(), "no test names row {missing:?}");
}

#[test]
fn rows_are_read_from_comments() {
    assert_eq!(
        named("/// Rows 37 and 38: ours is the same lease"),
        [37, 38]
    );
    assert_eq!(named("//! Faults of row 4, 5 and 6, on 3.4"), [4, 5, 6]);
    assert_eq!(named("/// In 30 rows of the table"), []);
}
