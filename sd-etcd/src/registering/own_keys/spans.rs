//! Which watches cover which keys, without I/O.

use std::{collections::BTreeMap, ops::Bound};

/// A range of keys of one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: Vec<u8>,
    pub(super) last: Vec<u8>,
    /// The first put of a key that no watch reports on yet. `None` if there is none.
    pub(super) new_since: Option<i64>,
}

impl Span {
    pub(super) fn range(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (Bound::Included(&self.first), Bound::Included(&self.last))
    }

    pub(super) fn has_ends_of(&self, other: &Self) -> bool {
        (&self.first, &self.last) == (&other.first, &other.last)
    }

    /// Returns the end of the range as etcd takes it, which is not in it. `None` for one key.
    pub(super) fn range_end(&self) -> Option<Vec<u8>> {
        // The next key in the order of bytes.
        (self.first != self.last).then(|| [&self.last[..], b"\0"].concat())
    }
}

/// Returns one span for each directory, from the least of its `keys` to the greatest. Beside each key is the put from
/// which it has to be watched, if none watches it yet. The keys are in order.
pub(super) fn spans<'k>(
    keys: impl Iterator<Item = (&'k [u8], Option<i64>)>,
) -> BTreeMap<Vec<u8>, Span> {
    let mut spans: BTreeMap<Vec<u8>, Span> = BTreeMap::new();
    for (key, since) in keys {
        let directory = directory(key);
        match spans.get_mut(directory) {
            Some(span) => {
                key.clone_into(&mut span.last);
                span.new_since = [span.new_since, since].into_iter().flatten().min();
            }
            None => {
                let span = Span {
                    first: key.to_vec(),
                    last: key.to_vec(),
                    new_since: since,
                };
                spans.insert(directory.to_vec(), span);
            }
        }
    }
    spans
}

/// Returns the key up to its last slash.
fn directory(key: &[u8]) -> &[u8] {
    let slash = key.iter().rposition(|byte| *byte == b'/');
    &key[..slash.map_or(0, |slash| slash + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans_of(keys: &[(&str, Option<i64>)]) -> Vec<(String, String, String, Option<i64>)> {
        let keys = keys.iter().map(|(key, since)| (key.as_bytes(), *since));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let spans = spans(keys).into_iter();
        spans
            .map(|(directory, span)| {
                let ends = (text(&span.first), text(&span.last));
                (text(&directory), ends.0, ends.1, span.new_since)
            })
            .collect()
    }

    #[test]
    fn one_watch_covers_the_own_keys_of_a_directory_and_no_more() {
        let spans = spans_of(&[
            ("/a", None),
            ("/svc/a", Some(7)),
            ("/svc/b/x", None),
            ("/svc/c", Some(5)),
            ("/svc/d", None),
            ("name", Some(9)),
        ]);
        let span = |directory: &str, first: &str, last: &str, since| {
            (directory.into(), first.into(), last.into(), since)
        };
        let expected = [
            span("", "name", "name", Some(9)),
            span("/", "/a", "/a", None),
            span("/svc/", "/svc/a", "/svc/d", Some(5)),
            span("/svc/b/", "/svc/b/x", "/svc/b/x", None),
        ];
        assert_eq!(spans, expected);
    }

    #[test]
    fn the_end_of_a_span_is_just_after_its_last_key() {
        let span = |first: &str, last: &str| Span {
            first: first.into(),
            last: last.into(),
            new_since: None,
        };
        assert_eq!(span("a", "a").range_end(), None);
        assert_eq!(span("a", "c").range_end(), Some(b"c\0".to_vec()));
    }
}
