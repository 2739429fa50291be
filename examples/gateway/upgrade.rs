//! Upgrades: connections that stop speaking HTTP, as WebSockets do.

use crate::{headers::options, tasks::Tasks};
use axum::body::Body;
use http::{
    HeaderMap, HeaderValue, Request, Response, Version,
    header::{CONNECTION, UPGRADE},
};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

/// An upgrade that a client has asked for.
pub(crate) struct Upgrade {
    protocol: HeaderValue,
    client: OnUpgrade,
}

impl Upgrade {
    /// The upgrade that a request asks for. HTTP/2 is none: it would be spoken past the gateway.
    pub(crate) fn requested(request: &mut Request<Body>) -> Option<Self> {
        let protocol = request.headers().get(UPGRADE)?.clone();
        let protocols = options(request.headers(), UPGRADE);
        let is_http =
            |protocol: &String| protocol.starts_with("h2") || protocol.starts_with("http");
        if request.version() != Version::HTTP_11
            || !options(request.headers(), CONNECTION).contains(&"upgrade".into())
            || protocols.iter().any(is_http)
        {
            return None;
        }
        let client = hyper::upgrade::on(request);
        Some(Self { protocol, client })
    }

    /// Asks the service for it.
    pub(crate) fn ask(&self, headers: &mut HeaderMap) {
        announce(headers, self.protocol.clone());
    }

    /// The service has changed to this protocol: connects the client with it, once the client has the
    /// response.
    pub(crate) fn connect<B>(
        self,
        response: &mut Response<B>,
        protocol: HeaderValue,
        tasks: &Tasks,
    ) {
        announce(response.headers_mut(), protocol);
        let (client, server) = (self.client, hyper::upgrade::on(response));
        tasks.spawn(async move {
            let (client, server) = tokio::try_join!(client, server)?;
            let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
            // Fails if one of them has gone. With its end the other one is closed.
            let _ = copy_bidirectional(&mut client, &mut server).await;
            Ok::<_, hyper::Error>(())
        });
    }
}

fn announce(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}
