//! The options of a target: which instances are called, and which of them next.

use super::{balancer_kind::BalancerKind, error::TargetProblem, format};
use sd_core::{EndpointSource, Invalid, LaneFallback, Lanes, Prefix, Subset, ZonePreference};
use std::{collections::BTreeMap, num::NonZeroUsize};

/// Where the services of a registry are.
const DEFAULT_PREFIX: &str = "/services";
/// The metadata of the option `version`.
const VERSION: &str = "version";
/// What the options of other metadata begin with.
const METADATA: &str = "metadata.";

/// The options of a [`Target`](crate::Target). Its page has the table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TargetOptions {
    balancer: Option<BalancerKind>,
    format: Option<Box<str>>,
    metadata: BTreeMap<Box<str>, Box<str>>,
    prefix: Option<Box<str>>,
    subset: Option<NonZeroUsize>,
    zone: Option<Box<str>>,
}

/// A source of endpoints of any type.
type AnySource<T> = Box<dyn EndpointSource<Target = T>>;

impl TargetOptions {
    /// The balancer, if one was chosen.
    pub fn balancer(&self) -> Option<BalancerKind> {
        self.balancer
    }

    /// The name and the options of the format, if one was chosen. [`Target::format`](crate::Target::format)
    /// is the format itself.
    pub fn format(&self) -> Option<&str> {
        self.format.as_deref()
    }

    /// The metadata that instances must have, by name.
    pub fn metadata(&self) -> &BTreeMap<Box<str>, Box<str>> {
        &self.metadata
    }

    /// The size of the subset, if there is one.
    pub fn subset(&self) -> Option<usize> {
        self.subset.map(NonZeroUsize::get)
    }

    /// The zone of the caller, if it was given.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// The endpoints of `source` that the options choose: [`Lanes`] for each piece of metadata, then
    /// a [`ZonePreference`], then a [`Subset`]. Without options, `source` itself.
    ///
    /// Put it over health checks and ejection, and below slow start, as the page of
    /// [`EndpointSource`] explains.
    ///
    /// ```
    /// use sd_core::{Balancer, Ejection, Endpointer, Factory};
    /// use sd_tower::{BalancerKind, ResolvedTarget};
    ///
    /// fn balancer<F: Factory>(hello: ResolvedTarget, clients: F) -> impl Balancer {
    ///     let options = hello.options().clone();
    ///     let well = Ejection::new(Endpointer::new(hello, clients));
    ///     let balancer = options.balancer().unwrap_or(BalancerKind::Weighted);
    ///     balancer.over(options.select(well))
    /// }
    /// ```
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn select<S: EndpointSource>(&self, source: S) -> AnySource<S::Target> {
        let mut selected: AnySource<S::Target> = Box::new(source);
        for (name, value) in &self.metadata {
            let lanes = Lanes::new(selected, name.clone(), LaneFallback::Error);
            selected = Box::new(lanes.lane(&**value));
        }
        if let Some(zone) = &self.zone {
            selected = Box::new(ZonePreference::new(selected, zone.clone()));
        }
        if let Some(size) = self.subset() {
            selected = Box::new(Subset::new(selected, size));
        }
        selected
    }

    /// The prefix of the instances of a service.
    pub(super) fn prefix_of(&self, service: &str) -> Result<Prefix, Invalid> {
        match self.prefix.as_deref() {
            None => Prefix::new(format!("{DEFAULT_PREFIX}/{service}")),
            Some("") => Prefix::new(service),
            Some(prefix) if prefix.ends_with('/') => Prefix::new(format!("{prefix}{service}")),
            Some(prefix) => Prefix::new(format!("{prefix}/{service}")),
        }
    }

    /// Whether a prefix was chosen.
    pub(super) fn has_prefix(&self) -> bool {
        self.prefix.is_some()
    }

    /// Sets an option. Returns whether it was not set yet.
    pub(super) fn set(&mut self, name: OptionName, value: String) -> Result<bool, TargetProblem> {
        Ok(match name {
            OptionName::Balancer => {
                let kind = BalancerKind::named(&value).ok_or(TargetProblem::Balancer)?;
                self.balancer.replace(kind).is_none()
            }
            OptionName::Format => {
                format::named(&value)?;
                self.format.replace(value.into()).is_none()
            }
            OptionName::Metadata(name) => self.metadata.insert(name, value.into()).is_none(),
            OptionName::Prefix => self.prefix.replace(value.into()).is_none(),
            OptionName::Subset => {
                let size = value.parse().map_err(|_| TargetProblem::Subset)?;
                self.subset.replace(size).is_none()
            }
            OptionName::Zone => self.zone.replace(value.into()).is_none(),
        })
    }

