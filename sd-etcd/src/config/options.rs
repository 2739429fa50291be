//! The options of a client.

#[cfg(feature = "tls")]
use super::tls::Tls;
use super::{credentials::Credentials, endpoint::Endpoint, namespace::Namespace, resolve::Resolve};
use crate::errors::invalid_config;
use sd_core::Result;
use std::{sync::Arc, time::Duration};

/// The largest answer that is read when several entries are asked for. A larger one takes so long
/// on a slow network that the member looks frozen.
const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;

/// A longer duration is as good as for ever, and sums of it would overflow.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Members do not change more often.
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);

/// The options of a client. [`check`](Self::check) completes them before they are used.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) endpoints: Vec<String>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
    pub(crate) credentials: Option<Arc<dyn Credentials>>,
    /// Endpoints without TLS are refused.
    pub(crate) requires_tls: bool,
    /// An etcd without users is refused.
    pub(crate) requires_auth: bool,
    /// The system's if there is none.
    pub(crate) resolver: Option<Arc<dyn Resolve>>,
    /// How often the cluster is asked for its members, if at all.
    pub(crate) member_refresh: Option<Duration>,
    pub(crate) namespace: Namespace,
    pub(crate) dial_timeout: Duration,
    pub(crate) authentication_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) deregister_timeout: Duration,
    pub(crate) probe_interval: Duration,
    pub(crate) probe_timeout: Duration,
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
    pub(crate) page_size: i64,
    pub(crate) max_list_entries: usize,
    pub(crate) max_list_bytes: usize,
    pub(crate) list_timeout: Duration,
    pub(crate) max_request_bytes: usize,
    pub(crate) max_message_bytes: usize,
    /// Whether connections are encrypted; set by [`check`](Self::check).
    pub(crate) is_encrypted: bool,
}

impl Options {
    pub(crate) fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            #[cfg(feature = "tls")]
            tls: None,
            credentials: None,
            requires_tls: false,
            requires_auth: false,
            resolver: None,
            member_refresh: None,
            namespace: Namespace::default(),
            dial_timeout: Duration::from_secs(2),
            authentication_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(4),
            deregister_timeout: Duration::from_secs(3),
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_secs(3),
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(5),
            page_size: 1000,
            max_list_entries: 500_000,
            max_list_bytes: 256 * 1024 * 1024,
            list_timeout: Duration::from_secs(120),
            max_request_bytes: 3 * 512 * 1024,
            max_message_bytes: 64 * 1024 * 1024,
            is_encrypted: false,
        }
    }

    /// Checks the options, completes them, and returns them with the endpoints. Sends nothing.
    ///
    /// # Errors
    /// [`Invalid::Config`](sd_core::Invalid::Config), as
    /// [`EtcdClientBuilder::build`](crate::EtcdClientBuilder::build) documents it.
    pub(crate) fn check(mut self) -> Result<(Self, Vec<Endpoint>)> {
        self.is_encrypted = self.is_encrypted();
        let endpoints = self.members(&self.endpoints)?;
        if self.requires_tls && !self.is_encrypted {
            return Err(invalid_config(
                "TLS is required, and the endpoints are plain text: use https://",
            ));
        }
        if self.requires_auth && self.credentials.is_none() {
            return Err(invalid_config(
                "authentication is required, and there is no user: use `EtcdClientBuilder::user`",
            ));
        }
        self.check_limits()?;
        #[cfg(feature = "tls")]
        if self.is_encrypted {
            let tls = self.tls.get_or_insert_default();
            for endpoint in &endpoints {
                tls.read(endpoint.host())?;
            }
        }
        Ok((self, endpoints))
    }

    /// Reads the endpoints of the members, as users write them.
    pub(crate) fn members(&self, endpoints: &[String]) -> Result<Vec<Endpoint>> {
        if endpoints.is_empty() {
            return Err(invalid_config("at least one endpoint is needed"));
        }
        let endpoints = endpoints.iter();
        endpoints
            .map(|endpoint| Endpoint::new(endpoint, self.is_encrypted))
            .collect()
    }

    /// Refuses limits with which nothing works, and caps what is too long.
    fn check_limits(&mut self) -> Result<()> {
        if self.ping_interval < Duration::from_secs(5) {
            return Err(invalid_config(
                "etcd closes connections that ping more than once in 5 s",
            ));
        }
        if self.page_size < 1 {
            return Err(invalid_config("a page has at least one entry"));
        }
        let bytes = [
            self.max_request_bytes,
            self.max_message_bytes,
            self.max_list_bytes,
        ];
        if bytes.contains(&0) || self.max_list_entries == 0 {
            return Err(invalid_config("a limit of zero lets nothing through"));
        }
        let durations = [
            &mut self.dial_timeout,
            &mut self.authentication_timeout,
            &mut self.request_timeout,
            &mut self.deregister_timeout,
            &mut self.list_timeout,
            &mut self.probe_interval,
            &mut self.probe_timeout,
            &mut self.ping_interval,
            &mut self.ping_timeout,
        ];
        for duration in durations.into_iter().chain(&mut self.member_refresh) {
            if duration.is_zero() {
                return Err(invalid_config("a timeout of zero never succeeds"));
            }
            *duration = LONGEST.min(*duration);
        }
        self.member_refresh = self.member_refresh.map(|it| it.max(SHORTEST_REFRESH));
        Ok(())
    }

    fn is_encrypted(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return true;
        }
        let mut endpoints = self.endpoints.iter();
        endpoints.any(|endpoint| endpoint.starts_with("https://"))
    }

    /// Returns the timeout of a request that a deregistration waits for. It is short enough for a
    /// second attempt at another member within the deregister timeout.
    pub(crate) fn short_timeout(&self) -> Duration {
        self.request_timeout.min(self.deregister_timeout / 2)
    }

    /// Returns the largest answer, in bytes, that is read when `entries` entries are asked for.
    pub(crate) fn answer_limit(&self, entries: usize) -> usize {
        match entries {
            1 => self.max_message_bytes,
            _ => self.max_message_bytes.min(MAX_PAGE_BYTES),
        }
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Options {
    /// The defaults, for an etcd that is never asked.
    pub(crate) fn unchecked() -> Self {
        Self::new(vec!["http://127.0.0.1:1".into()])
    }
}
