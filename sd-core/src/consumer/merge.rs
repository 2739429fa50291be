//! Several sources seen as one.

mod members;
mod state;
#[cfg(test)]
mod tests;

use crate::{
    instances::{Event, EventPublisher, EventReader, Events, Source, Trouble},
    registry::{Error, Escaped, Invalid, Result},
    support::{BackgroundTask, Panicked, Work},
};
use async_trait::async_trait;
use futures::{
    FutureExt, StreamExt, future,
    stream::{self, BoxStream, FuturesUnordered, SelectAll},
};
use members::{Member, MemberId};
pub use members::{MemberStatus, ReadyWhen};
use state::MergeState;
use std::{fmt, sync::Arc};
use tokio::{select, sync::watch, time::Instant};

/// At most so many states of the members become one state.
const STATES_AT_ONCE: usize = 256;

/// The union of several sources, its members: two data centres, or the registries or formats that a fleet moves between.
///
/// Members have names, and may be [added](Self::add) and [removed](Self::remove) while it runs.
///
/// - **An instance that several members have** is that of the member whose word counts most. A member that
///   [doubts](Event::held) the instance comes last; of the others a live one comes before a stale one, and then the one
///   that was added first.
/// - **One address under two keys** is two instances, as everywhere, and one [`Endpoint`](crate::Endpoint).
/// - **Live** while any member is, stale since the last one became so. [`members`](Self::members) has each one's own
///   state.
/// - **Never empty because nobody knows.** While a member has no state yet, a union without instances is
///   not known to be empty: it has no first state, and later shows what it showed before, as
///   [held](Event::held). So neither a new registry that is not filled yet nor an old one that is down empties it.
/// - A change of a member costs a delta, however many instances there are, and is published only if
///   something changed.
///
/// ```
/// use futures::StreamExt;
/// use sd_core::{FixedInstancer, Instance, Key, MergedInstancer, ReadyWhen};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let near = FixedInstancer::new([Instance::new(Key::new("/eu/hello/a")?, "10.0.0.1:80")]);
/// let far = FixedInstancer::new([Instance::new(Key::new("/us/hello/a")?, "10.9.0.1:80")]);
///
/// let both = MergedInstancer::new(ReadyWhen::All, [("near", near), ("far", far)])?;
/// let mut events = both.subscribe();
/// events.until(|event| event.instances().len() == 2).await?;
///
/// both.remove("far");
/// events.until(|event| event.instances().len() == 1).await?;
/// # Ok(())
/// # }
/// ```
///
/// It owns its members (to stop one and wait for that, add an [`Arc`] of it) and one task, which
/// ends with [`stop`](Self::stop), when the union is dropped, or when
/// its runtime ends. The members are then dropped, and all subscriptions end after a last state,
/// stale because of [`Trouble::Stopped`]. If a member panics, the union ends because of
/// [`Trouble::Panicked`]. A member that ends is a stale one.
pub struct MergedInstancer {
    ready_when: ReadyWhen,
    members: Arc<watch::Sender<Wanted>>,
    events: EventReader,
    task: BackgroundTask,
}

impl MergedInstancer {
    /// The union of these members, each with its name. It has its first state when those are known that
    /// `ready_when` says. Members of different types go in as `Arc<dyn Source>`, or are [added](Self::add). Starts a
    /// task.
    ///
    /// # Errors
    /// [`Invalid::Config`] if two members have the same name.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn new<N: Into<String>, S: Source>(
        ready_when: ReadyWhen,
        members: impl IntoIterator<Item = (N, S)>,
    ) -> Result<Self, Invalid> {
        let mut all = Vec::new();
        for (name, source) in members {
            all = with_member(all, Member::new(name.into(), Arc::new(source)))?;
        }
        let (publisher, events) = EventPublisher::channel();
        let (members, wanted) = watch::channel(Some(all));
        let members = Arc::new(members);
        let task = MergeTask {
            state: MergeState::new(ready_when.clone()),
            members: wanted,
            owned: members.clone(),
            publisher,
        };
        Ok(Self {
            ready_when,
            members,
            events,
            task: BackgroundTask::spawn(task),
        })
    }

    /// Adds `source` as the member `name`.
    ///
    /// # Errors
    /// [`Invalid::Config`] if there is a member of this name, and [`Error::Closed`] if the union has ended.
    pub fn add(&self, name: impl Into<String>, source: impl Source) -> Result<()> {
        let member = Member::new(name.into(), Arc::new(source));
        let mut added = Err(Error::Closed);
        self.members.send_if_modified(|members| {
            if let Some(known) = members {
                match with_member(known.clone(), member) {
                    Ok(more) => {
                        *known = more;
                        added = Ok(());
                    }
                    Err(taken) => added = Err(taken.into()),
                }
            }
            added.is_ok()
        });
        added
    }

    /// Removes the member `name`, and drops it. What only it had goes with the next state. Returns `false` if there
    /// is no such member.
    pub fn remove(&self, name: &str) -> bool {
        let mut gone = None;
        self.members.send_if_modified(|members| {
            if let Some(members) = members {
                let place = members.iter().position(|member| &*member.name == name);
                gone = place.map(|place| members.remove(place));
            }
            gone.is_some()
        });
        gone.is_some()
    }

    /// The members in the order in which they were added, each as it is now.
    pub fn members(&self) -> Vec<MemberStatus> {
        self.current().iter().map(Member::status).collect()
    }

    /// The current state. Does not wait. `None` before the first state.
    pub fn state(&self) -> Option<Event> {
        self.events.state()
    }

    /// The states from the current one on.
    pub fn subscribe(&self) -> Events {
        self.events.subscribe()
    }

    /// Ends all subscriptions after a last state that says so, and waits until the task has ended.
    /// Later calls do nothing more.
    ///
    /// Cancellation safe: the stop stands, the wait is given up.
    pub async fn stop(&self) {
        self.task.stop().await;
    }

    /// None once the union has ended.
    fn current(&self) -> Vec<Member> {
        self.members.borrow().clone().unwrap_or_default()
    }

    /// Resolves with the error that keeps the union from its first state.
    async fn failed(&self) -> Error {
        let needed = self
            .current()
            .into_iter()
            .filter(|member| match &self.ready_when {
                ReadyWhen::All | ReadyWhen::Any => true,
                ReadyWhen::Primary(name) => *member.name == **name,
            });
        let mut failures: FuturesUnordered<_> = needed
            .map(|member| async move {
                match member.source.ready().await {
                    Ok(()) => future::pending().await,
                    Err(error) => error,
                }
            })
            .collect();
        let mut last = None;
        while let Some(error) = failures.next().await {
            if self.ready_when != ReadyWhen::Any {
                return error;
            }
            last = Some(error);
        }
        match last {
            Some(error) => error,
            None => future::pending().await,
        }
    }
}

