//! Sets of instances, and what differs between two of them.

use super::{instance::Instance, instance_key::InstanceKey};
use crate::registry::Key;
use imbl::{
    OrdMap,
    ordmap::{DiffItem, Values},
    shared_ptr::DefaultSharedPtr,
};
use std::{fmt, iter::FusedIterator, ops::Bound, sync::Arc};

/// A set of instances, in the order of their keys and parts.
///
/// A service can have 100,000 instances and change several times a second. This set is a
/// persistent B-tree: a clone copies nothing, a changed clone shares all nodes but those on the way
/// to the change, and [`diff`](Self::diff) reads only the nodes that are not shared.
///
/// ```
/// use sd_core::{Instance, InstanceChange, Instances, Key};
///
/// let before: Instances = [Instance::new(Key::new("/hello/a")?, "10.0.0.1:80")]
///     .into_iter()
///     .collect();
/// let mut after = before.clone();
/// after.insert(Instance::new(Key::new("/hello/b")?, "10.0.0.2:80"));
///
/// assert_eq!(after.get("/hello/b").map(|it| it.address()), Some("10.0.0.2:80"));
/// for instance in &after {
///     println!("{}", instance.key());
/// }
/// for change in before.diff(&after) {
///     assert!(matches!(change, InstanceChange::Added(new) if new.address() == "10.0.0.2:80"));
/// }
/// # Ok::<(), sd_core::Invalid>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Instances(OrdMap<InstanceKey, Arc<Instance>>);

impl Instances {
    /// The number of instances.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no instances.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The instance with the identity `key`: an [`InstanceKey`], or a [`Key`](crate::Key) or a string where the
    /// whole entry is the instance.
    pub fn get<K: AsRef<str> + ?Sized>(&self, key: &K) -> Option<&Arc<Instance>> {
        self.0.get(key.as_ref())
    }

    /// All instances of the entry under `key`: the one that it is, or its parts in their order.
    pub fn under<K: AsRef<str> + ?Sized>(&self, key: &K) -> impl Iterator<Item = &Arc<Instance>> {
        let whole = self.get(key);
        let parts = whole.is_none().then(|| {
            let (from, to) = InstanceKey::range_of_parts(key.as_ref());
            self.0
                .range::<_, str>((Bound::Included(&*from), Bound::Excluded(&*to)))
        });
        let parts = parts.into_iter().flatten().map(|(_, instance)| instance);
        whole.into_iter().chain(parts)
    }

    /// All instances in the order of their keys and parts.
    pub fn iter(&self) -> InstancesIter<'_> {
        InstancesIter(self.0.values())
    }

    /// What changed from `self` to `newer`, in the order of the keys.
    ///
    /// If one set was made from the other, the cost grows with the number of changes, not with the
    /// size of the sets.
    pub fn diff(&self, newer: &Self) -> impl Iterator<Item = InstanceChange> {
        self.0.diff(&newer.0).map(|item| match item {
            DiffItem::Add(_, new) => InstanceChange::Added(new.clone()),
            DiffItem::Update { old, new } => InstanceChange::Updated {
                old: old.1.clone(),
                new: new.1.clone(),
            },
            DiffItem::Remove(_, old) => InstanceChange::Removed(old.clone()),
        })
    }

    /// Adds `instance`. Returns the instance that had its identity before.
    pub fn insert(&mut self, instance: impl Into<Arc<Instance>>) -> Option<Arc<Instance>> {
        let instance = instance.into();
        self.0.insert(instance.identity(), instance)
    }

    /// Removes the instance with the identity `key`, as for [`get`](Self::get), and returns it.
    pub fn remove<K: AsRef<str> + ?Sized>(&mut self, key: &K) -> Option<Arc<Instance>> {
        self.0.remove(key.as_ref())
    }

    /// Makes `self` equal to `newer`, and keeps the instances that are equal in both.
    ///
    /// For sources that receive whole sets: afterwards `self` still shares its nodes with its
    /// earlier clones, so [`diff`](Self::diff) between them stays cheap. `newer` shares none.
    pub fn update_to(&mut self, newer: &Self) {
        for change in self.clone().diff(newer) {
            match change {
                InstanceChange::Added(new) | InstanceChange::Updated { new, .. } => {
                    self.insert(new);
                }
                InstanceChange::Removed(old) => {
                    self.remove(&old.identity());
                }
            }
        }
    }
}

impl fmt::Debug for Instances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self).finish()
    }
}

/// The last instance with an identity wins.
impl FromIterator<Instance> for Instances {
    fn from_iter<I: IntoIterator<Item = Instance>>(instances: I) -> Self {
        instances.into_iter().map(Arc::new).collect()
    }
}

/// The last instance with an identity wins.
impl FromIterator<Arc<Instance>> for Instances {
    fn from_iter<I: IntoIterator<Item = Arc<Instance>>>(instances: I) -> Self {
        let mut instances: Vec<_> = instances.into_iter().collect();
        if !instances.is_sorted_by(|one, other| one.place() < other.place()) {
            instances.sort_by(|one, other| one.place().cmp(&other.place()));
            instances.dedup_by(|later, kept| {
                let is_same = later.place() == kept.place();
                if is_same {
                    std::mem::swap(later, kept);
                }
                is_same
            });
        }
        // A full node is split in two halves. Inserted in their order, instances would leave all nodes half full.
        // So every second one is inserted first, and the others fill the halves.
        let mut set = Self::default();
        let mut between = Vec::with_capacity(instances.len() / 2);
        for (n, instance) in instances.into_iter().enumerate() {
            match n % 2 {
                0 => drop(set.insert(instance)),
                _ => between.push(instance),
            }
        }
        for instance in between {
            set.insert(instance);
        }
        set
    }
}

