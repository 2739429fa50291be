//! The way to one address, with the token on each request.

use super::authenticator::Token;
use etcd_client::{Channel, Client, ConnectOptions, Error};
use http::Request;
use std::sync::Arc;
use tonic::body::Body;
use tower::{BoxError, ServiceExt, util::BoxCloneSyncService};

/// Where etcd looks for a token.
const HEADER: &str = "token";
/// How a token is obtained. The one that is left may have been refused.
const AUTHENTICATE: &str = "/etcdserverpb.Auth/Authenticate";

/// Returns a client whose requests show the token of the moment.
///
/// So both connections of a client share a token, and a new one is shown at once by whatever is sent
/// after it was granted. A stream keeps the one that it was opened with.
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
