//! Names that come from outside, and how they look in a log.

use crate::registry::{Error, ErrorChain, Escaped, Key, LeaseId, Prefix, Service};

/// Keys, prefixes and names of services are made of the text in `input`, which is also logged.
pub fn text(input: &[u8]) {
    let text = &*String::from_utf8_lossy(input);

    let key = Key::new(text);
    assert_eq!(key.is_ok(), !text.is_empty());
    assert_eq!(Service::new(text, "h:1").is_ok(), !text.is_empty());
    let (whole, raw) = (Prefix::new(text), Prefix::raw(text));
    if let (Ok(key), Ok(whole), Ok(raw)) = (key, whole, raw) {
        assert!(raw.matches(&key) && whole.as_str().ends_with('/'));
        assert_eq!(raw.strip(&key), Some(""));
        let below = whole.key("a").expect("a name");
        assert_eq!(whole.strip(&below), Some("a"));
        let suffixed = Key::lease_suffixed(text).expect("a stem");
        let under = suffixed.under(&LeaseId::from(7));
        assert_eq!(under.as_str(), format!("{text}7"));
    }

    let services = Prefix::new("/services").expect("a path");
    match services.child(text) {
        Ok(child) => {
            assert_eq!(child.as_str(), format!("/services/{text}/"));
            let segments: Vec<_> = child.as_str().split('/').collect();
            assert_eq!(segments, ["", "services", text, ""]);
            assert!(text != "." && text != "..");
            assert_is_line(text);
        }
        Err(error) => assert_is_line(&error.to_string()),
    }

    let escaped = Escaped(text).to_string();
    assert!(escaped.chars().count() <= 256);
    assert_is_line(&escaped);
    assert_eq!(Escaped(&escaped).to_string(), escaped, "escaped twice");
    let error = Error::unavailable(text).with_source(std::io::Error::other(text.to_owned()));
    assert_is_line(&error.to_string());
    assert_is_line(&ErrorChain(&error).to_string());
}

/// The eight messages of an error and its causes, each of at most 512 characters, and what is between them.
const LONGEST_LINE: usize = 8 * (512 + 2);

/// Panics if `text` is no single line for people to read: bounded, of characters that are seen, in the order
/// in which they stand.
#[track_caller]
pub fn assert_is_line(text: &str) {
    let length = text.chars().count();
    assert!(length <= LONGEST_LINE, "{length} characters");
    let is_hidden = |character: char| {
        character.is_control()
            || matches!(
                character,
                '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
            )
    };
    let hidden = text.chars().find(|character| is_hidden(*character));
    assert!(hidden.is_none(), "{hidden:?} in {text:?}");
}
