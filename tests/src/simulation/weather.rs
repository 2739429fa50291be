//! In which state the registry is and was, as far as its clients can tell.

use super::faults::{Fault, Outage};
use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// A silence that is no longer than this goes unnoticed; see `ClientOptions::with_silence`.
const UNNOTICED: Duration = Duration::from_secs(2);
/// How long trouble that is over can matter: longer than any grace period.
const MATTERS: Duration = Duration::from_secs(120);
/// Who was denied tries again after so long at the latest.
const DENIED: Duration = Duration::from_secs(32);

/// The outages of the registry, and when the last thing happened.
#[derive(Debug)]
pub(super) struct Weather {
    outage: Option<(Outage, Instant)>,
    doubts: VecDeque<Doubt>,
    disturbed: Instant,
}

/// A time in which who followed the registry must have had trouble.
#[derive(Debug)]
struct Doubt {
    from: Instant,
    until: Option<Instant>,
}

impl Weather {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            outage: None,
            doubts: VecDeque::new(),
            disturbed: now,
        }
    }

    /// Something was done, by whomever.
    pub(super) fn disturb(&mut self, now: Instant) {
        self.disturbed = self.disturbed.max(now);
    }

    /// Which outage lasts.
    pub(super) fn outage(&self) -> Option<Outage> {
        self.outage.map(|(outage, _)| outage)
    }

    /// Takes note of a fault that just happened.
    pub(super) fn fault(&mut self, fault: &Fault, now: Instant) {
        self.disturb(now);
        while self
            .doubts
            .front()
            .is_some_and(|doubt| doubt.until.is_some_and(|until| until + MATTERS < now))
        {
            self.doubts.pop_front();
        }
        match fault {
            Fault::Begin(outage) => {
                self.outage = Some((*outage, now));
                let from = match outage {
                    Outage::Freeze => now + UNNOTICED,
                    Outage::Kill | Outage::Refuse | Outage::Deny => now,
                };
                self.doubts.push_back(Doubt { from, until: None });
            }
            Fault::End => {
                if let Some((outage, _)) = self.outage.take() {
                    self.clear(now);
                    if outage == Outage::Deny {
                        self.disturb(now + DENIED);
                    }
                }
            }
            Fault::Disconnect | Fault::Rebuild { .. } => self.doubts.push_back(Doubt {
                from: now,
                until: Some(now),
            }),
            _ => {}
        }
    }

    fn clear(&mut self, now: Instant) {
        for doubt in &mut self.doubts {
            doubt.until.get_or_insert(now);
        }
        // What was over before anybody can have noticed.
        self.doubts
            .retain(|doubt| doubt.until.is_none_or(|until| doubt.from <= until));
    }

    /// How long nothing has happened and the registry has answered; zero during an outage.
    pub(super) fn calm(&self, now: Instant) -> Duration {
        match self.outage {
            Some(_) => Duration::ZERO,
            None => now.saturating_duration_since(self.disturbed),
        }
    }

    /// Whether who has followed the registry since `ready`, with this grace period, must not
    /// believe now that something is gone.
    pub(super) fn is_doubtful(&self, ready: Instant, grace: Duration, now: Instant) -> bool {
        self.doubts.iter().any(|doubt| {
            let over = doubt.until.is_some_and(|until| now >= until + grace);
            ready <= doubt.from && doubt.from < now && !over
        })
    }
}
