//! The builder of a client.

#[cfg(feature = "tls")]
use crate::config::Tls;
use crate::{
    client::EtcdClient,
    config::{Credentials, Namespace, Options, Resolve, User, without_credentials},
};
use sd_core::Result;
use std::{fmt, sync::Arc, time::Duration};

/// Options of an [`EtcdClient`]. Made by [`EtcdClient::builder`].
///
/// The defaults suit a registry in the same data centre: a member that does not answer is given up
/// after three to five seconds.
///
/// # Limits
/// Whoever may write below a prefix, and an etcd that lies, cost a client no more than this:
///
/// | limit | option | default | past it |
/// |---|---|---|---|
/// | one answer | [`max_message_bytes`](Self::max_message_bytes) | 64 MiB; 8 MiB for several entries | smaller pages; an error for one entry |
/// | one list | [`list_limits`](Self::list_limits) | 500,000 entries, 256 MiB | an error; what is known stays |
/// | one list, in time | [`list_timeout`](Self::list_timeout) | 2 min | the connection is given up |
/// | what has changed and is not handed over, of one watch | [`max_message_bytes`](Self::max_message_bytes) | 64 MiB | the watch ends, and resumes or lists again |
/// | one request | [`max_request_bytes`](Self::max_request_bytes) | 1.5 MiB | refused before it is sent |
///
/// So a client holds at most `lists * 256 MiB + watches * 2 * 64 MiB + 64 MiB` of what it has not handed
/// over, where `lists` is how many run at once.
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
    options: Options,
}

impl EtcdClient {
    /// Creates a client with the default options. Short for [`builder`](Self::builder) and
    /// [`build`](EtcdClientBuilder::build), which says what it starts.
    ///
    /// # Errors
    /// [`Invalid::Config`](sd_core::Invalid::Config) if there is no endpoint or one is not a URL.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn connect<S: Into<String>>(endpoints: impl IntoIterator<Item = S>) -> Result<Self> {
        Self::builder(endpoints).build()
    }

    /// Returns a builder for a client of these endpoints, such as `http://10.0.0.1:2379`.
    pub fn builder<S: Into<String>>(endpoints: impl IntoIterator<Item = S>) -> EtcdClientBuilder {
        let endpoints = endpoints.into_iter().map(Into::into).collect();
        EtcdClientBuilder {
            options: Options::new(endpoints),
        }
    }
}

impl EtcdClientBuilder {
    /// Authenticates as this user. Default: no user.
    ///
    /// An etcd without authentication serves every user, which is logged. So authentication can be
    /// turned on and off while programs run. [`require_auth`](Self::require_auth) refuses such an etcd.
    ///
    /// Without TLS the password can be read on the network, which is logged unless etcd is on this
    /// machine. [`require_tls`](Self::require_tls) refuses that.
    ///
    /// An authentication costs etcd about 90 ms of one of its cores. So a client authenticates once for
    /// both of its connections, and again only when etcd refuses the token.
    pub fn user(self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials(User::new(name, password))
    }

    /// Like [`user`](Self::user), with a source that is asked at each authentication, so that the
    /// password can be changed while the client runs.
    ///
    /// Credentials that etcd refuses are an error for all who use the client. They are shown again
    /// after a pause of 1 s, and ever more rarely up to 30 s.
    pub fn credentials(mut self, source: impl Credentials) -> Self {
        self.options.credentials = Some(Arc::new(source));
        self
    }

    /// Refuses endpoints without TLS, also those of [`set_endpoints`](EtcdClient::set_endpoints) and
    /// of [`follow_members`](Self::follow_members). Default: both are taken, as long as all are alike.
    ///
    /// So no mistake in a configuration sends entries or a password in plain text.
    pub fn require_tls(mut self) -> Self {
        self.options.requires_tls = true;
        self
    }

    /// Refuses an etcd that says that it has authentication turned off. Default: it is taken, with a
    /// warning.
    ///
    /// Whoever serves in etcd's place cannot make a client go on without its user then: calls return
    /// [`Error::Unauthenticated`](sd_core::Error::Unauthenticated), and the client asks again after a
    /// pause of at most 30 s. That is logged and counted like credentials that etcd refuses. Needs a
    /// [`user`](Self::user).
    pub fn require_auth(mut self) -> Self {
        self.options.requires_auth = true;
        self
    }

