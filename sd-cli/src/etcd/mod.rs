//! What an operator asks etcd and a service never does: revisions, leases, members, alarms, rights.
//!
//! Over `etcd-client` itself. The toolkit's own client is for all that a service does too.

mod leases;
mod listing;

pub(crate) use leases::Lease;
pub(crate) use listing::{Listing, RawEntry, end_of};

use crate::{
    failure::{Failure, Outcome},
    output::waiting,
    settings::{Settings, TlsFiles},
};
use etcd_client::{Certificate, Client, ConnectOptions, Error, Identity, TlsOptions};
use sd_core::Escaped;
use std::fs;
use tokio::time::timeout;

/// A connection to one member of etcd.
#[derive(Clone)]
pub(crate) struct Etcd {
    client: Client,
    namespace: String,
}

impl Etcd {
    /// Connects to the first of the endpoints that answers.
    pub(crate) async fn connect(settings: &Settings) -> Outcome<Self> {
        let mut failed = None;
        for endpoint in &settings.endpoints {
            let what = format_args!("waiting for {}", Escaped(endpoint));
            match waiting(what, Self::connect_to(settings, endpoint)).await {
                Ok(etcd) => return Ok(etcd),
                Err(failure) => failed = Some(failure.of(endpoint)),
            }
        }
        Err(failed.unwrap_or_else(|| Failure::new("no endpoint of etcd is given")))
    }

    /// Connects to this endpoint, and waits for its first answer.
    pub(crate) async fn connect_to(settings: &Settings, endpoint: &str) -> Outcome<Self> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(settings.timeout)
            .with_timeout(settings.timeout);
        if let Some((name, password)) = &settings.user {
            options = options.with_user(name, password);
        }
        if endpoint.starts_with("https://") {
            let files = settings.tls.clone().unwrap_or_default();
            options = options.with_tls(tls(&files)?);
        }
        // etcd takes its time for an authentication, and there may be many at once.
        let limit = settings.timeout * 2;
        let connected = timeout(limit, async {
            let mut client = match Client::connect([endpoint], Some(options.clone())).await {
                Err(error) if is_without_auth(&error) => {
                    let mut anonymous = ConnectOptions::new()
                        .with_connect_timeout(settings.timeout)
                        .with_timeout(settings.timeout);
                    if endpoint.starts_with("https://") {
                        anonymous =
                            anonymous.with_tls(tls(&settings.tls.clone().unwrap_or_default())?);
                    }
                    Client::connect([endpoint], Some(anonymous)).await
                }
                connected => connected,
            }?;
            match client.status().await {
                Ok(_) => {}
                // An answer too: from 3.6 on, only an administrator is told more.
                Err(error) if is_denied(&error) => {}
                Err(error) => return Err(error.into()),
            }
            Ok::<_, Failure>(client)
        });
        let client = match connected.await {
            Ok(connected) => connected?,
            Err(_) => return Err(sd_core::Error::timeout("the first request", limit).into()),
        };
        Ok(Self {
            client,
            namespace: settings.namespace.clone(),
        })
    }

    /// The client, for single questions. Its keys have the namespace.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The key as etcd has it.
    pub(crate) fn key(&self, key: &str) -> Vec<u8> {
        format!("{}{key}", self.namespace).into_bytes()
    }
}

/// Whether etcd has answered that this user may not ask that.
pub(crate) fn is_denied(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status) if status.code() == tonic::Code::PermissionDenied)
}

/// Whether a user was shown to an etcd that has no users.
fn is_without_auth(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status) if status.message().contains("authentication is not enabled"))
}

fn tls(files: &TlsFiles) -> Outcome<TlsOptions> {
    let read = |path: &std::path::PathBuf| {
        fs::read(path).map_err(|error| Failure::from(error).of(path.display()))
    };
    let mut options = TlsOptions::new();
    options = match &files.ca {
        Some(ca) => options.ca_certificate(Certificate::from_pem(read(ca)?)),
        None => options.with_enabled_roots(),
    };
    if let Some((cert, key)) = &files.identity {
        options = options.identity(Identity::from_pem(read(cert)?, read(key)?));
    }
    if let Some(name) = &files.name {
        options = options.domain_name(name);
    }
    Ok(options)
}
