//! Finds secrets in text, in whatever form they are written there.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use percent_encoding::percent_decode_str;

/// Shorter runs of characters hold no secret of this test.
const SHORTEST: usize = 12;

/// Bytes that must not be written anywhere.
pub(crate) struct Secret {
    name: &'static str,
    bytes: Vec<u8>,
}

impl Secret {
    pub(crate) fn text(name: &'static str, text: &str) -> Self {
        Self {
            name,
            bytes: text.into(),
        }
    }

    /// The secret part of a key on the curve P-256 (PEM, PKCS #8): in two pieces, as the lines of its PEM
    /// part it.
    pub(crate) fn key(name: &'static str, pem: &str) -> [Self; 2] {
        let lines = pem.lines().filter(|line| !line.starts_with("-----"));
        let base64: String = lines.collect();
        let der = decoded_base64(&base64);
        assert_eq!(der[34..36], [4, 32], "an octet string of 32 bytes");
        [&der[36..48], &der[48..68]].map(|bytes| Self {
            name,
            bytes: bytes.to_vec(),
        })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn is_in(&self, text: &Forms) -> bool {
        let length = self.bytes.len();
        let is_in = |form: &Vec<u8>| form.windows(length).any(|window| window == self.bytes);
        text.0.iter().any(is_in)
    }
}

/// The first token of etcd (`simple`) in `text`, in any form: 16 letters, a dot, and a number.
pub(crate) fn token_in(text: &Forms) -> Option<String> {
    text.0.iter().find_map(|form| {
        let form = String::from_utf8_lossy(form);
        let words = form.split(|it: char| !it.is_ascii_alphanumeric() && it != '.');
        let is_token = |word: &&str| {
            word.split_once('.').is_some_and(|(letters, number)| {
                letters.len() == 16
                    && letters.bytes().all(|it| it.is_ascii_alphabetic())
                    && !number.is_empty()
                    && number.bytes().all(|it| it.is_ascii_digit())
            })
        };
        words.into_iter().find(is_token).map(str::to_owned)
    })
}

/// A text, and what is encoded in it, also twice: in base64, in hexadecimal or decimal numbers, or
/// percent-encoded.
pub(crate) struct Forms(Vec<Vec<u8>>);

impl Forms {
    pub(crate) fn of(text: &str) -> Self {
        let once = decoded(text);
        let texts = once.iter().filter_map(|it| std::str::from_utf8(it).ok());
        let mut forms: Vec<_> = texts.flat_map(decoded).collect();
        forms.extend(once);
        forms.push(text.into());
        Self(forms)
    }
}

/// What is encoded in `text`.
fn decoded(text: &str) -> Vec<Vec<u8>> {
    let mut forms = vec![percent_decode_str(text).collect(), decoded_decimals(text)];
    let is_base64 = |it: char| it.is_ascii_alphanumeric() || "+/-_".contains(it);
    for run in text.split(|it| !is_base64(it)) {
        // Where its first group begins is not known.
        let starts = (0..4).filter_map(|start| run.get(start..));
        let long = starts.filter(|it| it.len() >= SHORTEST);
        forms.extend(long.map(decoded_base64));
    }
    for run in text.split(|it: char| !it.is_ascii_hexdigit()) {
        let starts = (0..2).filter_map(|start| run.get(start..));
        forms.extend(starts.filter(|it| it.len() >= SHORTEST).map(decoded_hex));
    }
    forms.retain(|it| it.len() >= SHORTEST / 2 && it != text.as_bytes());
    forms
}

/// In either alphabet. Bits that are left over are dropped.
fn decoded_base64(run: &str) -> Vec<u8> {
    let run = run.replace('-', "+").replace('_', "/");
    let whole = &run[..run.len() - usize::from(run.len() % 4 == 1)];
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decoded = GeneralPurpose::new(&STANDARD, config).decode(whole);
    decoded.unwrap_or_default()
}

fn decoded_hex(run: &str) -> Vec<u8> {
    let pairs = run.as_bytes().chunks_exact(2);
    let text = pairs.map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    text.filter_map(|pair| u8::from_str_radix(pair, 16).ok())
        .collect()
}

/// The bytes of all lists such as `[1, 2, 3]`, one after the other, in one line or one number a line.
fn decoded_decimals(text: &str) -> Vec<u8> {
    let numbers = text.split(|it: char| it.is_whitespace() || ",[]()".contains(it));
    let numbers = numbers.filter(|it| !it.is_empty());
    // What is no number parts two lists.
    numbers.map(|it| it.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

    #[test]
    fn a_secret_is_found_in_any_form() {
        const TEXT: &str = "Pa55/w0rd+q~xyz";
        let secret = Secret::text("it", TEXT);
        let hex: String = TEXT.bytes().map(|it| format!("{it:02x}")).collect();
        let percent: String = TEXT.bytes().map(|it| format!("%{it:02X}")).collect();
        for text in [
            TEXT.to_owned(),
            format!("b\"a\\n{TEXT}\""),
            BASE64_STANDARD.encode(TEXT),
            format!("Basic {}", BASE64_STANDARD.encode(format!("a:{TEXT}"))),
            format!("\\n{}", BASE64_URL_SAFE_NO_PAD.encode(format!("ab:{TEXT}"))),
            format!("0x{hex}"),
            format!("0{hex}").to_uppercase(),
            format!("{:?}", TEXT.as_bytes()),
            format!("{:#?}", [b"a", TEXT.as_bytes()]),
            format!("user:{percent}@"),
        ] {
            assert!(secret.is_in(&Forms::of(&format!("x {text} y"))), "{text}");
        }
        assert!(!secret.is_in(&Forms::of("Pa55/w0rd q~xyz")));
    }

    #[test]
    fn a_key_is_found_in_its_pem_and_in_its_bytes() {
        let key = sd_tests::Ca::new().client("a").key;
        let secrets = Secret::key("it", &key);
        let lines: Vec<_> = key.lines().collect();
        let der = decoded_base64(&lines[1..4].concat());
        for (text, expected) in [
            (key.as_str(), [true, true]),
            (&format!("{key:?}"), [true, true]),
            (&format!("{der:?}"), [true, true]),
            (&format!("{:?}", key.as_bytes()), [true, true]),
            (&BASE64_STANDARD.encode(&key), [true, true]),
            (lines[1], [true, false]),
            (lines[2], [false, true]),
            (lines[3], [false, false]),
        ] {
            assert_eq!(
                secrets.each_ref().map(|it| it.is_in(&Forms::of(text))),
                expected
            );
        }
    }
}
