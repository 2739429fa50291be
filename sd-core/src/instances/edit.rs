//! Edits: changes of single attributes of an entry.

use super::{instance::Instance, status::Status};
use std::collections::BTreeMap;

/// A change of some attributes of an entry, which leaves all else in its value as it stands.
///
/// A value may have fields that a codec does not know, and describe more instances than the one that is meant. So
/// a change is not a decode and an encode: [`Codec::edit`](crate::Codec::edit) changes the value where it has to
/// change.
///
/// ```
/// use sd_core::{Codec, DefaultCodec, Edit, Entry, Key, Status};
///
/// let value = r#"{"address":"10.0.0.1:80","since":[2026,11]}"#;
/// let entry = Entry::new(Key::new("/services/hello/a")?, value);
/// let edit = Edit::new().weight(3).status(Status::Draining);
/// let edited = DefaultCodec.edit(&entry, &edit)?;
/// assert_eq!(
///     edited.value,
///     r#"{"address":"10.0.0.1:80","since":[2026,11],"weight":3,"status":"draining"}"#
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Edit {
    /// The new weight.
    pub weight: Option<u32>,
    /// The new status.
    pub status: Option<Status>,
    /// The new value of each of these pieces of metadata. `None` removes it.
    pub metadata: BTreeMap<String, Option<String>>,
    /// The part of the entry that is meant, if it describes several instances; all of them if `None`.
    pub part: Option<String>,
}

impl Edit {
    /// Changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also changes the weight.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = Some(weight);
        self
    }

    /// Also changes the status.
    #[must_use]
    pub fn status(mut self, status: Status) -> Self {
        self.status = Some(status);
        self
    }

    /// Also sets the metadata called `name`.
    #[must_use]
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(name.into(), Some(value.into()));
        self
    }

    /// Also removes the metadata called `name`.
    #[must_use]
    pub fn without_metadata(mut self, name: impl Into<String>) -> Self {
        self.metadata.insert(name.into(), None);
        self
    }

    /// Only of this part of the entry.
    #[must_use]
    pub fn part(mut self, part: impl Into<String>) -> Self {
        self.part = Some(part.into());
        self
    }

    /// Whether `instance` is one that the edit is about.
    pub fn is_about(&self, instance: &Instance) -> bool {
        let identity = || instance.identity();
        (self.part.as_deref()).is_none_or(|part| identity().part() == Some(part))
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.weight.is_none() && self.status.is_none() && self.metadata.is_empty()
    }

    /// What makes `new` of `old`, as far as an edit can.
    pub(crate) fn between(old: &Instance, new: &Instance) -> Self {
        let is_other = |name: &str| {
            (old.metadata(name), old.is_json_metadata(name))
                != (new.metadata(name), new.is_json_metadata(name))
        };
        let names = old.all_metadata().chain(new.all_metadata());
        let changed = names.filter(|(name, _)| is_other(name));
        Self {
            weight: (old.weight() != new.weight()).then(|| new.weight()),
            status: (old.status() != new.status()).then(|| new.status()),
            metadata: changed
                .map(|(name, _)| (name.to_owned(), new.metadata(name).map(str::to_owned)))
                .collect(),
            part: new.part().map(str::to_owned),
        }
    }

    /// The same edit without the attributes that `other` changes.
    pub(crate) fn without(mut self, other: &Self) -> Self {
        self.weight = self.weight.filter(|_| other.weight.is_none());
        self.status = self.status.filter(|_| other.status.is_none());
        self.metadata
            .retain(|name, _| !other.metadata.contains_key(name));
        self
    }

    /// This edit and then `later`, which is of the same part.
    pub(crate) fn and(mut self, later: Self) -> Self {
        self.weight = later.weight.or(self.weight);
        self.status = later.status.or(self.status);
        self.metadata.extend(later.metadata);
        self
    }

    /// `instance` as it is after the edit.
    #[must_use]
    pub fn apply(&self, mut instance: Instance) -> Instance {
        if !self.is_about(&instance) {
            return instance;
        }
        if let Some(weight) = self.weight {
            instance = instance.with_weight(weight);
        }
        if let Some(status) = self.status {
            instance = instance.with_status(status);
        }
        for (name, value) in &self.metadata {
            instance = match value {
                Some(value) => instance.with_metadata(name, value),
                None => instance.without_metadata(name),
            };
        }
        instance
    }
}