    /// Resolves the names of endpoints with `resolver`. Default: the system's resolver.
    ///
    /// A name may have several addresses: each is tried before the next endpoint is. It is resolved
    /// anew in each round. With the system's resolver a lookup that hangs holds up neither the client
    /// nor the end of the process.
    pub fn resolver(mut self, resolver: impl Resolve) -> Self {
        self.options.resolver = Some(Arc::new(resolver));
        self
    }

    /// Asks the cluster for its members about every `interval`, which is 1 s at least, and connects to
    /// those, too. Default: only the given endpoints.
    ///
    /// The members' client URLs (`--advertise-client-urls`) have to be reachable from here; those
    /// that are not are tried like any member that is down. The given endpoints stay in use. The
    /// first question is asked as soon as the client is built, on the connection for reads.
    pub fn follow_members(mut self, interval: Duration) -> Self {
        self.options.member_refresh = Some(interval);
        self
    }

    /// Encrypts the connections. Default: plain text for `http://` endpoints, and [`Tls::new`] for
    /// `https://` ones.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.options.tls = Some(tls);
        self
    }

    /// Prefixes every key of this client, unseen by its users. Default: none.
    ///
    /// The path is used as it is: in the namespace `/production`, the key `/svc/a` is etcd's
    /// `/production/svc/a`. No `/` is added: in a namespace that does not end in one, a key or prefix that
    /// does not begin with one is refused ([`Invalid::Config`](sd_core::Invalid::Config)), since `uction/a`
    /// in `/prod` would be a key of `/production`.
    ///
    /// A namespace keeps programs from disturbing each other by mistake. It isolates nobody: only roles of
    /// etcd, granted for the namespace with its `/`, keep a client from the keys of others.
    pub fn namespace(mut self, path: impl Into<String>) -> Self {
        self.options.namespace = Namespace::new(path.into());
        self
    }

    /// Sets how long each step of connecting may take: resolving a name, reading certificates,
    /// connecting to one address, the first answer before an authentication. Default 2 s.
    pub fn dial_timeout(mut self, timeout: Duration) -> Self {
        self.options.dial_timeout = timeout;
        self
    }

    /// Sets how long an authentication may take, apart from connecting and from the request that waits
    /// for it. Default 60 s.
    ///
    /// A fleet that loses its tokens, as at a restart of etcd, is authenticated all at once: 600
    /// processes keep two cores of etcd busy for half a minute. Giving up earlier makes it take
    /// longer, since etcd finishes what it was asked for. So a longer time is allowed after one that
    /// was too short, up to four times as long.
    pub fn authentication_timeout(mut self, timeout: Duration) -> Self {
        self.options.authentication_timeout = timeout;
        self
    }

    /// Sets how long one request may take. After that the next request goes to the next member.
    /// Default 4 s.
    ///
    /// A put is given up earlier while a deregistration waits for it, so that another member can
    /// answer in time.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.options.request_timeout = timeout;
        self
    }

    /// Sets how long a deregistration waits for an answer, and [`EtcdClient::close`] for the
    /// revocation of its leases. Default 3 s.
    pub fn deregister_timeout(mut self, timeout: Duration) -> Self {
        self.options.deregister_timeout = timeout;
        self
    }

    /// Sets how fast a silent etcd is noticed by watches. Default 1 s and 3 s.
    ///
    /// After `interval` without a message, etcd is asked for one. No answer for a third of
    /// `interval` is a disruption. No answer for `timeout` is an interruption, and the next member
    /// is tried.
    ///
    /// `interval` has to be at most half of the shortest TTL among the providers, as the default is
    /// for [`Ttl::MIN`](sd_core::Ttl::MIN). The reason: a lease is renewed every TTL / 3, so a freeze
    /// that costs a lease lasts at least 2/3 TTL. It has to be noticed before etcd, thawed, removes
    /// the keys of that lease; else consumers apply the removals at once instead of after the grace
    /// period. A disruption is noticed 4/3 `interval` after the last message, which is 2/3 TTL for an
    /// `interval` of half the TTL.
    ///
    /// etcd's gRPC proxy does not answer requests for progress. There one key is read instead, as
    /// often.
    pub fn liveness(mut self, interval: Duration, timeout: Duration) -> Self {
        self.options.probe_interval = interval;
        self.options.probe_timeout = timeout;
        self
    }

    /// Sets how often HTTP/2 pings are sent, and how long their answer may take. Default 10 s and
    /// 5 s. etcd closes connections that ping more than once in 5 s.
    pub fn keep_alive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.options.ping_interval = interval;
        self.options.ping_timeout = timeout;
        self
    }

    /// Sets how many entries one request lists. Default 1,000. The client asks for fewer by itself
    /// where the answers are too large.
    pub fn page_size(mut self, entries: u32) -> Self {
        self.options.page_size = i64::from(entries);
        self
    }

    /// Sets the size of the largest request. Larger entries are refused before they are sent. Has to
    /// match etcd's `--max-request-bytes`. Default 1.5 MiB, as etcd's.
    pub fn max_request_bytes(mut self, bytes: usize) -> Self {
        self.options.max_request_bytes = bytes;
        self
    }

    /// Sets the size of the largest answer that is read, and how much is held of what has changed and
    /// a watch has not handed over, in bytes. Default 64 MiB.
    ///
    /// Of a key that changes again and again only the last values are held. A reader that lets this much
    /// wait is interrupted. Where more has changed at once than that, the watch ends with
    /// [`Gap::Overflow`](sd_core::Gap::Overflow), and its instancer lists again.
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.options.max_message_bytes = bytes;
        self
    }

    /// Sets how large the list of one prefix may become: in entries, and in bytes of keys, values and
    /// about 100 for each entry. Default 500,000 entries and 256 MiB, which is 20 times what 100,000
    /// entries of 130 bytes take.
    ///
    /// A prefix with more is not listed: the error is transient, an instancer keeps what it knows, and
    /// the lists that were given up are [counted](crate::telemetry::LISTS_OVER_LIMIT).
    pub fn list_limits(mut self, entries: usize, bytes: usize) -> Self {
        self.options.max_list_entries = entries;
        self.options.max_list_bytes = bytes;
        self
    }

    /// Sets how long a list, or the fragments of one change, may take with all their parts. Default 2
    /// minutes. Each request has its own [timeout](Self::request_timeout) beside it. A list asks for its pages in turn
    /// with the other lists of the client, 64 at once; the wait for a turn does not count.
    pub fn list_timeout(mut self, timeout: Duration) -> Self {
        self.options.list_timeout = timeout;
        self
    }

    /// Builds the client.
    ///
    /// Spawns one task, which serves the client's watches. The first registration with a given TTL
    /// spawns one more. [`EtcdClient::close`] ends them and waits for them. Dropping the last handle
    /// of the client ends them too.
    ///
    /// Sends nothing, unless it [follows the members](Self::follow_members). The first request
    /// connects.
    ///
    /// # Errors
    /// [`Invalid::Config`](sd_core::Invalid::Config) if there is no endpoint, an endpoint is not a
    /// URL or has a password in it, a certificate cannot be read, or the options contradict each other.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn build(self) -> Result<EtcdClient> {
        let (options, endpoints) = self.options.check()?;
        Ok(EtcdClient::start(options, endpoints))
    }
}

