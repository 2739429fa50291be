//! Checks: whether a program is well.

use super::reaper::Reaper;
use crate::plain_http;
use rustix::process::Signal;
use sd_core::ErrorChain;
use std::{
    process::{Command, Stdio},
    str::FromStr,
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};
use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// How it is found out whether a program is well. `None` of an address: the one that is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Check {
    /// It is while it runs.
    None,
    /// Somebody accepts connections there.
    Tcp { address: Option<String> },
    /// A GET of the path is answered with 2xx or 3xx.
    Http {
        address: Option<String>,
        path: String,
    },
    /// gRPC's health service says SERVING of this service.
    Grpc { service: String },
    /// The command, run by a shell, ends with 0.
    Exec { command: String },
}

impl FromStr for Check {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let given = (!rest.is_empty()).then(|| rest.to_owned());
        match (kind, given) {
            ("none", None) => Ok(Self::None),
            ("tcp", address) => Ok(Self::Tcp { address }),
            ("http", None) => Ok(Self::Http {
                address: None,
                path: "/".into(),
            }),
            ("http", Some(rest)) => match rest.strip_prefix("//") {
                None if rest.starts_with('/') => Ok(Self::Http {
                    address: None,
                    path: rest,
                }),
                None => Err(
                    "http: is followed by a path (http:/health) or a URL (http://host:port/health)"
                        .into(),
                ),
                Some(url) => {
                    let (address, path) = url.split_once('/').unwrap_or((url, ""));
                    Ok(Self::Http {
                        address: Some(address.into()),
                        path: format!("/{path}"),
                    })
                }
            },
            ("grpc", service) => Ok(Self::Grpc {
                service: service.unwrap_or_default(),
            }),
            ("exec", Some(command)) => Ok(Self::Exec { command }),
            _ => Err(
                "it is none of none, tcp, http:/PATH, grpc, grpc:SERVICE and exec:COMMAND".into(),
            ),
        }
    }
}

impl Check {
    /// Checks once. `address` is the one that is registered.
    ///
    /// # Errors
    /// Why the program is not well, in words.
    pub(crate) async fn run(
        &self,
        reaper: &Reaper,
        address: &str,
        limit: Duration,
    ) -> Result<(), String> {
        // Of a URL, host and port are called.
        let authority = |text: &str| match sd_core::Address::try_from(text) {
            Ok(address) => format!("{}:{}", bracketed(address.host()), address.port()),
            Err(_) => text.to_owned(),
        };
        let at = |own: &Option<String>| authority(own.as_deref().unwrap_or(address));
        let checked = async {
            match self {
                Self::None => Ok(()),
                Self::Tcp { address } => tcp(&at(address)).await,
                Self::Http { address, path } => http(&at(address), path).await,
                Self::Grpc { service } => grpc(&authority(address), service).await,
                Self::Exec { command } => exec(reaper, command).await,
            }
        };
        let late = |_| Err(format!("no answer within {limit:?}"));
        timeout(limit, checked).await.unwrap_or_else(late)
    }
}

fn bracketed(host: &str) -> String {
    match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

async fn tcp(address: &str) -> Result<(), String> {
    let connected = TcpStream::connect(address).await;
    connected
        .map(drop)
        .map_err(|error| format!("{address}: {error}"))
}

async fn http(address: &str, path: &str) -> Result<(), String> {
    let (status, _) = plain_http::get(address, path).await?;
    match status.is_success() || status.is_redirection() {
        true => Ok(()),
        false => Err(format!("http://{address}{path}: {status}")),
    }
}

async fn grpc(address: &str, service: &str) -> Result<(), String> {
    let failed = |error: &dyn std::error::Error| format!("grpc://{address}: {}", ErrorChain(error));
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let channel = endpoint.map_err(|error| failed(&error))?.connect().await;
    let mut health = HealthClient::new(channel.map_err(|error| failed(&error))?);
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = health
        .check(request)
        .await
        .map_err(|status| failed(&status))?;
    match answer.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        other => Err(format!("grpc://{address}: {}", other.as_str_name())),
    }
}

async fn exec(reaper: &Reaper, command: &str) -> Result<(), String> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]);
    shell
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let process = reaper
        .spawn(&mut shell)
        .map_err(|error| format!("sh: {error}"))?;
    // Also what the shell has started, and also if nobody waits any longer.
    let mut process = KilledOnDrop(process);
    match process.0.ended().await {
        0 => Ok(()),
        status => Err(format!("{command}: exit status {status}")),
    }
}

struct KilledOnDrop(super::reaper::Process);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        self.0.signal_group(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_a_word_and_what_belongs_to_it() {
        let parsed = |text: &str| text.parse::<Check>();
        let http = |address: Option<&str>, path: &str| Check::Http {
            address: address.map(str::to_owned),
            path: path.to_owned(),
        };
        assert_eq!(parsed("none"), Ok(Check::None));
        assert_eq!(parsed("tcp"), Ok(Check::Tcp { address: None }));
        assert_eq!(
            parsed("tcp:127.0.0.1:9"),
            Ok(Check::Tcp {
                address: Some("127.0.0.1:9".into())
            })
        );
        assert_eq!(parsed("http:/health"), Ok(http(None, "/health")));
        assert_eq!(
            parsed("http://127.0.0.1:9/a/b"),
            Ok(http(Some("127.0.0.1:9"), "/a/b"))
        );
        assert_eq!(
            parsed("http://127.0.0.1:9"),
            Ok(http(Some("127.0.0.1:9"), "/"))
        );
        assert_eq!(
            parsed("grpc"),
            Ok(Check::Grpc {
                service: String::new()
            })
        );
        assert_eq!(
            parsed("exec:test -e x"),
            Ok(Check::Exec {
                command: "test -e x".into()
            })
        );
        for bad in ["", "exec", "exec:", "http:health", "udp", "none:x"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }
}
