//! A channel to one address that adds the token to each request.

use super::authenticator::Token;
use etcd_client::{Channel, Client, ConnectOptions, Error};
use http::Request;
use std::sync::Arc;
use tonic::body::Body;
use tower::{BoxError, ServiceExt, util::BoxCloneSyncService};

/// The header that etcd reads the token from.
const HEADER: &str = "token";
/// Sent without a token: the current one may have been refused.
const AUTHENTICATE: &str = "/etcdserverpb.Auth/Authenticate";

/// Returns a client that sends the current token with each request.
///
/// So both connections of a client share a token, and every request sent after a new one was granted
/// has the new one. A stream keeps the token that it was opened with.
pub(super) async fn client(
    channel: tonic::transport::Channel,
    token: Option<Arc<Token>>,
) -> Result<Client, Error> {
    let service = channel.map_err(BoxError::from);
    let service = service.map_request(move |mut request: Request<Body>| {
        if request.uri().path() != AUTHENTICATE
            && let Some(token) = token.as_ref().and_then(|token| token.get())
        {
            request.headers_mut().insert(HEADER, token);
        }
        request
    });
    let channel = Channel::Custom(BoxCloneSyncService::new(service));
    // Without a user this resolves at once.
    let options = ConnectOptions::new().with_require_leader(true);
    Client::from_channel(channel, Some(options)).await
}