impl fmt::Debug for EtcdClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints = self.options.endpoints.iter();
        let endpoints = endpoints.map(|endpoint| without_credentials(endpoint));
        f.debug_struct("EtcdClientBuilder")
            .field("endpoints", &endpoints.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sd_core::Error;

    /// hostile row 11
    #[test]
    fn a_builder_shows_no_password_of_an_endpoint() {
        let builder = EtcdClient::builder(["http://root:secret@10.0.0.1:2379", "10.0.0.2:2379"]);
        let shown = format!("{builder:?}");
        assert!(
            shown.contains("10.0.0.2:2379") && !shown.contains("secret"),
            "{shown}"
        );
    }

    #[test]
    fn contradictions_are_refused() {
        let builder = || EtcdClient::builder(["http://127.0.0.1:2379"]);
        let none = EtcdClient::builder::<String>([]);
        for bad in [
            none,
            builder().keep_alive(Duration::from_secs(1), Duration::from_secs(1)),
            builder().page_size(0),
            builder().request_timeout(Duration::ZERO),
            builder().authentication_timeout(Duration::ZERO),
            builder().keep_alive(Duration::from_secs(10), Duration::ZERO),
            builder().follow_members(Duration::ZERO),
            builder().max_request_bytes(0),
            builder().max_message_bytes(0),
            builder().list_limits(0, 1),
            builder().list_limits(1, 0),
            builder().list_timeout(Duration::ZERO),
            builder().require_auth(),
            // hostile row 10
            builder().require_tls(),
            builder().user("discovery", "secret").require_tls(),
        ] {
            assert!(matches!(bad.build(), Err(Error::Invalid(_))));
        }
    }
}
