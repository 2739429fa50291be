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
use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, Ordering},
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
    /// Woken when the host is removed.
    removed: Notify,
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
            removed: Notify::new(),
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
        self.removed.notify_waiters();
    }

    /// Waits for [`remove`](Self::remove). Allocates nothing. Cancellation safe.
    pub(super) async fn removed(&self) {
        // It hears of whatever happens from here on, so the flag is read after.
        let removed = self.removed.notified();
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
