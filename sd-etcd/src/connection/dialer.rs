//! New connections to the addresses behind an endpoint.

use super::{authenticator::Token, channel, resolver::SystemResolver, resolver::in_order};
use crate::{
    config::{Endpoint, Options, Resolve},
    errors,
};
use etcd_client::{Client, Error as EtcdError};
use sd_core::{Error, ErrorChain, Escaped, Result};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint as ChannelBuilder};

/// Connects to one address at a time. Shared by the connections of a client.
pub(crate) struct Dialer {
    options: Arc<Options>,
    resolver: Arc<dyn Resolve>,
    token: Option<Arc<Token>>,
    /// What each name was resolved to last.
    known: Mutex<HashMap<String, Vec<SocketAddr>>>,
}

/// A new connection.
pub(super) struct Dialed {
    pub(super) client: Client,
    pub(super) address: SocketAddr,
    /// The addresses of the endpoint that were not tried.
    pub(super) rest: Vec<SocketAddr>,
}

impl Dialer {
    pub(crate) fn new(options: Arc<Options>, token: Option<Arc<Token>>) -> Self {
        let resolver = options.resolver.clone();
        Self {
            resolver: resolver.unwrap_or_else(|| Arc::new(SystemResolver::default())),
            options,
            token,
            known: Mutex::default(),
        }
    }

    /// Connects to the first of `addresses` that accepts. They are those of `endpoint` that are left
    /// to try; if there are none, its name is resolved.
    ///
    /// # Errors
    /// That of the address that was tried last.
    pub(super) async fn dial(
        &self,
        endpoint: &Endpoint,
        mut addresses: Vec<SocketAddr>,
    ) -> Result<Dialed> {
        if addresses.is_empty() {
            addresses = self.addresses(endpoint).await?;
        }
        let mut rest = addresses.into_iter();
        let mut failed = Error::unavailable(format!("{endpoint}: the name has no address"));
        while let Some(address) = rest.next() {
            match self.connect(endpoint, address).await {
                Ok(client) => {
                    return Ok(Dialed {
                        client,
                        address,
                        rest: rest.collect(),
                    });
                }
                Err(error) => {
                    tracing::debug!(endpoint = %Escaped(endpoint), address = %Escaped(address), error = %ErrorChain(&error), "not connected");
                    failed = error;
                }
            }
        }
        Err(failed)
    }

    /// Returns the addresses of `endpoint`; where its name cannot be resolved now, those that were
    /// known last.
    async fn addresses(&self, endpoint: &Endpoint) -> Result<Vec<SocketAddr>> {
        if let Some(ip) = endpoint.ip() {
            return Ok(vec![SocketAddr::new(ip, endpoint.port())]);
        }
        let limit = self.options.dial_timeout;
        let resolving = self.resolver.resolve(endpoint.host(), endpoint.port());
        let error = match timeout(limit, resolving).await {
            Ok(Ok(addresses)) if !addresses.is_empty() => {
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(endpoint.url().to_owned(), addresses.clone());
                return Ok(in_order(addresses));
            }
            Ok(Ok(_)) => Error::unavailable(format!("{endpoint}: the name has no address")),
            Ok(Err(error)) => {
                Error::unavailable(format!("{endpoint}: the name cannot be resolved: {error}"))
            }
            Err(_) => Error::unavailable(format!(
                "{endpoint}: the name cannot be resolved: no answer within {limit:?}"
            )),
        };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(addresses) = known.get(endpoint.url()).cloned() else {
            return Err(error);
        };
        tracing::debug!(endpoint = %Escaped(endpoint), error = %ErrorChain(&error), ?addresses, "using the addresses that were known last");
        Ok(in_order(addresses))
    }

    async fn connect(&self, endpoint: &Endpoint, address: SocketAddr) -> Result<Client> {
        let failed = |error: EtcdError| errors::translate_at(endpoint.url(), true, error);
        let builder = self.builder(endpoint, address).await?;
        let limit = self.options.dial_timeout;
        let channel: Channel = timeout(limit, builder.connect())
            .await
            .map_err(|_| Error::Timeout {
                operation: "connect",
                after: limit,
            })?
            .map_err(|error| failed(error.into()))?;
        let client = channel::client(channel, self.token.clone()).await;
        client.map_err(failed)
    }

    /// Returns a builder of a connection to `address` that shows and verifies the name of
    /// `endpoint`.
    async fn builder(&self, endpoint: &Endpoint, address: SocketAddr) -> Result<ChannelBuilder> {
        let options = &self.options;
        let unusable = |error: &dyn std::error::Error| {
            Error::unavailable(format!("{endpoint}: {address} cannot be used: {error}"))
        };
        let uri = format!("{}://{address}", endpoint.scheme());
        let origin = endpoint.url().parse();
        let builder = ChannelBuilder::from_shared(uri)
            .map_err(|error| unusable(&error))?
            .origin(origin.map_err(|error: http::uri::InvalidUri| unusable(&error))?)
            .connect_timeout(options.dial_timeout)
            .http2_keep_alive_interval(options.ping_interval)
            .keep_alive_timeout(options.ping_timeout)
            .keep_alive_while_idle(false)
            .tcp_keepalive(Some(options.ping_interval));
        #[cfg(feature = "tls")]
        if options.is_encrypted
            && let Some(tls) = options.tls.clone()
        {
            let host = endpoint.host().to_owned();
            // Files, perhaps on a file system that hangs.
            let read = crate::support::run_detached("sd-etcd-tls", move || tls.read(&host));
            let tls = timeout(options.dial_timeout, read).await;
            let tls = tls
                .map_err(|_| Error::Timeout {
                    operation: "read of certificates",
                    after: options.dial_timeout,
                })?
                .map_err(|error| unusable(&error))?
                // Somebody may be in the middle of replacing them.
                .map_err(|error| unusable(&error))?;
            return builder.tls_config(tls).map_err(|error| unusable(&error));
        }
        Ok(builder)
    }
}
