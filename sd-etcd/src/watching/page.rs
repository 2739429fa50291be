//! Whether a page of a list can be what etcd was asked for.
//!
//! An etcd that lies could otherwise send the same page for ever, or keys that nobody asked for.

use etcd_client::GetResponse;

const OUTSIDE: &str = "a key outside of the range that was asked for";

/// Checks an answer to the request for the first `limit` keys from `from` to before `end`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_page(
    page: &GetResponse,
    from: &[u8],
    end: &[u8],
    limit: i64,
) -> Result<(), &'static str> {
    let keys = page.kvs().iter().map(|entry| entry.key());
    check_keys(keys, page.more(), from, end, limit)
}

fn check_keys<'k>(
    keys: impl ExactSizeIterator<Item = &'k [u8]>,
    has_more: bool,
    from: &[u8],
    end: &[u8],
    limit: i64,
) -> Result<(), &'static str> {
    if keys.len() as i64 > limit {
        return Err("a page with more entries than were asked for");
    }
    if has_more && keys.len() == 0 {
        return Err("an empty page, and says that there is more");
    }
    let mut last: Option<&[u8]> = None;
    for key in keys {
        match last {
            None if key < from => return Err(OUTSIDE),
            Some(last) if key <= last => return Err("keys that do not ascend"),
            _ => last = Some(key),
        }
    }
    // Those between the first and the last are in the range if these are.
    match last {
        Some(last) if end != [0] && last >= end => Err(OUTSIDE),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: &[&str], has_more: bool) -> Result<(), &'static str> {
        let keys = keys.iter().map(|key| key.as_bytes());
        check_keys(keys, has_more, b"/a/b", b"/a0", 3)
    }

    /// hostile row 13
    #[test]
    fn a_page_is_of_ascending_keys_in_its_range() {
        assert_eq!(check(&[], false), Ok(()));
        assert_eq!(check(&["/a/b", "/a/c", "/a/d"], true), Ok(()));
        for (keys, has_more) in [
            (&[][..], true),
            (&["/a/b", "/a/c", "/a/d", "/a/e"], false),
            (&["/a/b", "/a/b"], false),
            (&["/a/c", "/a/b"], false),
            // Of the page before.
            (&["/a/a"], false),
            (&["/a0"], false),
            (&["/b"], false),
        ] {
            assert!(check(keys, has_more).is_err(), "{keys:?}");
        }
        let all = ["/a/b", "/z", "\u{ff}"].map(str::as_bytes);
        assert_eq!(check_keys(all.into_iter(), false, b"/", b"\0", 3), Ok(()));
    }
}
