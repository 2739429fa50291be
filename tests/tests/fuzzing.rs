//! The targets of `./run fuzz` without a fuzzer: the inputs in `fuzz/corpus`, and inputs that are like them.

use proptest::{
    collection::vec,
    prelude::*,
    sample::Index,
    test_runner::{TestError, TestRunner},
};
use sd_test_support::cases;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    slice::EscapeAscii,
};

/// A property test for each target. The name is that of its file in `fuzz/fuzz_targets` and of its folder in
/// `fuzz/corpus`.
macro_rules! targets {
    ($($name:ident: $target:path,)*) => {
        const TARGETS: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                try_inputs(stringify!($name), $target);
            }
        )*
    };
}

targets! {
    address: sd_tower::fuzzing::address,
    default_codec: sd_core::fuzzing::default_codec,
    etcd_list: sd_etcd::fuzzing::list,
    etcd_messages: sd_etcd::fuzzing::messages,
    etcd_watch: sd_etcd::fuzzing::watch,
    formats: sd_formats::fuzzing::formats,
    mirror: sd_core::fuzzing::mirror,
    retry_after: sd_tower::fuzzing::retry_after,
    target: sd_tower::fuzzing::target,
    text: sd_core::fuzzing::text,
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// The files in a folder of `fuzz`, by name.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(fuzz().join(folder)).expect(folder);
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn stems(files: &[PathBuf]) -> BTreeSet<&str> {
    let stems = files.iter().map(|file| file.file_stem().unwrap());
    stems.map(|stem| stem.to_str().unwrap()).collect()
}

/// `target` keeps its promises for each input in its corpus, and for inputs that are made of these.
fn try_inputs(name: &str, target: fn(&[u8])) {
    let seeds = files(&format!("corpus/{name}"));
    let seeds: Vec<_> = seeds.iter().map(|seed| fs::read(seed).unwrap()).collect();
    seeds.iter().for_each(|seed| target(seed));

    let mut runner = TestRunner::new(cases(4));
    let tried = runner.run(&input(seeds), |input| {
        target(&input);
        Ok(())
    });
    if let Err(TestError::Fail(why, input)) = tried {
        let input: EscapeAscii<'_> = input.escape_ascii();
        panic!("{name}: {why}\nthe input, to be stored in fuzz/corpus/{name}: b\"{input}\"");
    }
    tried.unwrap();
}

/// A change of an input.
#[derive(Debug, Clone)]
enum Edit {
    Overwrite(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
}

impl Edit {
    fn apply(self, input: &mut Vec<u8>) {
        let length = input.len();
        let range = |at: &Index, count: usize| {
            let start = at.index(length + 1);
            start..(start + count).min(length)
        };
        match self {
            Self::Overwrite(at, byte) => input[range(&at, 1)].fill(byte),
            Self::Insert(at, bytes) => drop(input.splice(range(&at, 0), bytes)),
            Self::Remove(at, count) => drop(input.drain(range(&at, count))),
            Self::Repeat(at, count) => {
                let bytes = input[range(&at, count)].to_vec();
                input.splice(range(&at, 0), bytes);
            }
        }
    }
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Overwrite(at, byte)),
        2 => (at(), vec(any::<u8>(), 1..16)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        1 => (at(), 1..16_usize).prop_map(|(at, count)| Edit::Remove(at, count)),
        1 => (at(), 1..64_usize).prop_map(|(at, count)| Edit::Repeat(at, count)),
    ]
}

/// One of the seeds or two, changed in some places, or any bytes.
fn input(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let seeded = (vec(prop::sample::select(seeds), 1..3), vec(edit(), 0..8));
    let seeded = seeded.prop_map(|(seeds, edits)| {
        let mut input = seeds.concat();
        edits.into_iter().for_each(|edit| edit.apply(&mut input));
        input
    });
    prop_oneof![3 => seeded, 1 => vec(any::<u8>(), 0..400)]
}

#[test]
fn each_target_of_the_fuzzer_is_tested_here_too_and_has_a_corpus() {
    let targets: BTreeSet<_> = TARGETS.iter().copied().collect();
    assert_eq!(stems(&files("fuzz_targets")), targets);
    assert_eq!(stems(&files("corpus")), targets);
    for name in TARGETS {
        assert!(!files(&format!("corpus/{name}")).is_empty(), "{name}");
    }
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let paths = manifest.lines().filter(|line| line.starts_with("path = "));
    let paths: Vec<_> = paths
        .map(|line| PathBuf::from(line.trim_matches('"')))
        .collect();
    assert_eq!(stems(&paths), targets);
}
