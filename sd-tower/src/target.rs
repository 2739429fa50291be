//! Targets: registry, service and options in one string.
//!
//! A string becomes a [`Target`] (`parse.rs`, out of `text.rs`), and a target a source of instances
//! (`resolvers.rs`). Nothing here calls anything.

mod authority;
mod balancer_kind;
mod error;
mod format;
mod options;
mod parse;
#[cfg(test)]
mod properties;
mod resolved;
mod resolvers;
#[cfg(test)]
mod tests;
mod text;

#[cfg(feature = "etcd")]
mod etcd;

pub use authority::Authority;
pub use balancer_kind::BalancerKind;
pub use error::{TargetError, TargetProblem};
#[cfg(feature = "etcd")]
pub use etcd::EtcdResolver;
pub use options::TargetOptions;
pub use resolved::ResolvedTarget;
pub use resolvers::{ResolveError, Resolvers};

use sd_core::{Client, Format, Instancer, Invalid, Prefix};
use std::{fmt, str::FromStr, sync::Arc};

/// What to call, as a string: registry, service and options. For a command line, an environment
/// variable or a configuration file.
///
/// ```
/// use sd_tower::{BalancerKind, Target};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let target: Target = "etcd://10.0.0.1:2379,10.0.0.2/hello?version=v1&balancer=random".parse()?;
/// assert_eq!(target.scheme(), "etcd");
/// assert_eq!(target.authorities()[1].or_port(2379), "10.0.0.2:2379");
/// assert_eq!(target.service(), "hello");
/// assert_eq!(target.prefix().as_str(), "/services/hello/");
/// assert_eq!(target.options().balancer(), Some(BalancerKind::Random));
/// # Ok(())
/// # }
/// ```
///
/// # Syntax
/// `scheme://host:port,host:port/service?option=value&option=value`
///
/// - The **scheme** names the kind of registry; [`Resolvers`] know what it stands for.
/// - The **authorities** are the registry's addresses, as many as it has members. A port may be left
///   out where the scheme has a default. IPv6 addresses are in brackets. A registry that has no
///   address, such as one in the process, has none: `memory:///hello`.
/// - The **service** is a path, since names may be nested: `team/hello`. Its instances are at
///   `/services/<service>/<instance>`, the toolkit's layout. The option `prefix` is for others, and the option
///   `format` for fleets of other frameworks.
/// - An **option** is one of these:
///
/// | option | means | default |
/// |---|---|---|
/// | `balancer` | `round_robin`, `random`, `weighted`, `weighted_random`, `least_loaded` or `consistent_hash` | that of the program |
/// | `format` | in whose way instances are registered, with the feature `formats`: a name and options as `sd_formats::by_name` takes them, with `%26` for `&`: `format=kratos`, `format=kratos?scheme=http%26namespace=/prod` | the toolkit's values, at every depth below the service |
/// | `metadata.NAME` | only instances whose metadata has this value under `NAME` | all |
/// | `prefix` | where the services are: `prefix=/other` for `/other/<service>/<instance>`, an empty value for `<service>/<instance>` | `/services` |
/// | `subset` | a subset of so many instances | all |
/// | `version` | the same as `metadata.version` | all |
/// | `zone` | the zone of the caller, in which calls stay as far as possible | none |
///
/// Several pieces of metadata must all fit. Where nobody has them, calls fail with
/// [`NoEndpoints::NoLane`](sd_core::NoEndpoints::NoLane); they never go to others.
///
/// In the service and in options, characters other than ASCII letters, digits and
/// `-._~!$'()*+,;=:/`, and `?` in options, are percent-encoded UTF-8: `%40` for `@`. A `+` stands for itself.
///
/// # What does not belong into it
/// Credentials. A target ends up in logs, in the list of processes and in the shell's history. So a
/// user or a password in it is an error, whose text does not repeat it. Credentials, and how
/// connections to the registry are encrypted, are given to what resolves the scheme, such as
/// `EtcdResolver`.
///
/// # Text
/// [`Display`](fmt::Display) writes the target in one normal form, which parses to an equal target.
/// [`Debug`](fmt::Debug) writes the same in quotes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Target {
    scheme: Box<str>,
    authorities: Box<[Authority]>,
    service: Box<str>,
    /// Of the instances: the option `prefix` or `format`, and the service.
    prefix: Prefix,
    options: TargetOptions,
}

impl Target {
    /// The scheme, in small letters.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The addresses of the registry, in the order in which they were given.
    pub fn authorities(&self) -> &[Authority] {
        &self.authorities
    }

    /// The name of the service, a path without a `/` at its ends.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The format of the option `format`, for instancers with options of their own
    /// ([`Instancer::builder_of`]). `None` without that option.
    pub fn format(&self) -> Option<Arc<dyn Format>> {
        // It was read before, so it can be read.
        format::named(self.options.format()?).ok()
    }

    /// An instancer of the target's instances on `client`: under its prefix, in its format. For
    /// [`Resolvers::with`].
    ///
    /// # Errors
    /// None, as the format and the name were checked when the target was read; their type is that of [`Instancer::of`].
    ///
    /// # Panics
    /// Outside of a tokio runtime, as [`Instancer::new`] does.
    pub fn instancer(&self, client: impl Client) -> Result<Instancer, Invalid> {
        match self.format() {
            Some(format) => Instancer::of(client, &format, &self.service),
            None => Ok(Instancer::new(client, self.prefix.clone())),
        }
    }

    /// The prefix of the instances' keys: where the services are, and the service.
    pub fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// Which instances are called, and which of them next.
    pub fn options(&self) -> &TargetOptions {
        &self.options
    }
}

impl FromStr for Target {
    type Err = TargetError;

    /// # Errors
    /// What is wrong, and where.
    fn from_str(text: &str) -> Result<Self, TargetError> {
        parse::target(text).map_err(|problem| TargetError::new(text, problem))
    }
}

impl TryFrom<&str> for Target {
    type Error = TargetError;

    fn try_from(text: &str) -> Result<Self, TargetError> {
        text.parse()
    }
}

impl TryFrom<String> for Target {
    type Error = TargetError;

    fn try_from(text: String) -> Result<Self, TargetError> {
        text.parse()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        for (index, authority) in self.authorities.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{authority}")?;
        }
        write!(f, "/{}", text::encoded(&self.service))?;
        for (index, (name, metadata, value)) in self.options.pairs().into_iter().enumerate() {
            f.write_str(if index == 0 { "?" } else { "&" })?;
            f.write_str(name)?;
            if let Some(metadata) = metadata {
                write!(f, "{}", text::encoded(metadata))?;
            }
            write!(f, "={}", text::encoded(&value))?;
        }
        Ok(())
    }
}

/// The text of the target.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}
