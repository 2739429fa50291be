//! The error of a wait for a state whose source ended first.

use super::event::Event;
use std::{error::Error as StdError, fmt};

/// The source ended before the state that [`Source::until`](crate::Source::until) waits for.
///
/// [`Display`](fmt::Display) prints the last state, which says why the source ended.
///
/// ```
/// use sd_core::{FixedInstancer, Source};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let source = FixedInstancer::new([]);
/// source.stop();
/// let ended = source.until(|event| !event.instances().is_empty()).await;
/// let ended = ended.map_err(|ended| ended.to_string());
/// assert_eq!(
///     ended.err().as_deref(),
///     Some("the source ended (version 2: 0 instances, stale: stopped)")
/// );
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SourceEnded {
    last: Option<Box<Event>>,
}

impl SourceEnded {
    pub(super) fn new(last: Option<Event>) -> Self {
        let last = last.map(Box::new);
        Self { last }
    }

    /// The last state of the source; `None` if it never had one.
    pub fn last(&self) -> Option<&Event> {
        self.last.as_deref()
    }
}

impl fmt::Display for SourceEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.last {
            Some(last) => write!(f, "the source ended ({last})"),
            None => f.write_str("the source ended before it knew anything"),
        }
    }
}

impl StdError for SourceEnded {}