    /// The options that are set, in one order: the name, the metadata that it ends in, the value.
    pub(super) fn pairs(&self) -> Vec<(&'static str, Option<&str>, String)> {
        let balancer = self.balancer.map(|it| ("balancer", None, it.to_string()));
        let format = self.format.as_ref();
        let format = format.map(|it| ("format", None, it.to_string()));
        let metadata = self.metadata.iter().map(|(name, value)| match &**name {
            VERSION => (VERSION, None, value.to_string()),
            name => (METADATA, Some(name), value.to_string()),
        });
        let prefix = self
            .prefix
            .as_ref()
            .map(|it| ("prefix", None, it.to_string()));
        let subset = self.subset.map(|it| ("subset", None, it.to_string()));
        let zone = self.zone.as_ref().map(|it| ("zone", None, it.to_string()));
        let pairs = balancer.into_iter().chain(format).chain(metadata);
        pairs.chain(prefix).chain(subset).chain(zone).collect()
    }
}

/// What an option sets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum OptionName {
    Balancer,
    Format,
    Metadata(Box<str>),
    Prefix,
    Subset,
    Zone,
}

impl OptionName {
    /// All of them, for messages.
    pub(super) const ALL: [&str; 7] = [
        "balancer",
        "format",
        "metadata.NAME",
        "prefix",
        "subset",
        VERSION,
        "zone",
    ];

    pub(super) fn new(name: &str) -> Option<Self> {
        Some(match name {
            "balancer" => Self::Balancer,
            "format" => Self::Format,
            "prefix" => Self::Prefix,
            "subset" => Self::Subset,
            VERSION => Self::Metadata(VERSION.into()),
            "zone" => Self::Zone,
            name => match name.strip_prefix(METADATA)? {
                "" => return None,
                name => Self::Metadata(name.into()),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Target;
    use sd_core::{Endpoint, FixedEndpointer, Instance, Key, NoEndpoints};

    fn options(query: &str) -> TargetOptions {
        let target: Target = format!("memory:///hello?{query}").parse().unwrap();
        target.options().clone()
    }

    /// `a` to `h`: the first four in the north, every other one of version 2, `a` of a tenant.
    fn all() -> FixedEndpointer<()> {
        let endpoint = |index: usize, name: &str| {
            let instance = Instance::new(Key::new(name).unwrap(), format!("{name}:80"))
                .with_zone(if index < 4 { "north" } else { "south" })
                .with_metadata("version", (index % 2 + 1).to_string());
            let instance = match name {
                "a" => instance.with_metadata("tenant", "acme"),
                _ => instance,
            };
            Endpoint::new(instance, ())
        };
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        FixedEndpointer::new(
            names
                .iter()
                .enumerate()
                .map(|(index, name)| endpoint(index, name)),
        )
    }

    fn selected(query: &str) -> Result<String, NoEndpoints> {
        let selected = options(query).select(all());
        let endpoints = selected.endpoints();
        let endpoints = endpoints.non_empty()?.iter();
        Ok(endpoints.map(|endpoint| endpoint.key().as_str()).collect())
    }

    #[tokio::test]
    async fn the_options_choose_the_endpoints() {
        for (query, expected) in [
            ("", "abcdefgh"),
            ("version=2", "bdfh"),
            ("metadata.version=1&metadata.tenant=acme", "a"),
            ("zone=north", "abcd"),
            ("zone=nowhere", "abcdefgh"),
        ] {
            assert_eq!(selected(query).unwrap(), expected, "{query}");
        }
        let subset = selected("subset=3&version=2").unwrap();
        assert_eq!(subset.len(), 3);
        assert!(subset.chars().all(|name| "bdfh".contains(name)), "{subset}");
    }

    #[tokio::test]
    async fn nobody_else_is_called_where_the_metadata_fits_nobody() {
        for query in [
            "version=3",
            "metadata.tenant=other",
            "version=2&metadata.tenant=acme",
        ] {
            let none = selected(query).unwrap_err();
            assert!(matches!(none, NoEndpoints::NoLane { .. }), "{none}");
        }
    }
}
