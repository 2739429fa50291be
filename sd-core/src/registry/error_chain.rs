//! An error with all that caused it, for a log line.

use super::escaped::Message;
use std::{error::Error as StdError, fmt, iter};

/// So many errors are written. What caused the last of them is left out.
const MOST: usize = 8;

/// Writes an error and its causes in one line, `why: because of this: because of that`, each of them
/// escaped and cut.
///
/// A cause whose text was written already is left out, as many errors repeat that of their source.
/// Everything in the log of the toolkit that tells of an error is written this way.
///
/// ```
/// use sd_core::{Error, ErrorChain, Trouble};
/// use std::io;
///
/// let reset = io::Error::other("connection reset\nby peer");
/// let trouble = Trouble::List(Error::unavailable("10.0.0.1:8500").with_source(reset));
/// assert_eq!(
///     ErrorChain(&trouble).to_string(),
///     r"listing failed: the registry is unavailable: 10.0.0.1:8500: connection reset\nby peer"
/// );
/// ```
#[derive(Clone, Copy)]
pub struct ErrorChain<'a>(
    /// The error that is written first.
    pub &'a dyn StdError,
);

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Message(self.0).to_string();
        let causes = iter::successors(self.0.source(), |&error| error.source());
        for cause in causes.take(MOST - 1) {
            let cause = Message(cause).to_string();
            if !line.contains(&cause) {
                line += ": ";
                line += &cause;
            }
        }
        f.write_str(&line)
    }
}

/// As [`Display`](fmt::Display), so that it makes no difference how it is logged.
impl fmt::Debug for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(String, #[source] Option<Box<Layer>>);

    fn chain<const N: usize>(texts: [&str; N]) -> String {
        let layer =
            |cause: Option<Box<Layer>>, text: &&str| Some(Box::new(Layer(text.to_string(), cause)));
        let error = texts.iter().rev().fold(None, layer).unwrap();
        ErrorChain(&*error).to_string()
    }

    #[test]
    fn every_cause_is_named_once() {
        assert_eq!(chain(["a", "b", "c"]), "a: b: c");
        assert_eq!(
            chain(["sent: refused", "refused", "by whom"]),
            "sent: refused: by whom"
        );
    }

    #[test]
    fn however_much_they_say_it_is_a_line() {
        let long = "x".repeat(100_000);
        let line = chain(["a\nb", &long, "the\u{2028}end"]);
        assert!(
            line.starts_with("a\\nb: xxx") && line.ends_with("…: the\\u{2028}end"),
            "{line}"
        );
        assert!(line.len() < 600, "{line}");
        assert_eq!(
            chain(["0", "1", "2", "3", "4", "5", "6", "7", "8"]),
            "0: 1: 2: 3: 4: 5: 6: 7"
        );
    }
}
