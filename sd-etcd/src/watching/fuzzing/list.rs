//! Pages of a list.

use super::raw::{bytes, header, number};
use crate::{
    config::{Namespace, Options},
    watching::{
        pages::{PageRequest, Pages},
        token::ResumeToken,
    },
};
use arbitrary::{Result, Unstructured};
use etcd_client::{
    GetResponse,
    proto::{PbKeyValue, PbRangeResponse},
};
use sd_core::{ErrorChain, Snapshot, fuzzing::assert_is_line};

/// Reads a list of the pages in `input`. Each page leads on, what is held is bounded, and the list has
/// each key once, in order, below its prefix.
pub fn list(input: &[u8]) {
    let mut input = Unstructured::new(input);
    // Without a list where the input ends in the middle of one.
    let _ = read(&mut input);
}

fn read(input: &mut Unstructured<'_>) -> Result<()> {
    let options = Options {
        page_size: input.int_in_range(1..=8)?,
        max_list_entries: input.int_in_range(1..=64)?,
        max_list_bytes: input.int_in_range(1..=8000)?,
        namespace: match input.arbitrary()? {
            true => Namespace::new("/ns"),
            false => Namespace::default(),
        },
        ..Options::unchecked()
    };
    let start = options.namespace.full("/svc/");
    let mut pages = Pages::new(&options, start.clone());
    let (mut read, mut last) = (0, Vec::new());
    loop {
        let asked = pages.next();
        assert!((1..=options.page_size).contains(&asked.limit));
        assert!(asked.from.starts_with(&start) && asked.from > last);
        if input.is_empty() {
            return Ok(());
        }
        match input.int_in_range(0..=15)? {
            0 => {
                pages.restart();
                (read, last) = (0, Vec::new());
                continue;
            }
            1 => {
                assert_eq!(pages.shrink(), asked.limit > 1);
                continue;
            }
            _ => {}
        }
        let page = page(input, &asked)?;
        if asked.check(&page).is_err() {
            continue;
        }
        let entries = page.kvs().len();
        match pages.add(page) {
            Err(error) => {
                assert_is_line(&ErrorChain(&error).to_string());
                return Ok(());
            }
            Ok(has_more) => {
                read += entries;
                assert!(read <= options.max_list_entries);
                assert!(!has_more || entries > 0, "an empty page that leads nowhere");
                if !has_more {
                    break;
                }
            }
        }
        last = asked.from;
    }
    check(&pages.into_snapshot(), &start, read);
    Ok(())
}

fn check(snapshot: &Snapshot, start: &[u8], read: usize) {
    let entries = &snapshot.entries;
    assert!(entries.iter().is_sorted_by(|a, b| a.key < b.key));
    let mut keys = entries.iter().map(|entry| entry.key.as_str());
    assert!(keys.all(|key| key.starts_with("/svc/")));
    assert_eq!(entries.len() + snapshot.skipped as usize, read);
    let token = ResumeToken::of(&snapshot.revision).expect("a token of this backend");
    assert_eq!(*token.prefix, *start);
}

/// An answer, often an honest one.
fn page(input: &mut Unstructured<'_>, asked: &PageRequest) -> Result<GetResponse> {
    let (is_honest, count) = (input.ratio(3, 4)?, input.int_in_range(0..=9)?);
    let mut keys = Vec::new();
    for _ in 0..count {
        let is_below = is_honest || input.arbitrary()?;
        let beginning: &[u8] = if is_below { &asked.from } else { &[] };
        keys.push([beginning, &bytes(input, 4)?].concat());
    }
    if is_honest {
        keys.sort_unstable();
        keys.dedup();
        keys.truncate(asked.limit as usize);
    }
    let mut kvs = Vec::new();
    for key in keys {
        kvs.push(PbKeyValue {
            key,
            value: bytes(input, 20)?,
            create_revision: number(input)?,
            mod_revision: number(input)?,
            version: number(input)?,
            lease: number(input)?,
        });
    }
    Ok(GetResponse(PbRangeResponse {
        header: header(input)?,
        more: input.arbitrary()?,
        count: number(input)?,
        kvs,
    }))
}
