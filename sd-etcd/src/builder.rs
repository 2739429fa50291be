//! The options of a client, checked before anything is sent.

#[cfg(feature = "tls")]
use crate::tls::{self, Tls};
use crate::{
    EtcdClient,
    config::{Config, Namespace, invalid},
};
use sd_core::Result;
use std::{fmt, time::Duration};

/// Options of an [`EtcdClient`], made by [`EtcdClient::builder`].
///
/// The defaults suit a registry in the same data centre: a member that does not answer is given up
/// after three to five seconds.
///
/// ```
/// use sd_etcd::EtcdClient;
/// use std::time::Duration;
///
/// # async fn example() -> sd_core::Result<()> {
/// let client = EtcdClient::builder(["http://10.0.0.1:2379", "http://10.0.0.2:2379"])
///     .user("discovery", "secret")
///     .namespace("/production")
///     .request_timeout(Duration::from_secs(2))
///     .build()?;
/// # client.close().await;
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until `build`"]
#[derive(Clone)]
pub struct EtcdClientBuilder {
    config: Config,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

impl EtcdClientBuilder {
    pub(crate) fn new(endpoints: Vec<String>) -> Self {
        Self {
            config: Config {
                endpoints,
                connect: etcd_client::ConnectOptions::new(),
                anonymous: etcd_client::ConnectOptions::new(),
                user: None,
                namespace: Namespace::default(),
                dial_timeout: Duration::from_secs(2),
                request_timeout: Duration::from_secs(4),
                deregister_timeout: Duration::from_secs(3),
                probe_interval: Duration::from_secs(1),
                probe_timeout: Duration::from_secs(3),
                ping: (Duration::from_secs(10), Duration::from_secs(5)),
                page: 1000,
                max_request_bytes: 3 * 512 * 1024,
                max_message_bytes: 64 * 1024 * 1024,
            },
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Authenticates as this user. Default: nobody.
    ///
    /// An etcd without authentication serves everybody, this user too, which is logged: so
    /// authentication can be enabled, and disabled, under programs that run.
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.config.user = Some((name.into(), password.into()));
        self
    }

    /// Encrypts, and authenticates by certificate. Default: plain text for `http://` endpoints, and
    /// [`Tls::new`] for `https://` ones.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Puts `path` before every key of this client, unseen by its users. It is taken as it is: the
    /// key `/svc/a` in the namespace `/production` is etcd's `/production/svc/a`, and nobody adds a
    /// `/`. Default: none.
    pub fn namespace(mut self, path: impl Into<String>) -> Self {
        self.config.namespace = Namespace::new(path.into());
        self
    }

    /// How long connecting and authenticating may take. Default 2 s.
    pub fn dial_timeout(mut self, timeout: Duration) -> Self {
        self.config.dial_timeout = timeout;
        self
    }

    /// How long one request may take; then the next member is tried by the next request. A put is
    /// given up earlier if a deregistration waits that another member can still answer in time.
    /// Default 4 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.config.request_timeout = timeout;
        self
    }

    /// How long a deregistration waits for an answer, and `close` for its revocations.
    /// Default 3 s.
    pub fn deregister_timeout(mut self, timeout: Duration) -> Self {
        self.config.deregister_timeout = timeout;
        self
    }

    /// The liveness of watches: after `interval` without a word etcd is asked for one; unanswered
    /// for a third of `interval` is a disruption, and for `timeout` an interruption, after which
    /// the next member is tried. Default 1 s and 3 s.
    ///
    /// `interval` is to be half of the shortest TTL among the providers, or less, as the default is
    /// for [`Ttl::MIN`](sd_core::Ttl::MIN). A lease is prolonged every TTL / 3, so when etcd freezes
    /// it has at least 2/3 TTL left: a shorter freeze costs no lease, and a longer one must have
    /// been noticed before etcd, thawed, removes what hung on it, or consumers believe the removals
    /// at once instead of waiting for the grace period. A disruption is noticed 4/3 of `interval`
    /// after the last word: with half of the TTL that is 2/3 TTL.
    ///
    /// Where no request for progress is answered (etcd's gRPC proxy), one key is read instead, as
    /// often.
    pub fn liveness(mut self, interval: Duration, timeout: Duration) -> Self {
        self.config.probe_interval = interval;
        self.config.probe_timeout = timeout;
        self
    }

    /// HTTP/2 pings: how often, and how long an answer may take. etcd closes connections that ping
    /// more than once in 5 s. Default 10 s and 5 s.
    pub fn keep_alive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.config.ping = (interval, timeout);
        self
    }

    /// How many entries are asked for at once when a prefix is listed. Default 1,000; halved by
    /// itself where they are too large.
    pub fn page_size(mut self, entries: u32) -> Self {
        self.config.page = i64::from(entries);
        self
    }

    /// etcd's `--max-request-bytes`, to refuse larger entries before they are sent.
    /// Default 1.5 MiB, as etcd's.
    pub fn max_request_bytes(mut self, bytes: usize) -> Self {
        self.config.max_request_bytes = bytes;
        self
    }

