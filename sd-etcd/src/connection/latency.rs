//! Notices an etcd that answers, but more slowly than the options of the client allow.

/// So many slow answers in a row are no coincidence.
const ENOUGH: u32 = 3;

#[derive(Default)]
pub(super) struct Latency {
    /// Consecutive answers that were too slow.
    slow: u32,
}

impl Latency {
    /// Notes an answer. Returns whether to warn, which is once until etcd is fast again.
    pub(super) fn answered(&mut self, was_slow: bool) -> bool {
        self.slow = if was_slow {
            self.slow.saturating_add(1)
        } else {
            0
        };
        self.slow == ENOUGH
    }

    pub(super) fn is_slow(&self) -> bool {
        self.slow >= ENOUGH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_slowness_is_said_once() {
        let mut latency = Latency::default();
        let mut said = |slow: &[bool]| -> Vec<bool> {
            let slow = slow.iter();
            slow.map(|slow| latency.answered(*slow)).collect()
        };
        assert_eq!(said(&[true, true, false, true, true]), [false; 5]);
        assert_eq!(said(&[true, true, true]), [true, false, false]);
        assert_eq!(
            said(&[false, true, true, true]),
            [false, false, false, true]
        );
        assert!(latency.is_slow());
    }
}
