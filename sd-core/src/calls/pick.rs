//! Picks: an endpoint for one call, for as long as the call lasts.

use super::{
    endpoint::Endpoint,
    observer::{EndedCall, Outcome},
};
use crate::instances::Instance;
use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// What a balancer may know about a call when it picks an endpoint.
///
/// ```
/// use sd_core::PickContext;
///
/// let context = PickContext::new().with_hash_key(b"user-17").with_lane("canary");
/// assert_eq!(context.hash_key, Some(&b"user-17"[..]));
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct PickContext<'a> {
    /// Calls with the same hash key go to the same endpoint, if the balancer supports that
    /// ([`ConsistentHash`](crate::ConsistentHash)).
    pub hash_key: Option<&'a [u8]>,
    /// The lane of the call, such as a version or a tenant, if the balancer supports that.
    pub lane: Option<&'a str>,
    /// The instances on which the call was already tried. Endpoints at other addresses are
    /// preferred.
    pub tried: &'a [Arc<Instance>],
}

impl<'a> PickContext<'a> {
    /// A context without a hash key, a lane or tried instances.
    #[inline]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same context with this hash key.
    #[must_use]
    pub fn with_hash_key(mut self, hash_key: &'a [u8]) -> Self {
        self.hash_key = Some(hash_key);
        self
    }

    /// The same context with this lane.
    #[must_use]
    pub fn with_lane(mut self, lane: &'a str) -> Self {
        self.lane = Some(lane);
        self
    }

    /// The same context with these tried instances.
    #[must_use]
    pub fn with_tried(mut self, tried: &'a [Arc<Instance>]) -> Self {
        self.tried = tried;
        self
    }

    /// Whether the call was already tried at the address of `endpoint`.
    #[inline]
    pub fn has_tried<E>(&self, endpoint: &Endpoint<E>) -> bool {
        // The usual case is kept small, to be inlined.
        !self.tried.is_empty() && self.is_tried(endpoint.address())
    }

    #[cold]
    fn is_tried(&self, address: &str) -> bool {
        self.tried.iter().any(|tried| tried.address() == address)
    }
}

/// A picked endpoint for one call: dereferences to the [`Endpoint`].
///
/// Hold it until the call has ended: until the body of the response has ended, not until its
/// headers. The [observers](crate::Observer) of the endpoint hear of three moments: that it was
/// picked, that it has [answered](Self::answered), and that the call has ended with the
/// [reported](Self::report) outcome. Dropping an unreported pick reports [`Outcome::Cancelled`].
///
/// To share it between the parts of a call, put it into an `Arc`. The first reported outcome
/// counts.
///
/// ```
/// use sd_core::{Balancer, NoEndpoints, Outcome};
///
/// async fn connect(hosts: &impl Balancer<Target = String>) -> Result<(), NoEndpoints> {
///     let host = hosts.endpoint()?;
///     let connected = tokio::net::TcpStream::connect(host.target()).await;
///     host.report(if connected.is_ok() { Outcome::Success } else { Outcome::Failure });
///     Ok(())
/// }
/// ```
#[must_use = "dropping it reports the call as cancelled"]
#[repr(C)]
pub struct Pick<E> {
    /// All zeros if nobody observes the endpoint. First, so that it is moved as it was written: in one piece.
    call: Call,
    endpoint: Arc<Endpoint<E>>,
}

/// What the observers of a call are told. Words that are all zero at first: such a pick is made and moved without
/// waiting for parts of it to be written.
#[derive(Default)]
struct Call {
    /// By [`nanos`], if an observer needs times.
    picked_at: u64,
    /// Twice the nanoseconds from the pick to the answer and one more, or 0 before; and one, [`HAS_ENDED`].
    progress: AtomicU64,
}

const HAS_ENDED: u64 = 1;
/// About 292 years, half of what is left of the word.
const LONGEST: u64 = u64::MAX / 4;

impl<E> Pick<E> {
    /// A pick of `endpoint`, whose observers hear of it.
    #[inline]
    pub fn new(endpoint: Arc<Endpoint<E>>) -> Self {
        Self::at(endpoint, Instant::now)
    }