    /// The largest answer that is read. Default 64 MiB.
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.config.max_message_bytes = bytes;
        self
    }

    /// A client with these options. Nothing is sent until it is used; call it within a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`Invalid::Config`](sd_core::Invalid::Config) if there is no endpoint, one is not a URL, a
    /// certificate cannot be read, or the options contradict each other.
    pub fn build(self) -> Result<EtcdClient> {
        let Self { mut config, .. } = self;
        #[cfg(feature = "tls")]
        let is_tls_configured = self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let is_tls_configured = false;
        let is_https = |endpoint: &String| endpoint.starts_with("https://");
        let encrypted = is_tls_configured || config.endpoints.iter().any(is_https);

        if config.endpoints.is_empty() {
            return Err(invalid("at least one endpoint is needed"));
        }
        for endpoint in &mut config.endpoints {
            *endpoint = checked(endpoint, encrypted)?;
        }
        if config.ping.0 < Duration::from_secs(5) {
            return Err(invalid(
                "etcd closes connections that ping more than once in 5 s",
            ));
        }
        if config.page < 1 {
            return Err(invalid("a page has at least one entry"));
        }
        let zero = [
            config.dial_timeout,
            config.request_timeout,
            config.deregister_timeout,
            config.probe_interval,
            config.probe_timeout,
        ]
        .contains(&Duration::ZERO);
        if zero {
            return Err(invalid("a timeout of zero never succeeds"));
        }

        let mut connect = etcd_client::ConnectOptions::new()
            .with_connect_timeout(config.dial_timeout)
            .with_keep_alive(config.ping.0, config.ping.1)
            .with_keep_alive_while_idle(false)
            .with_tcp_keepalive(config.ping.0)
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        #[cfg(feature = "tls")]
        if encrypted {
            let tls = self.tls.unwrap_or_default().options()?;
            tls::check(&config.endpoints[0], &tls)?;
            connect = connect.with_tls(tls);
        }
        config.anonymous = connect.clone();
        if let Some((name, password)) = &config.user {
            connect = connect.with_user(name, password);
        }
        config.connect = connect;
        Ok(EtcdClient::start(config))
    }
}

impl fmt::Debug for EtcdClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdClientBuilder")
            .field("endpoints", &self.config.endpoints)
            .finish_non_exhaustive()
    }
}

/// The endpoint with its scheme, if it can be one.
fn checked(endpoint: &str, encrypted: bool) -> Result<String> {
    let (scheme, authority) = match endpoint.split_once("://") {
        Some((scheme, rest)) => (scheme, rest.trim_end_matches('/')),
        None if encrypted => ("https", endpoint),
        None => ("http", endpoint),
    };
    match scheme {
        "http" if encrypted => {
            return Err(invalid(format!(
                "the endpoint {endpoint} is plain text, but TLS is configured, or others are \
                 https://: use https:// for all"
            )));
        }
        "https" if cfg!(not(feature = "tls")) => {
            return Err(invalid(format!(
                "the endpoint {endpoint} needs the feature `tls` of sd-etcd"
            )));
        }
        "http" | "https" => {}
        _ => {
            return Err(invalid(format!(
                "the endpoint {endpoint} is neither http:// nor https://"
            )));
        }
    }
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    let has_port = port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let graphic = authority.bytes().all(|byte| byte.is_ascii_graphic());
    if !has_port || !graphic || authority.starts_with(':') || authority.contains('/') {
        return Err(invalid(format!(
            "the endpoint {endpoint:?} is not host:port, such as http://127.0.0.1:2379"
        )));
    }
    Ok(format!("{scheme}://{authority}"))
}

#[cfg(test)]
impl Config {
    /// The defaults, for an etcd that is never asked.
    pub(crate) fn unchecked() -> Self {
        EtcdClientBuilder::new(vec!["http://127.0.0.1:1".into()]).config
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sd_core::Error;

    #[test]
    fn endpoints_are_checked_before_anything_is_sent() {
        for (given, expected) in [
            ("http://127.0.0.1:2379", Some("http://127.0.0.1:2379")),
            ("http://127.0.0.1:2379/", Some("http://127.0.0.1:2379")),
            ("etcd.local:2379", Some("http://etcd.local:2379")),
            ("http://[::1]:2379", Some("http://[::1]:2379")),
            ("", None),
            ("http://", None),
            ("etcd.local", None),
            ("etcd.local:0", None),
            ("etcd.local:http", None),
            ("ftp://etcd.local:2379", None),
            ("http://a b:2379", None),
            ("http://a/b:2379", None),
        ] {
            assert_eq!(checked(given, false).ok().as_deref(), expected, "{given:?}");
        }
    }

    #[test]
    fn tls_never_falls_back_to_plain_text() {
        assert!(checked("http://127.0.0.1:2379", true).is_err());
        #[cfg(feature = "tls")]
        assert_eq!(
            checked("127.0.0.1:2379", true).unwrap(),
            "https://127.0.0.1:2379"
        );
        #[cfg(not(feature = "tls"))]
        assert!(checked("https://127.0.0.1:2379", false).is_err());
    }

    #[test]
    fn contradictions_are_refused() {
        let builder = || EtcdClientBuilder::new(vec!["http://127.0.0.1:2379".into()]);
        let none = EtcdClientBuilder::new(vec![]);
        for bad in [
            none,
            builder().keep_alive(Duration::from_secs(1), Duration::from_secs(1)),
            builder().page_size(0),
            builder().request_timeout(Duration::ZERO),
        ] {
            assert!(matches!(bad.build(), Err(Error::Invalid(_))));
        }
    }
}
