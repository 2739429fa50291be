//! Text that others wrote, on its way into a log line or a message.
//!
//! Whoever may write to the registry chooses keys and values, and whatever a program calls chooses
//! the texts of its errors. Such a text must not begin a line of its own, move a terminal's cursor,
//! turn the direction of what is read, or fill a disk.

use std::fmt::{self, Write};

/// The characters that [`Escaped`] writes at most.
const MOST: usize = 256;
/// The characters of a message at most: a text that others wrote, and what the toolkit says to it.
const MOST_OF_MESSAGE: usize = 512;

/// Writes a text from outside in one line of at most 256 characters.
///
/// Control characters, line separators and what turns the direction of text are escaped as Rust
/// escapes them (`\n`, `\u{1b}`). A longer text is cut, and ends in `…`. Text that is escaped already
/// stays as it is.
///
/// The toolkit logs every key, value, address and name this way, and errors by
/// [`ErrorChain`](crate::ErrorChain). It is public for backends and programs that log such texts. What it
/// writes is for reading only: two different texts may look the same.
///
/// ```
/// use sd_core::{Escaped, Key};
///
/// let key = Key::new("/services/hello/x\n2026-01-01 ERROR all is lost")?;
/// assert_eq!(Escaped(&key).to_string(), r"/services/hello/x\n2026-01-01 ERROR all is lost");
/// assert_eq!(Escaped("x".repeat(100_000)).to_string().chars().count(), 256);
/// # Ok::<(), sd_core::Invalid>(())
/// ```
#[derive(Clone, Copy)]
pub struct Escaped<T>(
    /// What is written.
    pub T,
);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, &self.0, MOST)
    }
}

/// As [`Display`](fmt::Display), so that it makes no difference how it is logged.
impl<T: fmt::Display> fmt::Debug for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The message of an error, escaped and cut as a whole.
pub(crate) struct Message<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Message<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, &self.0, MOST_OF_MESSAGE)
    }
}

fn write_escaped(f: &mut fmt::Formatter<'_>, text: &dyn fmt::Display, most: usize) -> fmt::Result {
    let mut line = Line {
        most,
        ..Line::default()
    };
    write!(line, "{text}")?;
    f.write_str(&line.text)
}

/// What was written to it, escaped, as long as there was room.
#[derive(Default)]
struct Line {
    text: String,
    /// In characters.
    length: usize,
    most: usize,
    /// So many bytes of the text leave room for the sign that it is cut.
    kept: usize,
    is_cut: bool,
}

impl Line {
    fn push(&mut self, character: char) {
        let before = self.text.len();
        if character.is_control() {
            self.text.extend(character.escape_debug());
        } else if is_hidden(character) {
            self.text.extend(character.escape_unicode());
        } else {
            self.text.push(character);
        }
        self.length += self.text[before..].chars().count();
        if self.length < self.most {
            self.kept = self.text.len();
        } else if self.length > self.most {
            self.text.truncate(self.kept);
            self.text.push('…');
            self.is_cut = true;
        }
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // The rest is not an error: an implementation of `Display` may not expect one.
        for character in text.chars() {
            if self.is_cut {
                break;
            }
            self.push(character);
        }
        Ok(())
    }
}

/// Whether `character` separates lines, turns the direction of text, or is not seen.
fn is_hidden(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::cases;
    use proptest::prelude::*;

    fn escaped(text: &str) -> String {
        Escaped(text).to_string()
    }

    #[test]
    fn what_does_not_belong_into_a_line_is_escaped() {
        for (text, line) in [
            (
                "/svc/a 10.0.0.1:80 \"é\" \\ 日本",
                "/svc/a 10.0.0.1:80 \"é\" \\ 日本",
            ),
            ("a\nb\r\tc\0", r"a\nb\r\tc\0"),
            ("\u{1b}[31mred\u{7}\u{7f}", r"\u{1b}[31mred\u{7}\u{7f}"),
            ("\u{85}\u{9b}31m", r"\u{85}\u{9b}31m"),
            ("\u{202e}exe\u{2066}", r"\u{202e}exe\u{2066}"),
            ("\u{2028}\u{2029}\u{feff}", r"\u{2028}\u{2029}\u{feff}"),
        ] {
            assert_eq!(escaped(text), line);
            assert_eq!(format!("{:?}", Escaped(text)), line);
        }
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let full = "x".repeat(MOST);
        assert_eq!(escaped(&full), full);
        assert_eq!(escaped(&"x".repeat(MOST + 1)), full[1..].to_owned() + "…");
        // An escape is written whole or not at all.
        let end = "x".repeat(MOST - 1) + "\n";
        assert_eq!(escaped(&end), full[1..].to_owned() + "…");
        let message = Message("x".repeat(100_000)).to_string();
        assert_eq!(message.chars().count(), MOST_OF_MESSAGE);
    }

    proptest! {
        #![proptest_config(cases(2))]

        #[test]
        fn any_text_is_a_short_line_and_stays_so(text in "(?s).{0,300}", part in 0..300_usize) {
            let line = escaped(&text);
            prop_assert!(line.chars().count() <= MOST);
            prop_assert!(!line.chars().any(|it| it.is_control() || is_hidden(it)));
            prop_assert_eq!(escaped(&line), line.clone());
            // However it is written.
            let (first, second) = text.split_at(text.floor_char_boundary(part));
            prop_assert_eq!(Escaped(format_args!("{first}{second}")).to_string(), line);
        }
    }
}
