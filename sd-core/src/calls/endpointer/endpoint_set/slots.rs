//! The slots of all addresses, in as little memory as they can be told from.
//!
//! Of 100,000 addresses, nearly all are at rest: they have one instance and its endpoint, and there is nothing else to
//! know of them. Such an address takes its endpoint only. It is opened whenever something happens to it, and closed
//! again when nothing is left of that.

use super::address_slot::AddressSlot;
use crate::{
    calls::{endpoint::Endpoint, run_queue::QueuedRun},
    instances::Instance,
};
use std::{
    borrow::Borrow,
    collections::HashSet,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// All slots, each found by its address.
pub(super) struct Slots<E>(HashSet<Slot<E>>);

/// A slot, in the least form that says all of it.
pub(super) enum Slot<E> {
    /// At rest: only the instance of the endpoint has the address.
    Resting(Arc<Endpoint<E>>),
    /// New: only this instance has the address, and no factory has had a result.
    New(Box<NewSlot>),
    Open(Box<AddressSlot<E>>),
}

pub(super) struct NewSlot {
    pub(super) instance: Arc<Instance>,
    /// The factory that waits or runs.
    pub(super) run: Option<QueuedRun>,
    /// See [`AddressSlot::is_untried`].
    pub(super) is_untried: bool,
}

impl<E> Slots<E> {
    pub(super) fn new() -> Self {
        Self(HashSet::new())
    }

    /// Adds the slot of an address that only `instance` has.
    pub(super) fn add(&mut self, instance: &Arc<Instance>, is_untried: bool) {
        self.0.insert(Slot::New(Box::new(NewSlot {
            instance: instance.clone(),
            run: None,
            is_untried,
        })));
    }

    /// Changes the slot of an address. `None` if it has none.
    pub(super) fn change<R>(
        &mut self,
        address: &str,
        change: impl FnOnce(&mut AddressSlot<E>) -> R,
    ) -> Option<R> {
        let mut slot = self.take(address)?;
        let result = change(&mut slot);
        self.put(slot);
        Some(result)
    }

    /// Takes a slot out, to be put back if anybody needs the address.
    pub(super) fn take(&mut self, address: &str) -> Option<AddressSlot<E>> {
        self.0.take(address).map(|slot| match slot {
            Slot::Resting(endpoint) => AddressSlot::of_resting(endpoint),
            Slot::New(new) => AddressSlot::of_new(*new),
            Slot::Open(slot) => *slot,
        })
    }

    pub(super) fn put(&mut self, slot: AddressSlot<E>) {
        self.0.insert(slot.close());
    }

    /// The endpoint of an address. Its instance speaks for the address, once all changes are settled.
    pub(super) fn endpoint(&self, address: &str) -> Option<&Arc<Endpoint<E>>> {
        match self.0.get(address)? {
            Slot::Resting(endpoint) => Some(endpoint),
            Slot::New(_) => None,
            Slot::Open(slot) => slot.endpoint.as_ref(),
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl<E> Borrow<str> for Slot<E> {
    fn borrow(&self) -> &str {
        match self {
            Slot::Resting(endpoint) => endpoint.address(),
            Slot::New(new) => new.instance.address(),
            Slot::Open(slot) => slot.speaker.address(),
        }
    }
}

impl<E> Hash for Slot<E> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Borrow::<str>::borrow(self).hash(state);
    }
}

impl<E> PartialEq for Slot<E> {
    fn eq(&self, other: &Self) -> bool {
        Borrow::<str>::borrow(self) == Borrow::<str>::borrow(other)
    }
}

impl<E> Eq for Slot<E> {}