    /// A pick at the time that `now` returns, for balancers that may have read the clock already.
    /// Not asked if no observer needs times.
    #[inline]
    pub(super) fn at(endpoint: Arc<Endpoint<E>>, now: impl FnOnce() -> Instant) -> Self {
        let call = Call::default();
        let mut pick = Self { call, endpoint };
        if pick.is_observed() {
            let picked_at = pick.endpoint.is_timed().then(now);
            pick.begin(picked_at);
        }
        pick
    }

    #[inline]
    fn is_observed(&self) -> bool {
        !self.endpoint.observers().is_empty()
    }

    // Not inlined, nor is `end`: so a pick that nobody observes is short.
    #[inline(never)]
    fn begin(&mut self, picked_at: Option<Instant>) {
        self.call.picked_at = picked_at.map_or(0, nanos);
        for observer in self.endpoint.observers() {
            observer.picked();
        }
    }

    /// The time, if an observer needs it.
    fn now(&self) -> Option<Instant> {
        self.endpoint.is_timed().then(Instant::now)
    }

    /// The time from the pick to `now`.
    fn elapsed(&self, now: Option<Instant>) -> Duration {
        let nanos = now.map_or(0, |now| nanos(now).wrapping_sub(self.call.picked_at));
        // A clock that went back has not moved.
        Duration::from_nanos(if nanos > u64::MAX / 2 { 0 } else { nanos })
    }

    /// The endpoint, as an `Arc` to share with the call.
    pub fn endpoint(&self) -> &Arc<Endpoint<E>> {
        &self.endpoint
    }

    /// Tells the observers that the endpoint has begun to answer: the headers of the response have
    /// come, or the first message of a stream. Later calls do nothing. Not needed for calls that
    /// are answered and ended at once.
    pub fn answered(&self) {
        if !self.is_observed() {
            return;
        }
        let after = self.elapsed(self.now());
        let nanos = u64::try_from(after.as_nanos()).map_or(LONGEST, |nanos| nanos.min(LONGEST));
        let answered = 2 * (nanos + 1);
        let progress = &self.call.progress;
        let first = progress.compare_exchange(0, answered, Ordering::Relaxed, Ordering::Relaxed);
        if first.is_ok() {
            for observer in self.endpoint.observers() {
                observer.answered(after);
            }
        }
    }

    /// Tells the observers that the call has ended, and how. Later calls do nothing.
    #[inline]
    pub fn report(&self, outcome: Outcome) {
        if self.is_observed() {
            self.end(outcome);
        }
    }

    #[inline(never)]
    fn end(&self, outcome: Outcome) {
        // Read first, since a pick is dropped after its report, and a change takes longer.
        let progress = &self.call.progress;
        if progress.load(Ordering::Relaxed) & HAS_ENDED != 0 {
            return;
        }
        let before = progress.fetch_or(HAS_ENDED, Ordering::Relaxed);
        if before & HAS_ENDED != 0 {
            return;
        }
        let answered_after = match before / 2 {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos - 1)),
        };
        let ended_at = self.now();
        let call = EndedCall {
            outcome,
            answered_after,
            duration: self.elapsed(ended_at),
            ended_at,
        };
        for observer in self.endpoint.observers() {
            observer.ended(&call);
        }
    }
}

/// The nanoseconds from a time that is always the same. They wrap around.
fn nanos(at: Instant) -> u64 {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    let begin = *BEGIN.get_or_init(|| at);
    match at.checked_duration_since(begin) {
        Some(since) => since.as_nanos() as u64,
        None => (begin.duration_since(at).as_nanos() as u64).wrapping_neg(),
    }
}

impl<E> Drop for Pick<E> {
    #[inline]
    fn drop(&mut self) {
        self.report(Outcome::Cancelled);
    }
}

impl<E> Deref for Pick<E> {
    type Target = Endpoint<E>;

    #[inline]
    fn deref(&self) -> &Endpoint<E> {
        &self.endpoint
    }
}

