//! Scripted failures: how many of the next calls fail, and with which error. No I/O, no clock.

use sd_core::Error;

/// The failures that are left, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Failures(Vec<Failure>);

#[derive(Debug)]
struct Failure {
    /// The client whose calls fail. `None` for all clients.
    client: Option<u64>,
    left: usize,
    error: Error,
}

impl Failures {
    /// Makes the next `calls` calls of `client` fail with `error`; of any client if it is `None`.
    pub(crate) fn add(&mut self, client: Option<u64>, calls: usize, error: Error) {
        self.0.push(Failure {
            client,
            left: calls,
            error,
        });
        self.0.retain(|failure| failure.left > 0);
    }

    /// The error for the current call of `client`. `None` if it does not fail.
    pub(crate) fn take(&mut self, client: u64) -> Option<Error> {
        let place = self
            .0
            .iter()
            .position(|failure| failure.client.is_none_or(|other| other == client))?;
        let failure = &mut self.0[place];
        failure.left -= 1;
        match failure.left {
            0 => Some(self.0.remove(place).error),
            _ => Some(failure.error.clone()),
        }
    }

    /// Forgets the failures of `client`, which is gone.
    pub(crate) fn forget(&mut self, client: u64) {
        self.0.retain(|failure| failure.client != Some(client));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_fails_once_and_with_the_error_asked_for_first() {
        let mut failures = Failures::default();
        failures.add(None, 0, Error::Closed);
        failures.add(Some(1), 1, Error::unavailable("for one"));
        failures.add(None, 2, Error::unavailable("for all"));
        let met: Vec<_> = [2, 1, 1, 1]
            .map(|client| failures.take(client).map(|error| error.to_string()))
            .into_iter()
            .flatten()
            .collect();
        assert!(
            met[0].ends_with("for all") && met[1].ends_with("for one"),
            "{met:?}"
        );
        assert_eq!(met.len(), 3);
        assert!(failures.0.is_empty());
    }

    #[test]
    fn the_failures_of_a_client_go_with_it() {
        let mut failures = Failures::default();
        failures.add(None, 1, Error::Closed);
        failures.add(Some(1), usize::MAX, Error::Closed);
        failures.forget(1);
        assert!(failures.take(1).is_some());
        assert!(failures.take(1).is_none());
    }
}
