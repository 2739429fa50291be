//! From a target to a source of instances.

use super::{Target, TargetError, resolved::ResolvedTarget};
use sd_core::{BoxError, Escaped, Source};
use std::{collections::BTreeMap, convert::Infallible, fmt, sync::Arc};

type Resolve = dyn Fn(&Target) -> Result<Arc<dyn Source>, BoxError> + Send + Sync;

/// What the schemes of targets stand for: the counterpart of gRPC's name resolvers.
///
/// With the feature `etcd`, `etcd` is there from the start, for an etcd without users and
/// encryption; see `EtcdResolver`. Programs add others, or replace it:
///
/// ```
/// use sd_core::Source;
/// use sd_memory::Registry;
/// use sd_tower::Resolvers;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::new();
/// let resolvers = Resolvers::new().with("memory", move |target| {
///     Ok(target.instancer(registry.client())?)
/// });
/// let hello = resolvers.resolve("memory:///hello?version=v1")?;
/// hello.ready().await?;
/// # Ok(())
/// # }
/// ```
///
/// Cheap to clone; clones are resolved by the same functions.
#[derive(Clone)]
pub struct Resolvers(BTreeMap<Box<str>, Arc<Resolve>>);

impl Resolvers {
    /// The schemes of the crate's features.
    pub fn new() -> Self {
        let resolvers = Self(BTreeMap::new());
        #[cfg(feature = "etcd")]
        let resolvers = {
            let etcd = super::EtcdResolver::default();
            resolvers.with("etcd", move |target| Ok(etcd.resolve(target)?))
        };
        resolvers
    }

    /// Resolves targets of this scheme with `resolve`, from now on. It gives a source of the
    /// instances under [`Target::prefix`] and in [`Target::format`], as [`Target::instancer`] does. The other
    /// [`Target::options`] are not its concern. Schemes are in small letters.
    ///
    /// `resolve` is called for each target. Where it makes clients of a registry, it should share
    /// them between targets.
    #[must_use]
    pub fn with<S: Source>(
        mut self,
        scheme: impl Into<Box<str>>,
        resolve: impl Fn(&Target) -> Result<S, BoxError> + Send + Sync + 'static,
    ) -> Self {
        let resolve = move |target: &Target| -> Result<Arc<dyn Source>, BoxError> {
            Ok(Arc::new(resolve(target)?))
        };
        self.0.insert(scheme.into(), Arc::new(resolve));
        self
    }

    /// Follows the instances that a target names. The target may be a string.
    ///
    /// Does not wait for the registry: [`Source::ready`] of what it returns does.
    ///
    /// # Errors
    /// [`ResolveError`]: the string is not a target, nothing is known of its scheme, or the resolver
    /// failed. An etcd that cannot be reached is no error here.
    ///
    /// # Panics
    /// Outside of a tokio runtime, for most schemes.
    pub fn resolve<T>(&self, target: T) -> Result<ResolvedTarget, ResolveError>
    where
        T: TryInto<Target>,
        ResolveError: From<T::Error>,
    {
        let target = target.try_into()?;
        let Some(resolve) = self.0.get(target.scheme()) else {
            return Err(ResolveError::UnknownScheme {
                scheme: target.scheme().into(),
                known: self.0.keys().cloned().collect(),
            });
        };
        match resolve(&target) {
            Ok(source) => Ok(ResolvedTarget::new(target, source)),
            Err(source) => Err(ResolveError::Resolver {
                target: target.into(),
                source,
            }),
        }
    }
}

impl Default for Resolvers {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Resolvers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Resolvers").field(&self.0.keys()).finish()
    }
}

/// Why a target was not resolved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The string is not a target.
    #[error(transparent)]
    Target(#[from] TargetError),

    /// There is no resolver for the scheme.
    #[error("nothing resolves {}://{}; {}", Escaped(.scheme), hint(.scheme), listed(.known))]
    UnknownScheme {
        /// The scheme of the target.
        scheme: Box<str>,
        /// Those that there are resolvers for.
        known: Vec<Box<str>>,
    },

    /// The resolver of the scheme failed.
    #[error("cannot resolve {}", Escaped(.target))]
    Resolver {
        /// What it was asked for.
        target: Box<Target>,
        /// What it said.
        source: BoxError,
    },
}