#[async_trait]
impl Source for MergedInstancer {
    fn subscribe(&self) -> Events {
        self.subscribe()
    }

    fn state(&self) -> Option<Event> {
        self.state()
    }

    /// Waits for the first state.
    ///
    /// # Errors
    /// The error that a member cannot overcome by itself, of those that have to be known; of all of them under
    /// [`ReadyWhen::Any`]. [`Error::Closed`] if the union ends before its first state.
    async fn ready(&self) -> Result<()> {
        let mut events = self.subscribe();
        let mut members = self.members.subscribe();
        loop {
            select! {
                biased;
                first = events.until(|_| true) => {
                    return first.map(|_| ()).map_err(|_| Error::Closed);
                }
                error = self.failed() => return Err(error),
                Ok(()) = members.changed() => {}
            }
        }
    }

    fn trouble(&self) -> Option<Trouble> {
        match self.state() {
            Some(_) => self.events.trouble(),
            None => self.members().into_iter().find_map(|member| member.trouble),
        }
    }
}

impl fmt::Debug for MergedInstancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MergedInstancer")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// The members in the order in which they were added. `None` once the union has ended.
type Wanted = Option<Vec<Member>>;

fn with_member(mut members: Vec<Member>, member: Member) -> Result<Vec<Member>, Invalid> {
    if members.iter().any(|other| other.name == member.name) {
        let name = Escaped(&member.name).to_string();
        let taken = format!("the union has a member called {name} already");
        return Err(Invalid::Config(taken));
    }
    members.push(member);
    Ok(members)
}

/// Feeds the states of the members to the merge state, and publishes the union.
struct MergeTask {
    state: MergeState,
    members: watch::Receiver<Wanted>,
    /// Of the same channel. Nobody else drops the members when the task ends.
    owned: Arc<watch::Sender<Wanted>>,
    publisher: EventPublisher,
}

impl Drop for MergeTask {
    fn drop(&mut self) {
        self.owned.send_replace(None);
    }
}

type States = SelectAll<BoxStream<'static, (MemberId, Option<Event>)>>;

impl MergeTask {
    /// Follows the members that there are now. Those that were followed begin anew, with the state that is known.
    fn follow(&mut self) -> States {
        let members = self.members.borrow_and_update().clone();
        let members = members.unwrap_or_default();
        let named = members.iter().map(|member| (member.id, &member.name));
        self.state.set_members(named);
        let states = members.iter().map(|Member { id, source, .. }| {
            let id = *id;
            let states = source.subscribe().map(move |event| (id, Some(event)));
            let end = stream::once(future::ready((id, None)));
            states.chain(end).boxed()
        });
        stream::select_all(states)
    }

    fn publish(&mut self) {
        if let Some(event) = self.state.event(Instant::now()) {
            self.publisher.publish(event);
        }
    }
}

impl Work for MergeTask {
    const NAME: &'static str = "merged instancer";

    async fn run(&mut self) {
        let mut states = self.follow();
        loop {
            select! {
                Ok(()) = self.members.changed() => states = self.follow(),
                Some((id, event)) = states.next() => self.state.update(id, event, Instant::now()),
                else => return,
            }
            for _ in 1..STATES_AT_ONCE {
                let Some(Some((id, event))) = states.next().now_or_never() else {
                    break;
                };
                self.state.update(id, event, Instant::now());
            }
            self.publish();
            tokio::task::consume_budget().await;
        }
    }

    fn panicked(&mut self, why: Panicked) {
        self.publisher
            .ends_because(Trouble::Panicked { message: why.0 });
    }
}
