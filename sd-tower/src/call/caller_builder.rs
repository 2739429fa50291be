//! What the builders of channels and services have in common.

use super::{caller::Caller, classifier::Classifier, policy::CallPolicy, protocol::Protocol};
use crate::target::{BalancerKind, ResolvedTarget, TargetOptions};
use sd_core::{
    Balancer, Connectable, Ejection, EndpointSource, Endpointer, EndpointerBuilder, Factory,
    Reachable, ReachableStatus, Source, StatusReceiver,
};
use std::{fmt, sync::Arc};

/// The endpoints of a caller.
type SharedEndpoints<T> = Arc<dyn EndpointSource<Target = T>>;

/// Builds a [`Caller`] over the instances of a source: an endpointer, below [`Reachable`], below
/// what a target selects, below a balancer.
pub(crate) struct CallerBuilder<T, Code> {
    source: Arc<dyn Source>,
    target: TargetOptions,
    /// `None`: that of the target, else the default one.
    balancer: Option<MakeBalancer<T>>,
    endpointer: Configure<T>,
    pub(crate) policy: CallPolicy<Code>,
    policies: Vec<(Box<str>, CallPolicy<Code>)>,
    pub(crate) classifier: Option<Classifier<Code>>,
}

/// A caller, and what it calls.
pub(crate) struct Built<T, P: Protocol> {
    pub(crate) caller: Caller<T, P>,
    /// Those that can be reached.
    pub(crate) endpoints: SharedEndpoints<T>,
    pub(crate) reachable: StatusReceiver<ReachableStatus>,
}

type MakeBalancer<T> = Box<dyn FnOnce(SharedEndpoints<T>) -> Arc<dyn Balancer<Target = T>> + Send>;
type Configure<T> = Box<dyn FnOnce(EndpointerBuilder<T>) -> EndpointerBuilder<T> + Send>;

impl<T, Code> CallerBuilder<T, Code>
where
    T: Connectable + Send + Sync + 'static,
{
    pub(crate) fn new(source: impl Source) -> Self {
        Self {
            source: Arc::new(source),
            target: TargetOptions::default(),
            balancer: None,
            endpointer: Box::new(|endpointer| endpointer),
            policy: CallPolicy::default(),
            policies: Vec::new(),
            classifier: None,
        }
    }

    /// With the options of the target.
    pub(crate) fn of(target: ResolvedTarget) -> Self {
        let options = target.options().clone();
        Self {
            target: options,
            ..Self::new(target)
        }
    }

    pub(crate) fn balancer<B>(
        &mut self,
        make: impl FnOnce(SharedEndpoints<T>) -> B + Send + 'static,
    ) where
        B: Balancer<Target = T> + 'static,
    {
        self.balancer = Some(Box::new(|endpoints| Arc::new(make(endpoints))));
    }

    pub(crate) fn policy_of(&mut self, method: &str, policy: CallPolicy<Code>) {
        self.policies.push((method.into(), policy));
    }

    pub(crate) fn endpointer(
        &mut self,
        configure: impl FnOnce(EndpointerBuilder<T>) -> EndpointerBuilder<T> + Send + 'static,
    ) {
        self.endpointer = Box::new(configure);
    }

    /// Spawns the tasks.
    pub(crate) fn build<P>(self, protocol: P, factory: impl Factory<Target = T>) -> Built<T, P>
    where
        P: Protocol<Code = Code>,
    {
        let endpointer = (self.endpointer)(Endpointer::builder(self.source, factory)).build();
        let endpoints = Reachable::new(endpointer);
        let reachable = endpoints.status();
        let endpoints: SharedEndpoints<T> = Arc::new(endpoints);
        let selected: SharedEndpoints<T> = self.target.select(endpoints.clone()).into();
        let balancer = match self.balancer {
            Some(make) => make(selected),
            None => {
                let kind = self.target.balancer().unwrap_or(BalancerKind::LeastLoaded);
                kind.over(Ejection::new(selected)).into()
            }
        };
        let caller = Caller::new(
            protocol,
            balancer,
            self.policy,
            self.policies,
            self.classifier,
        );
        Built {
            caller,
            endpoints,
            reachable,
        }
    }
}

impl<T, Code: fmt::Debug> fmt::Debug for CallerBuilder<T, Code> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerBuilder")
            .field("policy", &self.policy)
            .field("policies", &self.policies)
            .finish_non_exhaustive()
    }
}
