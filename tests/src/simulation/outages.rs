//! The outages of a run, as far as clients can notice them.

use super::faults::{Fault, Outage};
use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// A silence up to this long is not noticed; see `ClientOptions::with_silence`.
const UNNOTICED: Duration = Duration::from_secs(2);
/// How long an outage that is over can matter: longer than any grace period.
const MATTERS: Duration = Duration::from_secs(120);
/// The longest pause after a permanent error.
const DENIED: Duration = Duration::from_secs(32);

/// The outages of the registry, and the time of the last action.
#[derive(Debug)]
pub(super) struct Outages {
    outage: Option<(Outage, Instant)>,
    /// Whether providers are cut off.
    cut_off: bool,
    /// When the last trouble was over of which consumers may have heard, but for stalls.
    untroubled: Instant,
    disruptions: VecDeque<Disruption>,
    disturbed: Instant,
}

/// A time in which every consumer must have noticed trouble.
#[derive(Debug)]
struct Disruption {
    from: Instant,
    until: Option<Instant>,
}

impl Outages {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            outage: None,
            cut_off: false,
            untroubled: now,
            disruptions: VecDeque::new(),
            disturbed: now,
        }
    }

    /// Records that something happened.
    pub(super) fn disturb(&mut self, now: Instant) {
        self.disturbed = self.disturbed.max(now);
    }

    /// The current outage.
    pub(super) fn outage(&self) -> Option<Outage> {
        self.outage.map(|(outage, _)| outage)
    }

    /// Records a fault that just happened.
    pub(super) fn fault(&mut self, fault: &Fault, now: Instant) {
        self.disturb(now);
        while self
            .disruptions
            .front()
            .is_some_and(|disruption| disruption.until.is_some_and(|until| until + MATTERS < now))
        {
            self.disruptions.pop_front();
        }
        match fault {
            Fault::Begin(outage) => {
                self.outage = Some((*outage, now));
                let from = match outage {
                    Outage::Freeze => now + UNNOTICED,
                    Outage::Kill | Outage::Refuse | Outage::Deny => now,
                    // It is for the consumer to say whether that is trouble.
                    Outage::Stall => return,
                };
                self.disruptions.push_back(Disruption { from, until: None });
            }
            Fault::End => {
                if let Some((outage, _)) = self.outage.take() {
                    self.clear(now);
                    let over = match outage {
                        Outage::Deny => now + DENIED,
                        _ => now,
                    };
                    self.disturb(over);
                    if !outage.is_harmless() {
                        self.troubled(over);
                    }
                }
            }
            Fault::Disconnect | Fault::Rebuild { .. } | Fault::Restore { .. } => {
                self.troubled(now);
                self.disruptions.push_back(Disruption {
                    from: now,
                    until: Some(now),
                });
            }
            Fault::Compact | Fault::Delay(_) => self.troubled(now),
            Fault::CutOff => self.cut_off = true,
            Fault::Reconnect => self.cut_off = false,
            _ => {}
        }
    }

    /// Consumers may have had trouble until then.
    fn troubled(&mut self, until: Instant) {
        self.untroubled = self.untroubled.max(until);
    }

    fn clear(&mut self, now: Instant) {
        // What is over in the moment in which it would be noticed may not be.
        self.disruptions
            .retain(|disruption| disruption.until.is_some() || disruption.from < now);
        for disruption in &mut self.disruptions {
            disruption.until.get_or_insert(now);
        }
    }

    /// Whether providers are cut off.
    pub(super) fn is_cut_off(&self) -> bool {
        self.cut_off
    }

    /// Since when consumers have had no trouble but stalls; `None` during an outage.
    pub(super) fn untroubled(&self) -> Option<Instant> {
        let is_well = self.outage.is_none_or(|(outage, _)| outage.is_harmless());
        is_well.then_some(self.untroubled)
    }

    /// How long nothing has happened and the registry has answered; zero during an outage, and while
    /// providers are cut off.
    pub(super) fn calm(&self, now: Instant) -> Duration {
        match self.outage {
            Some(_) => Duration::ZERO,
            None if self.cut_off => Duration::ZERO,
            None => now.saturating_duration_since(self.disturbed),
        }
    }

    /// Whether a consumer with this grace period that has been ready since `ready` must hold
    /// removals back now.
    pub(super) fn must_hold_removals(&self, ready: Instant, grace: Duration, now: Instant) -> bool {
        self.disruptions.iter().any(|disruption| {
            let over = disruption.until.is_some_and(|until| now >= until + grace);
            ready <= disruption.from && disruption.from < now && !over
        })
    }
}
