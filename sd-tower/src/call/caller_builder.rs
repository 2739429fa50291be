//! What the builders of channels and services have in common.

use super::{caller::Caller, policy::CallPolicy, protocol::Protocol};
use sd_core::{
    Balancer, Connectable, Ejection, EndpointSource, Endpointer, EndpointerBuilder, Factory,
    LeastLoaded, Reachable, Source,
};
use std::{fmt, sync::Arc};

/// The endpoints of a caller.
type SharedEndpoints<T> = Arc<dyn EndpointSource<Target = T>>;

/// Builds a [`Caller`] over the instances of a source: an endpointer, below [`Reachable`], below a
/// balancer.
pub(crate) struct CallerBuilder<T, Code> {
    source: Arc<dyn Source>,
    balancer: MakeBalancer<T>,
    endpointer: Configure<T>,
    pub(crate) policy: CallPolicy<Code>,
    policies: Vec<(Box<str>, CallPolicy<Code>)>,
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
            balancer: Box::new(|endpoints| Arc::new(LeastLoaded::new(Ejection::new(endpoints)))),
            endpointer: Box::new(|endpointer| endpointer),
            policy: CallPolicy::default(),
            policies: Vec::new(),
        }
    }

    pub(crate) fn balancer<B>(
        &mut self,
        make: impl FnOnce(SharedEndpoints<T>) -> B + Send + 'static,
    ) where
        B: Balancer<Target = T> + 'static,
    {
        self.balancer = Box::new(|endpoints| Arc::new(make(endpoints)));
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

    /// Spawns the tasks. Returns the endpoints too.
    pub(crate) fn build<P>(
        self,
        protocol: P,
        factory: impl Factory<Target = T>,
    ) -> (Caller<T, P>, SharedEndpoints<T>)
    where
        P: Protocol<Code = Code>,
    {
        let endpointer = (self.endpointer)(Endpointer::builder(self.source, factory)).build();
        let endpoints: SharedEndpoints<T> = Arc::new(Reachable::new(endpointer));
        let balancer = (self.balancer)(endpoints.clone());
        let caller = Caller::new(protocol, balancer, self.policy, self.policies);
        (caller, endpoints)
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
