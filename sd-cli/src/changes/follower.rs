//! Follows a prefix: one list, then every change, and a list again after a gap.

use crate::failure::Outcome;
use futures::StreamExt;
use sd_core::{
    Backoff, Batch, Change, Client, Entry, ErrorChain, Prefix, Revision, Watch, WatchError,
};
use sd_etcd::EtcdClient;
use std::{collections::VecDeque, mem, time::Duration};
use tokio::time::sleep;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// What has happened.
#[derive(Debug)]
pub(crate) enum Step {
    /// These are all entries: the first time, or after a gap, for this reason.
    Listed {
        entries: Vec<Entry>,
        gap: Option<String>,
    },
    /// These changes, oldest first. Of several changes of one key that come faster than they are read, the last.
    Changed(Vec<Change>),
    /// etcd does not answer. What is known stays.
    Trouble(String),
    /// etcd answers again.
    Recovered,
}

/// Follows a prefix on a client, whatever happens to etcd.
pub(crate) struct Follower {
    client: EtcdClient,
    prefix: Prefix,
    state: State,
    /// What has happened and is not told yet: a few steps at most.
    ready: VecDeque<Step>,
    is_troubled: bool,
    /// Waits before the next attempt.
    pauses: bool,
    backoff: Backoff,
}

enum State {
    /// Lists next, because of this gap if there was one.
    List(Option<String>),
    /// Watches next, after this revision.
    Resume(Revision),
    Watch(Watch, Revision),
}

impl Follower {
    pub(crate) fn new(client: EtcdClient, prefix: Prefix) -> Self {
        Self {
            client,
            prefix,
            state: State::List(None),
            ready: VecDeque::new(),
            is_troubled: false,
            pauses: false,
            backoff: Backoff::new(FIRST_DELAY, LONGEST_DELAY),
        }
    }

    /// Waits for the next step. Cancellation safe: what was under way begins anew.
    ///
    /// # Errors
    /// What cannot pass: a missing right, refused credentials.
    pub(crate) async fn next(&mut self) -> Outcome<Step> {
        loop {
            if let Some(step) = self.ready.pop_front() {
                return Ok(step);
            }
            if self.pauses {
                sleep(self.backoff.next_delay()).await;
                self.pauses = false;
            }
            match &mut self.state {
                State::List(gap) => match self.client.get_entries(&self.prefix).await {
                    Ok(snapshot) => {
                        let gap = gap.take();
                        self.answered();
                        self.state = State::Resume(snapshot.revision);
                        self.ready.push_back(Step::Listed {
                            entries: snapshot.entries,
                            gap,
                        });
                    }
                    Err(error) if !error.is_transient() => return Err(error.into()),
                    Err(error) => self.failed(&error),
                },
                State::Resume(after) => match self.client.watch_prefix(&self.prefix, after).await {
                    Ok(watch) => {
                        self.state = State::Watch(watch, after.clone());
                    }
                    Err(error) => self.ended(error)?,
                },
                State::Watch(watch, after) => match watch.next().await {
                    Some(Ok(Batch {
                        changes, resume, ..
                    })) => {
                        *after = resume;
                        self.answered();
                        if !changes.is_empty() {
                            self.ready.push_back(Step::Changed(changes));
                        }
                    }
                    // The watch goes on.
                    Some(Err(WatchError::Disrupted(error))) => self.troubled(&error),
                    Some(Err(error)) => self.ended(error)?,
                    None => {
                        self.state = State::Resume(after.clone());
                        self.pauses = true;
                    }
                },
            }
        }
    }

    fn ended(&mut self, error: WatchError) -> Outcome<()> {
        match error {
            WatchError::Gap(gap) => {
                self.state = State::List(Some(gap.to_string()));
            }
            WatchError::Interrupted(error) if !error.is_transient() => return Err(error.into()),
            WatchError::Interrupted(error) | WatchError::Disrupted(error) => {
                if let State::Watch(_, after) = &self.state {
                    self.state = State::Resume(after.clone());
                }
                self.failed(&error);
            }
            other => self.state = State::List(Some(other.to_string())),
        }
        Ok(())
    }

    fn failed(&mut self, error: &sd_core::Error) {
        self.troubled(error);
        self.pauses = true;
    }

    fn troubled(&mut self, error: &sd_core::Error) {
        if !mem::replace(&mut self.is_troubled, true) {
            self.ready
                .push_back(Step::Trouble(ErrorChain(error).to_string()));
        }
    }

    fn answered(&mut self) {
        self.backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
        if mem::take(&mut self.is_troubled) {
            self.ready.push_back(Step::Recovered);
        }
    }
}