fn hint(scheme: &str) -> &'static str {
    match scheme {
        "etcd" => " without the feature `etcd` of sd-tower",
        _ => "",
    }
}

fn listed(schemes: &[Box<str>]) -> String {
    match schemes {
        [] => "no scheme is known".into(),
        schemes => format!("the schemes are {}", schemes.join(", ")),
    }
}

impl From<Infallible> for ResolveError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sd_core::{FixedInstancer, Registrar, Service};
    use sd_memory::Registry;

    fn memory(registry: &Registry) -> Resolvers {
        let registry = registry.clone();
        Resolvers::new().with("memory", move |target| {
            Ok(target.instancer(registry.client())?)
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_resolved_target_follows_its_service_and_no_other() {
        let registry = Registry::new();
        let client = registry.client();
        let mut registrars = Vec::new();
        for key in ["/services/hello/a", "/services/hello2/b", "/other/hello/c"] {
            let service = Service::new(key, "10.0.0.1:80").unwrap();
            let registrar = Registrar::new(client.clone(), service);
            registrar.register().await.unwrap();
            registrars.push(registrar);
        }
        let resolvers = memory(&registry);
        for (target, key) in [
            ("memory:///hello", "/services/hello/a"),
            ("memory:///hello?prefix=/other", "/other/hello/c"),
        ] {
            let resolved = resolvers.resolve(target).unwrap();
            assert_eq!(resolved.target().to_string(), target);
            resolved.ready().await.unwrap();
            let state = resolved.state().unwrap();
            let keys: Vec<_> = state
                .instances()
                .iter()
                .map(|it| it.key().as_str())
                .collect();
            assert_eq!(keys, [key]);
        }
        let hello = resolvers.resolve("memory:///hello".to_owned()).unwrap();
        hello.ready().await.unwrap();
        registrars.remove(0).deregister().await.unwrap();
        hello
            .until(|event| event.instances().is_empty())
            .await
            .unwrap();
        registry.freeze();
        hello
            .until(|event| !event.health().is_live())
            .await
            .unwrap();
        assert!(hello.trouble().is_some());
    }

    #[test]
    fn what_cannot_be_resolved_says_why() {
        let resolvers = Resolvers::new()
            .with("memory", |_| Ok(FixedInstancer::new([])))
            .with("broken", |_| {
                Err::<FixedInstancer, _>("out of order".into())
            });
        let failed = |target: &str| resolvers.resolve(target).unwrap_err();

        assert!(matches!(failed("memory://"), ResolveError::Target(_)));
        let unknown = failed("consul://a/hello").to_string();
        assert!(
            unknown.starts_with("nothing resolves consul://; the schemes are broken, "),
            "{unknown}"
        );
        let broken = failed("broken:///hello?version=v1");
        assert_eq!(
            broken.to_string(),
            "cannot resolve broken:///hello?version=v1"
        );
        let source = std::error::Error::source(&broken).map(ToString::to_string);
        assert_eq!(source.as_deref(), Some("out of order"));
    }

    #[test]
    fn a_later_resolver_of_a_scheme_replaces_the_earlier() {
        let resolvers = Resolvers::new()
            .with("memory", |_| Err::<FixedInstancer, _>("the earlier".into()))
            .with("memory", |_| Ok(FixedInstancer::new([])));
        let known = resolvers.resolve("memory:///hello").unwrap().state();
        assert!(known.is_some());
    }

    #[cfg(not(feature = "etcd"))]
    #[test]
    fn an_etcd_without_the_feature_is_explained() {
        let error = Resolvers::new()
            .resolve("etcd://a/hello")
            .unwrap_err()
            .to_string();
        assert!(error.contains("feature `etcd`"), "{error}");
    }
}
