//! What a codec reads in an entry.

use super::{codec::CodecError, instance::Instance};

/// What a codec reads in an entry: one instance, several, or none.
///
/// ```
/// use sd_core::{Decoded, Instance, Key};
///
/// let key = Key::new("/services/hello/a")?;
/// let instance = Instance::new(key, "10.0.0.1:8080");
/// assert_eq!(Decoded::from(instance.clone()).instances(), [instance.clone()]);
/// let nodes = ["1", "2"].map(|node| instance.clone().with_part(node));
/// assert_eq!(Decoded::from_iter(nodes).instances().len(), 2);
/// assert!(Decoded::NOT_MINE.instances().is_empty());
/// # Ok::<(), sd_core::Invalid>(())
/// ```
#[derive(Debug, Clone)]
pub struct Decoded {
    instances: Found,
    /// Few have it.
    ignored: Option<Box<CodecError>>,
}

/// One instance needs no allocation.
#[derive(Debug, Clone)]
enum Found {
    None,
    One(Instance),
    Several(Vec<Instance>),
}

impl Decoded {
    /// The entry describes no instance of the service that the codec reads: it is about another service, another
    /// version, or nothing that is called. That is no fault, so nobody is told and nothing is counted.
    pub const NOT_MINE: Self = Self {
        instances: Found::None,
        ignored: None,
    };

    /// The same, but attributes were left out because of `error`. The instances are used all the same. The layer
    /// above logs it once, and a provider cannot register such a value.
    #[must_use]
    pub fn with_ignored(mut self, error: impl Into<Option<CodecError>>) -> Self {
        self.ignored = error.into().map(Box::new);
        self
    }

    /// The instances.
    pub fn instances(&self) -> &[Instance] {
        match &self.instances {
            Found::None => &[],
            Found::One(instance) => std::slice::from_ref(instance),
            Found::Several(instances) => instances,
        }
    }

    /// What was left out of the entry, and why.
    pub fn ignored(&self) -> Option<&CodecError> {
        self.ignored.as_deref()
    }

    /// The same with each instance replaced by what `change` makes of it.
    pub(crate) fn map(self, mut change: impl FnMut(Instance) -> Instance) -> Self {
        let instances = match self.instances {
            Found::None => Found::None,
            Found::One(instance) => Found::One(change(instance)),
            Found::Several(instances) => {
                Found::Several(instances.into_iter().map(change).collect())
            }
        };
        Self { instances, ..self }
    }
}

impl From<Instance> for Decoded {
    fn from(instance: Instance) -> Self {
        Self {
            instances: Found::One(instance.shrunk()),
            ignored: None,
        }
    }
}

/// Several instances of one entry. Each needs a [part](Instance::with_part) of its own.
impl FromIterator<Instance> for Decoded {
    fn from_iter<I: IntoIterator<Item = Instance>>(instances: I) -> Self {
        let mut instances = instances.into_iter().map(Instance::shrunk);
        let (first, second) = (instances.next(), instances.next());
        let instances = match (first, second) {
            (Some(one), None) => Found::One(one),
            (first, second) => {
                Found::Several(first.into_iter().chain(second).chain(instances).collect())
            }
        };
        Self {
            instances,
            ignored: None,
        }
    }
}

impl IntoIterator for Decoded {
    type Item = Instance;
    type IntoIter = DecodedIter;

    fn into_iter(self) -> DecodedIter {
        DecodedIter(match self.instances {
            Found::None => (None, Vec::new().into_iter()),
            Found::One(instance) => (Some(instance), Vec::new().into_iter()),
            Found::Several(instances) => (None, instances.into_iter()),
        })
    }
}

/// The iterator over the instances of a [`Decoded`].
#[derive(Debug)]
#[must_use = "iterators do nothing unless they are read"]
pub struct DecodedIter((Option<Instance>, std::vec::IntoIter<Instance>));

impl Iterator for DecodedIter {
    type Item = Instance;

    fn next(&mut self) -> Option<Instance> {
        let (one, several) = &mut self.0;
        one.take().or_else(|| several.next())
    }
}
