//! The URLs of dubbo, as its keys have them.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sd_core::CodecError;
use std::borrow::Cow;

/// What Go's `url.QueryEscape` escapes. It writes a space as `+`.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// `text` as Go's `url.QueryEscape` writes it.
pub(crate) fn escaped(text: &str) -> String {
    // A percent sign of the text is escaped, so this is only ever a space.
    utf8_percent_encode(text, ESCAPED)
        .to_string()
        .replace("%20", "+")
}

/// What Go's `url.QueryUnescape` makes of `text`. `None` if it is malformed, or no UTF-8.
fn unescaped(text: &str) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Some(text.into());
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => (digit(bytes.next()?)? << 4 | digit(bytes.next()?)?) as u8,
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

/// A URL `scheme://host:port/path?params`. What is not changed keeps its text and its place.
#[derive(Debug)]
pub(crate) struct DubboUrl<'a> {
    url: Cow<'a, str>,
    is_escaped: bool,
}

/// What is before the parameters of a URL.
#[derive(Debug, PartialEq)]
pub(crate) struct Parts<'u> {
    pub(crate) scheme: &'u str,
    /// Host and port as they are written.
    pub(crate) authority: &'u str,
    /// Without the slash before it.
    pub(crate) path: &'u str,
}

impl Parts<'_> {
    /// Whether there is a user name or password.
    pub(crate) fn has_user(&self) -> bool {
        self.authority.contains('@')
    }
}

impl<'a> DubboUrl<'a> {
    /// Reads a URL, escaped or not.
    pub(crate) fn parse(text: &'a str) -> Result<Self, CodecError> {
        let no_url = || CodecError::new("the key ends in no URL");
        // What is escaped in a URL that is not is escaped twice as much in one that is.
        let is_escaped = text.contains(['%', '+']) || !text.contains("://");
        let url = unescaped(text).ok_or_else(no_url)?;
        let is_odd = |byte: u8| byte.is_ascii_control() || byte == b'#';
        let url = Self { url, is_escaped };
        if url.url.bytes().any(is_odd) || !url.split().0.contains("://") {
            return Err(no_url());
        }
        Ok(url)
    }

    /// The URL up to the parameters, and these.
    fn split(&self) -> (&str, &str) {
        split(&self.url, '?')
    }

    pub(crate) fn parts(&self) -> Parts<'_> {
        let (scheme, rest) = self.split().0.split_once("://").unwrap_or_default();
        let (authority, path) = split(rest, '/');
        Parts {
            scheme,
            authority,
            path,
        }
    }

    /// The parameters as they are written: `name=value`.
    fn pairs(&self) -> impl Iterator<Item = &str> {
        let pairs = self.split().1.split('&');
        pairs.filter(|pair| !pair.is_empty())
    }

    /// The parameters, in their order. Malformed ones are left out, as Go does.
    pub(crate) fn params(&self) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
        let params = self.pairs().map(|pair| split(pair, '='));
        if !self.split().1.contains(['%', '+']) {
            return params
                .map(|(name, value)| (name.into(), value.into()))
                .collect();
        }
        let read = |(name, value)| Some((unescaped(name)?, unescaped(value)?));
        params.filter_map(read).collect()
    }

    /// A parameter as it is written.
    ///
    /// # Errors
    /// [`CodecError::cannot_say`] if Go would read something else: it unescapes the URL before it splits it, and
    /// the parameters again after that.
    pub(crate) fn pair(name: &str, value: &str) -> Result<String, CodecError> {
        let is_garbled = |text: &str| {
            text.contains(['%', '&', '+', '#', ';']) || text.contains(|it: char| it.is_control())
        };
        if is_garbled(name) || is_garbled(value) {
            return Err(CodecError::cannot_say("metadata with any of `%&+#;`"));
        }
        if name.is_empty() || name.contains('=') || value.is_empty() {
            return Err(CodecError::cannot_say("metadata without a name or a value"));
        }
        Ok(format!("{name}={value}"))
    }

    /// The same URL with `value` in the parameter called `name`, in place of what it is now, or as the last one.
    /// Without that parameter if there is no value.
    pub(crate) fn with(&self, name: &str, value: Option<&str>) -> Result<Self, CodecError> {
        let new = value.map(|value| Self::pair(name, value)).transpose()?;
        let mut new = new.as_deref();
        let mut pairs = Vec::new();
        for pair in self.pairs() {
            match unescaped(split(pair, '=').0) {
                // The first of several is the one that counts.
                Some(known) if known == name => pairs.extend(new.take()),
                _ => pairs.push(pair),
            }
        }
        pairs.extend(new);
        let base = self.split().0;
        let url = match pairs.is_empty() {
            true => base.to_owned(),
            false => format!("{base}?{}", pairs.join("&")),
        };
        Ok(Self {
            url: url.into(),
            is_escaped: self.is_escaped,
        })
    }

    /// The URL in a key, escaped if it was.
    pub(crate) fn to_key(&self) -> String {
        match self.is_escaped {
            true => escaped(&self.url),
            false => self.url.to_string(),
        }
    }
}

/// What is before the first `separator` in `text`, and what is behind.
fn split(text: &str, separator: char) -> (&str, &str) {
    text.split_once(separator).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Go 1.26 does it.
    #[test]
    fn texts_are_escaped_as_go_escapes_them() {
        for (text, expected) in [
            (
                "dubbo://a:1/b?c=d&e=f,g",
                "dubbo%3A%2F%2Fa%3A1%2Fb%3Fc%3Dd%26e%3Df%2Cg",
            ),
            ("a b+c%20", "a+b%2Bc%2520"),
            ("-_.~*'()é", "-_.~%2A%27%28%29%C3%A9"),
        ] {
            assert_eq!(escaped(text), expected);
            assert_eq!(unescaped(expected).as_deref(), Some(text));
        }
        for bad in ["%", "%2", "%zz", "%ff", "a%"] {
            assert_eq!(unescaped(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_not_changed_keeps_its_text_and_place() {
        for (key, expected) in [
            (
                "tri%3A%2F%2Fh%3A1%2Fp%3Fb%3D%2541%26a%3D1",
                "tri%3A%2F%2Fh%3A1%2Fp%3Fb%3D%2541%26a%3D2",
            ),
            ("tri://h:1/p?b=A&a=1", "tri://h:1/p?b=A&a=2"),
        ] {
            let url = DubboUrl::parse(key).unwrap();
            assert_eq!(url.to_key(), key);
            assert_eq!(url.params()[0], ("b".into(), "A".into()));
            let parts = Parts {
                scheme: "tri",
                authority: "h:1",
                path: "p",
            };
            assert_eq!(url.parts(), parts);
            assert_eq!(url.with("a", Some("2")).unwrap().to_key(), expected);
        }
    }
}
