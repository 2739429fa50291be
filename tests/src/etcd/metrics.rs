//! etcd's own metrics.

use std::collections::BTreeMap;

/// Counts by method, such as `Range`.
pub(crate) type Calls = BTreeMap<String, u64>;

/// etcd's own counters at one moment.
///
/// Calls that the test makes through [`Etcd`] are left out, so the rest is the toolkit's. All
/// counters start at zero when etcd starts.
///
/// [`Etcd`]: crate::Etcd
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    started: Calls,
    received: Calls,
    watchers: u64,
    watch_streams: u64,
    keepalive_streams: u64,
    bytes_sent: u64,
}

impl Metrics {
    /// Reads the text format of Prometheus. Names as of etcd 3.4 to 3.6.
    pub(crate) fn parse(text: &str) -> Self {
        let mut metrics = Self::default();
        let mut handled = Calls::new();
        for sample in text.lines().filter_map(Sample::parse) {
            let calls = match sample.name {
                "etcd_debugging_mvcc_watcher_total" => {
                    metrics.watchers = sample.value;
                    continue;
                }
                "etcd_debugging_mvcc_watch_stream_total" => {
                    metrics.watch_streams = sample.value;
                    continue;
                }
                "etcd_network_client_grpc_sent_bytes_total" => {
                    metrics.bytes_sent = sample.value;
                    continue;
                }
                "grpc_server_started_total" => &mut metrics.started,
                "grpc_server_msg_received_total" => &mut metrics.received,
                "grpc_server_handled_total" => &mut handled,
                _ => continue,
            };
            // There is one `handled` line for each code.
            if let Some(method) = sample.label("grpc_method") {
                *calls.entry(method.to_owned()).or_default() += sample.value;
            }
        }
        metrics.keepalive_streams = count(&metrics.started, "LeaseKeepAlive")
            .saturating_sub(count(&handled, "LeaseKeepAlive"));
        metrics
    }

    /// Subtracts the test's own calls.
    pub(crate) fn without(mut self, own: &Calls) -> Self {
        subtract(&mut self.started, own);
        self
    }

    /// The counts since `earlier`. Gauges (watchers and streams) stay as they are.
    ///
    /// # Panics
    /// If etcd was restarted in between, and has counted from zero again.
    #[must_use]
    pub fn since(mut self, earlier: &Self) -> Self {
        subtract(&mut self.started, &earlier.started);
        subtract(&mut self.received, &earlier.received);
        self.bytes_sent = self.bytes_sent.saturating_sub(earlier.bytes_sent);
        self
    }

    /// Watches open now, however many of them share a stream.
    pub fn watchers(&self) -> u64 {
        self.watchers
    }

    /// Watch streams open now.
    pub fn watch_streams(&self) -> u64 {
        self.watch_streams
    }

    /// Keep-alive streams open now.
    pub fn keepalive_streams(&self) -> u64 {
        self.keepalive_streams
    }

    /// Keep-alive messages received.
    pub fn keepalives(&self) -> u64 {
        count(&self.received, "LeaseKeepAlive")
    }

    /// Messages received on watch streams: to watch, to cancel, and for progress.
    pub fn watch_messages(&self) -> u64 {
        count(&self.received, "Watch")
    }

    /// Gets and lists received. Each page counts; those within transactions do not.
    pub fn range_requests(&self) -> u64 {
        self.calls("Range")
    }

    /// Plain puts received.
    pub fn puts(&self) -> u64 {
        self.calls("Put")
    }

    /// Transactions received.
    pub fn txns(&self) -> u64 {
        self.calls("Txn")
    }

    /// Leases asked for.
    pub fn lease_grants(&self) -> u64 {
        self.calls("LeaseGrant")
    }

    /// All requests received: unary calls, and messages on streams. Those of the test itself count too.
    pub fn requests(&self) -> u64 {
        self.received.values().sum()
    }

    /// The bytes of all messages sent to clients, those to the test itself too.
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// Calls of any other method received, by its gRPC name: `DeleteRange`, `Authenticate`.
    pub fn calls(&self, method: &str) -> u64 {
        count(&self.started, method)
    }
}

fn count(calls: &Calls, method: &str) -> u64 {
    calls.get(method).copied().unwrap_or_default()
}

fn subtract(calls: &mut Calls, less: &Calls) {
    for (method, less) in less {
        let count = calls.entry(method.clone()).or_default();
        *count = count.checked_sub(*less).unwrap_or_else(|| {
            panic!("{method} went down from {less} to {count}: was etcd restarted?")
        });
    }
}

/// A line such as `grpc_server_started_total{grpc_method="Range",grpc_type="unary"} 17`.
struct Sample<'a> {
    name: &'a str,
    labels: &'a str,
    value: u64,
}

impl<'a> Sample<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        Some(Self {
            name,
            labels,
            // Large counts are written as 1e+06. Fractions occur only in sums that are not read
            // here.
            value: value.parse::<f64>().ok()? as u64,
        })
    }

    fn label(&self, name: &str) -> Option<&'a str> {
        let rest = self.labels.split_once(&format!("{name}=\""))?.1;
        Some(rest.split_once('"')?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
# HELP etcd_debugging_mvcc_watcher_total Total number of watchers.
# TYPE etcd_debugging_mvcc_watcher_total gauge
etcd_debugging_mvcc_watcher_total 2
etcd_debugging_mvcc_watch_stream_total 1
grpc_server_handled_total{grpc_code="Canceled",grpc_method="LeaseKeepAlive",grpc_type="bidi_stream"} 1
grpc_server_handled_total{grpc_code="Unavailable",grpc_method="LeaseKeepAlive",grpc_type="bidi_stream"} 1
grpc_server_started_total{grpc_method="LeaseKeepAlive",grpc_type="bidi_stream"} 3
grpc_server_started_total{grpc_method="Range",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1.5e+06
"#;

    #[test]
    fn open_streams_are_those_started_and_not_handled() {
        let metrics = Metrics::parse(TEXT);

        assert_eq!(metrics.keepalive_streams(), 1);
        assert_eq!(metrics.watchers(), 2);
        assert_eq!(metrics.watch_streams(), 1);
    }

    #[test]
    fn the_test_s_own_calls_are_not_counted() {
        let own = Calls::from([("Range".to_owned(), 499_999)]);

        assert_eq!(
            Metrics::parse(TEXT).without(&own).range_requests(),
            1_000_001
        );
    }

    #[test]
    #[should_panic(expected = "was etcd restarted?")]
    fn a_restart_in_between_is_not_taken_for_silence() {
        let _ = Metrics::default().since(&Metrics::parse(TEXT));
    }
}