impl<'a> IntoIterator for &'a Instances {
    type Item = &'a Arc<Instance>;
    type IntoIter = InstancesIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The iterator of [`Instances::iter`].
#[must_use = "iterators do nothing unless they are read"]
pub struct InstancesIter<'a>(Values<'a, InstanceKey, Arc<Instance>, DefaultSharedPtr>);

impl<'a> Iterator for InstancesIter<'a> {
    type Item = &'a Arc<Instance>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl DoubleEndedIterator for InstancesIter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back()
    }
}

impl ExactSizeIterator for InstancesIter<'_> {}

impl FusedIterator for InstancesIter<'_> {}

impl fmt::Debug for InstancesIter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstancesIter")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// One difference between two sets of instances. Shares its instances with the sets and borrows
/// nothing.
///
/// Not `non_exhaustive`: a `match` needs these three arms and no other.
///
/// ```
/// use sd_core::{InstanceChange, Instances};
///
/// /// For another task, which may outlive both sets.
/// fn changes(before: &Instances, after: &Instances) -> Vec<InstanceChange> {
///     before.diff(after).collect()
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstanceChange {
    /// The instance is new.
    Added(Arc<Instance>),
    /// The instance has changed.
    Updated {
        /// The instance before.
        old: Arc<Instance>,
        /// The instance now.
        new: Arc<Instance>,
    },
    /// The instance is gone.
    Removed(Arc<Instance>),
}

impl InstanceChange {
    /// The instance as it is now, or as it was last.
    pub fn instance(&self) -> &Arc<Instance> {
        match self {
            Self::Added(of) | Self::Updated { new: of, .. } | Self::Removed(of) => of,
        }
    }

    /// The key of the entry of the instance that changed.
    pub fn key(&self) -> &Key {
        self.instance().key()
    }

    /// What tells the instance that changed from others.
    pub fn identity(&self) -> InstanceKey {
        self.instance().identity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(name: &str, address: &str) -> Instance {
        Instance::new(Key::new(name).unwrap(), address)
    }

    fn set<const N: usize>(all: [(&str, &str); N]) -> Instances {
        let all = all.into_iter();
        all.map(|(name, address)| instance(name, address)).collect()
    }

    #[test]
    fn a_set_is_read_by_key_by_string_and_in_order_from_both_ends() {
        let all = set([("b", "h:2"), ("a", "h:1"), ("c", "h:3")]);
        let key = Key::new("b").unwrap();
        assert_eq!(all.get(&key), all.get("b"));
        assert_eq!(all.get(&String::from("b")).unwrap().address(), "h:2");
        assert!(all.get("d").is_none() && all.get("").is_none());
        let mut names = Vec::new();
        for instance in &all {
            names.push(instance.key().as_str());
        }
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(all.iter().len(), 3);
        assert_eq!(all.iter().next_back().unwrap().key().as_str(), "c");
    }

    #[test]
    fn a_change_outlives_the_sets() {
        let changes: Vec<_> = {
            let before = set([("a", "h:1"), ("b", "h:1")]);
            let after = set([("b", "h:2"), ("c", "h:1")]);
            before.diff(&after).collect()
        };
        let said = changes.iter().map(|change| match change {
            InstanceChange::Added(_) => format!("+{}", change.identity()),
            InstanceChange::Updated { .. } => format!("~{}", change.identity()),
            InstanceChange::Removed(_) => format!("-{}", change.identity()),
        });
        assert_eq!(said.collect::<Vec<_>>(), ["-a", "~b", "+c"]);
    }

    #[test]
    fn the_parts_of_one_entry_are_found_by_its_key() {
        let mut all = set([("a", "h:1"), ("b", "h:1"), ("b/", "h:2")]);
        let part = |part: &str, address| instance("c", address).with_part(part);
        all.insert(part("n1", "h:3"));
        all.insert(part("n2", "h:4"));
        let under = |key: &str| all.under(key).map(|it| it.address()).collect::<Vec<_>>();
        assert_eq!(under("a"), ["h:1"]);
        assert_eq!(under("b"), ["h:1"]);
        assert_eq!(under("c"), ["h:3", "h:4"]);
        assert!(under("d").is_empty() && all.get("c").is_none());
        let identity = part("n1", "").identity();
        assert_eq!(all.get(&identity).unwrap().address(), "h:3");
        assert_eq!(all.clone().remove(&identity).unwrap().part(), Some("n1"));
    }

    #[test]
    fn a_set_is_the_same_however_it_was_made_and_the_last_with_an_identity_wins() {
        for length in 0..200 {
            let numbers = (0..length).map(|n| n * 7 % 150);
            let all: Vec<_> = numbers
                .enumerate()
                .map(|(n, name)| instance(&format!("{name:03}"), &format!("h:{n}")))
                .collect();
            let mut one_by_one = Instances::default();
            for instance in all.clone() {
                one_by_one.insert(instance);
            }
            assert_eq!(all.into_iter().collect::<Instances>(), one_by_one);
        }
    }

    #[test]
    fn an_updated_set_keeps_what_is_equal() {
        let before = set([("a", "h:1"), ("b", "h:1"), ("c", "h:1")]);
        let mut all = before.clone();
        let newer = set([("b", "h:1"), ("c", "h:2"), ("d", "h:1")]);
        all.update_to(&newer);
        assert_eq!(all, newer);
        let kept = |name| Arc::ptr_eq(all.get(name).unwrap(), before.get(name).unwrap());
        assert!(kept("b") && !kept("c"));
    }
}
