//! What became of the calls.

use super::{DOWN, EVERY, PROVIDERS, callers::Call, records::Records};
use sd_tower::nothing_executed;
use std::{collections::BTreeMap, error::Error, fmt, time::Duration};
use tonic::Status;

/// How a call was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKind {
    /// Through our channel, and may be executed twice.
    Idempotent,
    /// Through our channel, and must not be executed twice.
    NotIdempotent,
    /// Through the balanced channel of tonic.
    Tonic,
}

impl CallKind {
    const ALL: [Self; 3] = [Self::Idempotent, Self::NotIdempotent, Self::Tonic];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Idempotent => "idempotent",
            Self::NotIdempotent => "others",
            Self::Tonic => "tonic",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Idempotent => "sd_tower::Channel, idempotent",
            Self::NotIdempotent => "sd_tower::Channel, others",
            Self::Tonic => "tonic's balance_list",
        }
    }
}

/// What became of the calls of one kind.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// The calls that were made.
    pub made: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that failed with one of our errors that proves that nothing was executed.
    pub failed_unsent: u64,
    /// Those that failed although a provider had executed them.
    pub failed_executed: u64,
    /// Those that were answered although no provider has executed them, which cannot be.
    pub answered_unexecuted: u64,
    /// Those that were executed more than once.
    pub executed_twice: u64,
    /// How often each code and root cause was seen.
    pub errors: BTreeMap<String, u64>,
}

impl Tally {
    fn add(&mut self, answer: &Result<(), Status>, executions: u32) {
        self.made += 1;
        self.executed_twice += u64::from(executions > 1);
        match answer {
            Ok(()) => self.answered_unexecuted += u64::from(executions == 0),
            Err(status) => {
                self.failed += 1;
                self.failed_unsent += u64::from(nothing_executed(status));
                self.failed_executed += u64::from(executions > 0);
                let error = format!("{:?}: {}", status.code(), root_cause(status));
                *self.errors.entry(error).or_default() += 1;
            }
        }
    }
}

fn root_cause(status: &Status) -> String {
    let mut root: &dyn Error = status;
    while let Some(cause) = root.source() {
        root = cause;
    }
    match root.downcast_ref::<Status>() {
        Some(status) => status.message().to_owned(),
        None => root.to_string(),
    }
}

/// What became of all calls of a run. `Display` is a table.
#[derive(Debug, Clone)]
pub struct Summary {
    kills: usize,
    lasted: Duration,
    tallies: BTreeMap<CallKind, Tally>,
}

impl Summary {
    pub(super) fn new(kills: usize, lasted: Duration, calls: Vec<Call>, records: &Records) -> Self {
        let mut tallies = BTreeMap::from(CallKind::ALL.map(|kind| (kind, Tally::default())));
        for Call { kind, id, answer } in calls {
            let tally: &mut Tally = tallies.entry(kind).or_default();
            tally.add(&answer, records.executions(&id));
        }
        Self {
            kills,
            lasted,
            tallies,
        }
    }

    /// How often a provider was killed.
    pub fn kills(&self) -> usize {
        self.kills
    }

    /// What became of the calls of this kind.
    pub fn of(&self, kind: CallKind) -> &Tally {
        &self.tallies[&kind]
    }

    /// The promises of our channel that were broken.
    pub fn broken(&self) -> Vec<String> {
        let idempotent = self.of(CallKind::Idempotent);
        let others = self.of(CallKind::NotIdempotent);
        let promises = [
            (idempotent.failed, "idempotent calls failed"),
            (others.failed_unsent, "calls failed that were not sent"),
            (
                others.executed_twice,
                "calls were executed twice that may not be",
            ),
            (
                idempotent.answered_unexecuted + others.answered_unexecuted,
                "calls were answered and not executed",
            ),
        ];
        let broken = promises.into_iter().filter(|(count, _)| *count > 0);
        broken
            .map(|(count, what)| format!("{count} {what}"))
            .collect()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{PROVIDERS} providers, one killed every {EVERY:?} and started again after {DOWN:?}: \
             {} kills in {:.0?}\n",
            self.kills, self.lasted
        )?;
        let columns = ["made", "failed", "executed even so", "executed twice"];
        write!(f, "{:<30}", "calls")?;
        for column in columns {
            write!(f, "{column:>18}")?;
        }
        writeln!(f)?;
        for (kind, tally) in &self.tallies {
            write!(f, "{:<30}", kind.title())?;
            for count in [
                tally.made,
                tally.failed,
                tally.failed_executed,
                tally.executed_twice,
            ] {
                write!(f, "{count:>18}")?;
            }
            writeln!(f)?;
        }
        for (kind, tally) in &self.tallies {
            for (error, count) in &tally.errors {
                write!(f, "\n{}: {count} times {error}", kind.title())?;
            }
        }
        Ok(())
    }
}
