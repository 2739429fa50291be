//! The failed attempts of a call: how many there were, and the ones that are kept.

use crate::{
    calls::no_endpoints::NoEndpoints,
    instances::Instance,
    registry::{Escaped, Message},
};
use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

/// One attempt that failed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Attempt<Err> {
    /// Which attempt of the call it was: 1 for the first.
    pub number: u32,
    /// The instance that was called; `None` if there was none to call.
    pub instance: Option<Arc<Instance>>,
    /// What happened.
    pub error: AttemptError<Err>,
}

/// How an attempt failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError<Err> {
    /// The call returned this error.
    #[error(transparent)]
    Failed(Err),
    /// There was no answer in time, and the call was dropped. It may have been executed.
    #[error("no answer within {after:?}")]
    TimedOut {
        /// How long the attempt was given.
        after: Duration,
    },
    /// The instance was removed before it answered, and the call was dropped. It may have been
    /// executed. See [`RetryBuilder::end_when_removed`](crate::RetryBuilder::end_when_removed).
    #[error("its instance was removed")]
    Removed,
    /// There was no endpoint to call; nothing was sent.
    #[error(transparent)]
    NoEndpoints(NoEndpoints),
}

impl<Err> AttemptError<Err> {
    /// The same with another type of the call's error.
    pub(super) fn map<To>(self, to: impl FnOnce(Err) -> To) -> AttemptError<To> {
        match self {
            Self::Failed(error) => AttemptError::Failed(to(error)),
            Self::TimedOut { after } => AttemptError::TimedOut { after },
            Self::Removed => AttemptError::Removed,
            Self::NoEndpoints(none) => AttemptError::NoEndpoints(none),
        }
    }
}

impl<Err: StdError + 'static> AttemptError<Err> {
    /// The call's own error, or this one.
    pub(super) fn as_error(&self) -> &(dyn StdError + 'static) {
        match self {
            Self::Failed(error) => error,
            Self::NoEndpoints(none) => none,
            Self::TimedOut { .. } | Self::Removed => self,
        }
    }
}

impl<Err: fmt::Display> fmt::Display for Attempt<Err> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(instance) = &self.instance {
            write!(f, "{}: ", Escaped(instance.address()))?;
        }
        match &self.error {
            AttemptError::Failed(error) => Message(error).fmt(f),
            other => other.fmt(f),
        }
    }
}

/// Counts the failed attempts of a call. Keeps the first ones, which say how it began, the last
/// ones, and the last error of the call itself: a bounded number, since a call may be tried for
/// very long. Allocates nothing before the first.
#[derive(Debug)]
pub(super) struct Attempts<Err> {
    made: u32,
    /// In order.
    kept: Vec<Attempt<Err>>,
}

/// How many of the first attempts are kept.
const FIRST: usize = 3;
/// How many attempts are kept at most.
const MOST: usize = 8;

impl<Err> Attempts<Err> {
    pub(super) fn new() -> Self {
        Self {
            made: 0,
            kept: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, instance: Option<Arc<Instance>>, error: AttemptError<Err>) {
        self.made = self.made.saturating_add(1);
        if self.kept.len() == MOST {
            let is_own = |one: &Attempt<Err>| matches!(one.error, AttemptError::Failed(_));
            let last_own = self.kept.iter().rposition(is_own);
            self.kept
                .remove(FIRST + usize::from(last_own == Some(FIRST)));
        }
        self.kept.push(Attempt {
            number: self.made,
            instance,
            error,
        });
    }

    /// How many attempts failed.
    pub(super) fn made(&self) -> u32 {
        self.made
    }

    pub(super) fn kept(&self) -> &[Attempt<Err>] {
        &self.kept
    }

    pub(super) fn into_kept(self) -> Vec<Attempt<Err>> {
        self.kept
    }

    /// The same with another type of the call's errors.
    pub(super) fn map<To>(self, to: impl Fn(Err) -> To) -> Attempts<To> {
        let kept = self.kept.into_iter().map(|attempt| Attempt {
            number: attempt.number,
            instance: attempt.instance,
            error: attempt.error.map(&to),
        });
        Attempts {
            made: self.made,
            kept: kept.collect(),
        }
    }
}

/// What happened, in order. Attempts in a row that failed in the same way are written once, with
/// their number.
impl<Err: fmt::Display> fmt::Display for Attempts<Err> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self
            .kept
            .iter()
            .map(|attempt| (attempt.number, attempt.to_string()))
            .collect();
        let in_a_row = |(a, text): &(u32, String), (b, next): &(u32, String)| {
            a.saturating_add(1) == *b && text == next
        };
        let mut written = 0;
        for same in texts.chunk_by(in_a_row) {
            let (first, text) = &same[0];
            if written > 0 {
                f.write_str("; ")?;
            }
            match first - written - 1 {
                0 => {}
                omitted => write!(f, "{omitted} more; ")?,
            }
            f.write_str(text)?;
            let times = same.len();
            if times > 1 && times < self.made as usize {
                write!(f, " ({times} times)")?;
            }
            written = same[times - 1].0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(text: &str) -> AttemptError<String> {
        AttemptError::Failed(text.to_owned())
    }

    fn none() -> AttemptError<String> {
        AttemptError::NoEndpoints(NoEndpoints::Empty)
    }

    fn numbers(attempts: &Attempts<String>) -> Vec<u32> {
        attempts.kept().iter().map(|one| one.number).collect()
    }

    #[test]
    fn the_first_and_the_last_are_kept_and_all_are_counted() {
        let mut attempts = Attempts::new();
        for n in 1..=100 {
            attempts.add(None, failed(&format!("error {}", n / 10)));
        }
        assert_eq!(attempts.made(), 100);
        assert_eq!(numbers(&attempts), [1, 2, 3, 96, 97, 98, 99, 100]);
        assert_eq!(
            attempts.to_string(),
            "error 0 (3 times); 92 more; error 9 (4 times); error 10"
        );
    }

    #[test]
    fn the_last_error_of_the_call_itself_is_kept() {
        let mut attempts = Attempts::new();
        for n in 1..=100 {
            attempts.add(None, if n == 50 { failed("down") } else { none() });
        }
        assert_eq!(numbers(&attempts), [1, 2, 3, 50, 97, 98, 99, 100]);
        assert_eq!(
            attempts.to_string(),
            "no endpoints: no instance is registered (3 times); 46 more; down; 46 more; \
             no endpoints: no instance is registered (4 times)"
        );
        for _ in 0..4 {
            attempts.add(None, failed("full"));
        }
        assert_eq!(numbers(&attempts), [1, 2, 3, 100, 101, 102, 103, 104]);
    }
}