impl<E> fmt::Debug for Pick<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pick").field(&self.endpoint).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{calls::observer::Observer, registry::Key};
    use std::sync::Mutex;

    /// What was heard, with times in milliseconds.
    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Heard {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock().unwrap())
        }

        fn note(&self, what: String) {
            self.0.lock().unwrap().push(what);
        }
    }

    impl Observer for Heard {
        fn picked(&self) {
            self.note("picked".into());
        }

        fn answered(&self, after: Duration) {
            self.note(format!("answered {}", after.as_millis()));
        }

        fn ended(&self, call: &EndedCall) {
            let (latency, duration) = (call.latency(), call.duration);
            let [latency, duration] = [latency, duration].map(|time| time.as_millis());
            self.note(format!("{} {latency} {duration}", call.outcome));
        }
    }

    fn endpoint() -> Endpoint<()> {
        Endpoint::new(Instance::new(Key::new("a").unwrap(), "h:1"), ())
    }

    async fn pass(millis: u64) {
        tokio::time::advance(Duration::from_millis(millis)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn every_observer_hears_of_three_moments() {
        let [one, other] = [(); 2].map(|()| Arc::new(Heard::default()));
        let endpoint = endpoint().observed_by(one.clone());
        let endpoint = Arc::new(endpoint.observed_by(other.clone()));
        let pick = Pick::new(endpoint.clone());
        pass(5).await;
        pick.answered();
        pass(1).await;
        pick.answered();
        pick.report(Outcome::Success);
        pick.report(Outcome::Failure);
        drop(pick);
        let heard = ["picked", "answered 5", "success 5 6"];
        assert_eq!(one.take(), heard);
        assert_eq!(other.take(), heard);

        Pick::new(endpoint.clone()).report(Outcome::Overloaded);
        drop(Pick::new(endpoint));
        let heard = ["picked", "overloaded 0 0", "picked", "cancelled 0 0"];
        assert_eq!(one.take(), heard);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shared_pick_ends_once_and_is_not_answered_after_its_end() {
        let heard = Arc::new(Heard::default());
        let pick = Arc::new(Pick::new(Arc::new(endpoint().observed_by(heard.clone()))));
        let stream = pick.clone();
        drop(pick);
        pass(3).await;
        stream.report(Outcome::TimedOut);
        stream.answered();
        drop(stream);
        assert_eq!(heard.take(), ["picked", "timed out 3 3"]);
    }

    #[tokio::test(start_paused = true)]
    async fn times_are_told_if_an_observer_needs_them() {
        /// Only counts.
        struct Counts(Arc<Heard>);
        impl Observer for Counts {
            fn needs_times(&self) -> bool {
                false
            }
            fn answered(&self, after: Duration) {
                self.0.answered(after);
            }
            fn ended(&self, call: &EndedCall) {
                self.0.ended(call);
            }
        }
        let heard = Arc::new(Heard::default());
        let counted = endpoint().observed_by(Arc::new(Counts(heard.clone())));
        let timed = counted.observed_by(Arc::new(Heard::default()));
        for (endpoint, times) in [(counted, (0, 0)), (timed, (5, 6))] {
            let pick = Pick::new(Arc::new(endpoint));
            pass(5).await;
            pick.answered();
            pass(1).await;
            pick.report(Outcome::Success);
            let (answered, ended) = times;
            let answered_after = format!("answered {answered}");
            assert_eq!(
                heard.take(),
                [answered_after, format!("success {answered} {ended}")]
            );
        }
    }

    #[test]
    fn what_was_tried_is_an_address() {
        let other_key = Instance::new(Key::new("b").unwrap(), "h:1");
        let elsewhere = Instance::new(Key::new("a").unwrap(), "h:2");
        let tried = [Arc::new(other_key)];
        assert!(PickContext::new().with_tried(&tried).has_tried(&endpoint()));
        let tried = [Arc::new(elsewhere)];
        assert!(!PickContext::new().with_tried(&tried).has_tried(&endpoint()));
    }
}
