//! Hosts: what is called at one address, and what it has lived through.

use super::{
    load::Load,
    observer::{EndedCall, Observer},
    replacements::Replacements,
};
use crate::{
    instances::Instance,
    registry::{ErrorChain, Escaped},
    support::catch,
};
use once_cell::race::OnceBox;
use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, Ordering, fence},
};
use tokio::sync::Notify;

/// The target that a factory made for one address, and its load. Shared by all endpoints of the
/// address: by later ones whose instance has other attributes, by the tables that are derived from
/// a table, and by the instances that have one address under several keys.
pub(super) struct Host<E> {
    /// What the target was made for.
    made_for: Arc<Instance>,
    /// `None` only while the host is dropped.
    target: Option<E>,
    load: Load,
    is_removed: AtomicBool,
    /// Woken when the host is removed. Made by the first who waits, since there may be 100,000 hosts.
    removed: OnceBox<Notify>,
    needs_replacement: AtomicBool,
    /// Of the endpointer that made it, if one did.
    replacements: Weak<Replacements>,
}

impl<E> Host<E> {
    /// A host that asks `replacements` for another target.
    pub(super) fn new(
        made_for: Arc<Instance>,
        target: E,
        replacements: Weak<Replacements>,
    ) -> Self {
        Self {
            made_for,
            target: Some(target),
            load: Load::default(),
            is_removed: AtomicBool::new(false),
            removed: OnceBox::new(),
            needs_replacement: AtomicBool::new(false),
            replacements,
        }
    }

    pub(super) fn target(&self) -> &E {
        match &self.target {
            Some(target) => target,
            None => unreachable!("a dropped host"),
        }
    }

    pub(super) fn load(&self) -> &Load {
        &self.load
    }

    /// Asks for another target, once.
    pub(super) fn replace(&self) {
        if let Some(replacements) = self.replacements.upgrade()
            && !self.needs_replacement.swap(true, Ordering::AcqRel)
        {
            replacements.add(self.made_for.clone());
        }
    }

    /// Whether another target was asked for.
    pub(super) fn needs_replacement(&self) -> bool {
        self.needs_replacement.load(Ordering::Acquire)
    }

    /// The last instance of the address was removed, without having announced it.
    pub(super) fn remove(&self) {
        self.is_removed.store(true, Ordering::Release);
        // Either this sees who waits, or who waits sees the flag.
        fence(Ordering::SeqCst);
        if let Some(removed) = self.removed.get() {
            removed.notify_waiters();
        }
    }

    /// Waits for [`remove`](Self::remove). Allocates nothing, but for the first time. Cancellation safe.
    pub(super) async fn removed(&self) {
        // It hears of whatever happens from here on, so the flag is read after.
        let removed = self.removed.get_or_init(Box::default).notified();
        fence(Ordering::SeqCst);
        if !self.is_removed.load(Ordering::Acquire) {
            removed.await;
        }
    }
}

/// Counts the calls as load. Does not measure the latency, so that calls need no clock.
impl<E: Send + Sync + 'static> Observer for Host<E> {
    fn needs_times(&self) -> bool {
        false
    }

    fn picked(&self) {
        self.load.picked();
    }

    fn ended(&self, call: &EndedCall) {
        self.load.ended(call);
    }
}

/// Catches a panic in the target's `Drop`. It would otherwise end whatever drops the last endpoint:
/// the endpointer's task, or an unrelated call.
impl<E> Drop for Host<E> {
    fn drop(&mut self) {
        let target = self.target.take();
        if let Err(why) = catch(|| drop(target)) {
            tracing::error!(
                key = %Escaped(self.made_for.key()),
                address = %Escaped(self.made_for.address()),
                why = %ErrorChain(&why),
                "the target of an endpoint failed to be dropped"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Key;
    use futures::FutureExt;
    use std::{pin::pin, sync::atomic::AtomicUsize, thread};

    #[test]
    fn who_waits_hears_of_a_removal_at_the_same_moment() {
        const HOSTS: usize = 2_000;
        let instance = Arc::new(Instance::new(Key::new("a").unwrap(), "h:1"));
        let host = |_| Host::new(instance.clone(), (), Weak::new());
        let hosts: Vec<_> = (0..HOSTS).map(host).collect();
        let [waited, removed] = [(); 2].map(|()| AtomicUsize::new(0));
        let reaches = |count: &AtomicUsize, n| {
            while count.load(Ordering::Acquire) <= n {
                thread::yield_now();
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                for (n, host) in hosts.iter().enumerate() {
                    reaches(&waited, n);
                    host.remove();
                    removed.store(n + 1, Ordering::Release);
                }
            });
            for (n, host) in hosts.iter().enumerate() {
                waited.store(n + 1, Ordering::Release);
                let mut wait = pin!(host.removed());
                let is_over = wait.as_mut().now_or_never().is_some();
                reaches(&removed, n);
                assert!(is_over || wait.now_or_never().is_some(), "host {n}");
            }
        });
    }
}
