//! The options of a service of reqwest.

use super::{ReqwestEndpoints, ReqwestService, target::ReqwestTarget};
use crate::{
    call::{CallPolicy, CallerBuilder, Classifier},
    connection::ConnectOptions,
    http::protocol::Http,
};
use http::StatusCode;
use reqwest::ClientBuilder;
use sd_core::{Balancer, EndpointerBuilder, Outcome, factory_fn};
use std::{fmt, sync::Arc};

/// The options of a [`ReqwestService`]: those of
/// [`HttpServiceBuilder`](crate::HttpServiceBuilder), and those of reqwest's client.
#[must_use = "nothing happens before `build`"]
pub struct ReqwestServiceBuilder {
    caller: CallerBuilder<ReqwestTarget, StatusCode>,
    client: Box<Configure>,
    connect: ConnectOptions,
}

type Configure = dyn Fn(ClientBuilder) -> ClientBuilder + Send + Sync;

impl ReqwestServiceBuilder {
    pub(super) fn new(caller: CallerBuilder<ReqwestTarget, StatusCode>) -> Self {
        Self {
            caller,
            client: Box::new(|client| client),
            connect: ConnectOptions::default(),
        }
    }

    /// The options of the client of each endpoint. Its resolver, proxies, redirects and retries are
    /// set afterwards. Cookies are shared by all endpoints if they are given a common store.
    pub fn client(
        mut self,
        configure: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static,
    ) -> Self {
        self.client = Box::new(configure);
        self
    }

    /// How endpoints are connected to: the limit of time, and the pauses after failures. The other
    /// options are reqwest's.
    pub fn connect(mut self, options: ConnectOptions) -> Self {
        self.connect = options;
        self
    }

    /// See [`HttpServiceBuilder::balancer`](crate::HttpServiceBuilder::balancer).
    pub fn balancer<B>(mut self, make: impl FnOnce(ReqwestEndpoints) -> B + Send + 'static) -> Self
    where
        B: Balancer<Target = ReqwestTarget> + 'static,
    {
        self.caller.balancer(make);
        self
    }

    /// The policy of requests that have no other one.
    pub fn policy(mut self, policy: CallPolicy<StatusCode>) -> Self {
        self.caller.policy = policy;
        self
    }

    /// See [`HttpServiceBuilder::policy_of`](crate::HttpServiceBuilder::policy_of).
    pub fn policy_of(mut self, path: &str, policy: CallPolicy<StatusCode>) -> Self {
        self.caller.policy_of(path, policy);
        self
    }

    /// See [`HttpServiceBuilder::outcome`](crate::HttpServiceBuilder::outcome).
    pub fn outcome(
        mut self,
        classify: impl Fn(&StatusCode) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        self.caller.classifier = Some(Classifier::new::<Http>(classify));
        self
    }

    /// Other options of the [`Endpointer`](sd_core::Endpointer) than the default ones.
    pub fn endpointer(
        mut self,
        configure: impl FnOnce(EndpointerBuilder<ReqwestTarget>) -> EndpointerBuilder<ReqwestTarget>
        + Send
        + 'static,
    ) -> Self {
        self.caller.endpointer(configure);
        self
    }

    /// Starts the service: spawns its tasks, and returns at once. If a client cannot be built, its
    /// endpoint is missing, and calls say why if there is no other.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn build(self) -> ReqwestService {
        let (client, connect) = (self.client, self.connect);
        let factory = factory_fn(move |instance| {
            ReqwestTarget::new(instance.address(), connect.clone(), &client)
        });
        ReqwestService(Arc::new(self.caller.build(Http, factory)))
    }
}

impl fmt::Debug for ReqwestServiceBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestServiceBuilder")
            .field("caller", &self.caller)
            .field("connect", &self.connect)
            .finish_non_exhaustive()
    }
}
