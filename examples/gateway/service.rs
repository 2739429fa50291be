//! A service: its instances, and the clients that call them.

use crate::{
    calls::CallCounts,
    upstream::{EndpointHealth, Upstream},
};
use http::uri::Authority;
use sd_core::{NoEndpoints, Source};
use sd_tower::{Channel, GrpcTarget, HttpService, HttpTarget};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

/// A service that requests can be passed on to.
pub(crate) struct Service {
    name: Box<str>,
    /// For the URIs of its requests.
    authority: Authority,
    source: Arc<dyn Source>,
    calls: Arc<CallCounts>,
    answer_timeout: Duration,
    http: Upstream<HttpService, HttpTarget>,
    /// Made for the first call, since it connects to each instance at once.
    grpc: OnceLock<Upstream<Channel, GrpcTarget>>,
}

impl Service {
    pub(crate) fn new(name: &str, source: Arc<dyn Source>, answer_timeout: Duration) -> Self {
        let calls = Arc::<CallCounts>::default();
        Self {
            authority: authority(name),
            name: name.into(),
            http: Upstream::http(&source, &calls, answer_timeout),
            grpc: OnceLock::new(),
            source,
            calls,
            answer_timeout,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(crate) fn source(&self) -> &dyn Source {
        &*self.source
    }

    pub(crate) fn calls(&self) -> &CallCounts {
        &self.calls
    }

    /// The client for HTTP, as soon as the instances are known.
    pub(crate) async fn http(&self) -> &HttpService {
        self.http.client().await
    }

    /// The channel for gRPC, as soon as the instances are known.
    pub(crate) async fn grpc(&self) -> &Channel {
        let make = || Upstream::grpc(&self.source, &self.calls, self.answer_timeout);
        self.grpc.get_or_init(make).client().await
    }

    /// Why nobody can be called over HTTP, if that is so.
    pub(crate) fn none(&self) -> Option<NoEndpoints> {
        self.http.none()
    }

    /// What is known about the health of its endpoints, for each protocol that was used.
    pub(crate) fn health(&self) -> impl Iterator<Item = EndpointHealth> {
        let grpc = self.grpc.get().map(Upstream::health);
        std::iter::once(self.http.health()).chain(grpc)
    }
}

/// The name, where it can be the host of a URI.
fn authority(name: &str) -> Authority {
    let is_host = |it: &Authority| it.as_str() == it.host();
    let named = Authority::try_from(name).ok().filter(is_host);
    named.unwrap_or_else(|| Authority::from_static("service"))
}
