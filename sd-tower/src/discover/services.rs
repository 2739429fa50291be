//! The services at each address, and the changes from one table to the next.

use sd_core::{Endpoint, Endpoints};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};
use tower::discover::Change;

/// The endpoints of a table by their address.
pub(super) struct Services<T> {
    table: Option<Endpoints<T>>,
    /// In the order of their keys. The target of the first is the service of the address.
    by_address: HashMap<Arc<str>, Vec<Arc<Endpoint<T>>>>,
}

/// The first endpoint at each address that is touched, as it was before.
type Before<T> = BTreeMap<Arc<str>, Option<Arc<Endpoint<T>>>>;

impl<T> Default for Services<T> {
    fn default() -> Self {
        Self {
            table: None,
            by_address: HashMap::new(),
        }
    }
}

impl<T: Clone> Services<T> {
    /// Takes the next table, and returns how the services differ from those of the last one.
    pub(super) fn replace(&mut self, next: Endpoints<T>) -> VecDeque<Change<Arc<str>, T>> {
        let last = self.table.take();
        let before = self.update(last.as_deref().unwrap_or_default(), &next);
        self.table = Some(next);
        let (mut changes, mut removals) = (VecDeque::new(), Vec::new());
        for (address, before) in before {
            match (before, self.first(&address)) {
                (Some(before), Some(now)) if before.shares_target_with(now) => {}
                (_, Some(now)) => changes.push_back(Change::Insert(address, now.target().clone())),
                (Some(_), None) => removals.push(Change::Remove(address)),
                (None, None) => {}
            }
        }
        // At the end, so that a reader is not left without services while they are replaced.
        changes.extend(removals);
        changes
    }

    /// Walks through both tables in the order of their keys, and updates what differs.
    fn update(&mut self, last: &[Arc<Endpoint<T>>], next: &[Arc<Endpoint<T>>]) -> Before<T> {
        let mut before = Before::new();
        let (mut last, mut next) = (last.iter().peekable(), next.iter().peekable());
        loop {
            let order = match (last.peek(), next.peek()) {
                (Some(last), Some(next)) => last.identity().cmp(&next.identity()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return before,
            };
            let gone = last.next_if(|_| order.is_le());
            let new = next.next_if(|_| order.is_ge());
            if let (Some(gone), Some(new)) = (gone, new)
                && Arc::ptr_eq(gone, new)
            {
                continue;
            }
            if let Some(gone) = gone {
                self.remove(gone, &mut before);
            }
            if let Some(new) = new {
                self.insert(new, &mut before);
            }
        }
    }

    fn insert(&mut self, endpoint: &Arc<Endpoint<T>>, before: &mut Before<T>) {
        let address = self.touch(endpoint, before);
        let here = self.by_address.entry(address).or_default();
        let place = here.partition_point(|other| other.identity() < endpoint.identity());
        here.insert(place, endpoint.clone());
    }

    fn remove(&mut self, endpoint: &Arc<Endpoint<T>>, before: &mut Before<T>) {
        let address = self.touch(endpoint, before);
        let Some(here) = self.by_address.get_mut(&address) else {
            return;
        };
        if let Some(place) = here.iter().position(|other| Arc::ptr_eq(other, endpoint)) {
            here.remove(place);
        }
        if here.is_empty() {
            self.by_address.remove(&address);
        }
    }

    /// Notes the first endpoint at the address, if that was not done, and returns the address.
    fn touch(&self, endpoint: &Endpoint<T>, before: &mut Before<T>) -> Arc<str> {
        let known = self.by_address.get_key_value(endpoint.address());
        let address = match known {
            Some((address, _)) => address.clone(),
            None => endpoint.address().into(),
        };
        if !before.contains_key(&address) {
            before.insert(address.clone(), self.first(&address).cloned());
        }
        address
    }

    fn first(&self, address: &str) -> Option<&Arc<Endpoint<T>>> {
        self.by_address.get(address)?.first()
    }
}
