//! The options of an instancer.

use super::{Instancer, progress::Progress, task::InstancerTask};
#[cfg(feature = "snapshot")]
use crate::{
    consumer::snapshot_file::{SnapshotFile, SnapshotWriter},
    instances::Source as _,
};
use crate::{
    consumer::{
        mirror::{EntryDecoder, Mirror, RemovalRules},
        prefix_limits::PrefixLimits,
    },
    instances::{AddressPolicy, Codec, DefaultCodec, EventPublisher, Format},
    registry::{Client, Invalid, Prefix, Ttl},
    support::BackgroundTask,
};
use std::{any::type_name, fmt, sync::Arc, time::Duration};
use tokio::sync::watch;

/// The longest pause between two attempts while the registry is down.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Options of an [`Instancer`], made by [`Instancer::builder`].
///
/// The defaults suit a fleet on etcd. A registry whose values have another format needs a codec, and
/// providers that come back slowly need a longer grace period.
///
/// ```no_run
/// use sd_core::{Client, DefaultCodec, Instancer, Prefix};
/// use std::time::Duration;
///
/// # fn build(client: impl Client) -> Result<Instancer, sd_core::Invalid> {
/// let instancer = Instancer::builder(client, Prefix::new("/services/hello")?)
///     .codec(DefaultCodec)
///     .grace(Duration::from_secs(30))
///     .build();
/// # Ok(instancer)
/// # }
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct InstancerBuilder {
    client: Box<dyn Client>,
    prefix: Prefix,
    decoder: EntryDecoder,
    removals: RemovalRules,
    limits: PrefixLimits,
    longest_pause: Duration,
    /// What the codec reads, for a snapshot.
    format: String,
    #[cfg(feature = "snapshot")]
    snapshot: Option<SnapshotFile>,
}

impl InstancerBuilder {
    pub(super) fn new(client: Box<dyn Client>, prefix: Prefix) -> Self {
        Self {
            client,
            prefix,
            decoder: EntryDecoder::default(),
            removals: RemovalRules::default(),
            limits: PrefixLimits::default(),
            longest_pause: LONGEST_PAUSE,
            format: type_name::<DefaultCodec>().to_owned(),
            #[cfg(feature = "snapshot")]
            snapshot: None,
        }
    }

    /// How entries are read. Default: [`DefaultCodec`](crate::DefaultCodec).
    pub fn codec<C: Codec>(mut self, codec: C) -> Self {
        self.decoder.codec = Arc::new(codec);
        type_name::<C>().clone_into(&mut self.format);
        self
    }

    /// Entries are those of `service` in `format`.
    pub(super) fn format(
        self,
        format: &(impl Format + ?Sized),
        service: &str,
    ) -> Result<Self, Invalid> {
        let mut builder = self.codec(format.codec(service)?);
        builder.format = format!("{format:?}");
        Ok(builder)
    }

    /// The file in which the instances are kept for the case that a successor starts while the registry is down, and
    /// with which this one begins in that case. Default: none.
    #[cfg(feature = "snapshot")]
    pub fn snapshot(mut self, file: SnapshotFile) -> Self {
        self.snapshot = Some(file);
        self
    }

    /// Which addresses are called. An entry with any other address is left out, as one that cannot be
    /// read. Default: [`AddressPolicy::default`]: hosts and ports, and no link-local addresses.
    ///
    /// Providers need the same policy
    /// ([`RegistrarBuilder::address_policy`](crate::RegistrarBuilder::address_policy)).
    pub fn address_policy(mut self, policy: AddressPolicy) -> Self {
        self.decoder.addresses = policy;
        self
    }

    /// How much of the prefix is kept at most. Default: [`PrefixLimits::default`], for a fleet of 100,000
    /// small entries.
    pub fn limits(mut self, limits: PrefixLimits) -> Self {
        self.limits = limits;
        self.decoder.most_bytes = limits.entry_bytes;
        self
    }

    /// How long the registry has to have been healthy after trouble before removals apply.
    /// Default: 15 s. With zero, removals always apply at once.
    ///
    /// It should be longer than the providers need to register again (three times their longest
    /// pause between attempts) and, with a [`Poller`](crate::Poller), than two polls.
    ///
    /// Where trouble recurs for ever, a removal is held until the registry has answered for two
    /// grace periods in all.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.removals.grace = grace;
        self
    }

    /// The shortest time to live that a provider under the prefix has. Default: [`Ttl::MIN`].
    ///
    /// A registry that was silent for less than two thirds of it has cost nobody a lease, so that no
    /// [grace period](Self::grace) follows. With the TTL of the fleet, short stalls of the registry
    /// delay no removal.
    pub fn shortest_ttl(mut self, ttl: Ttl) -> Self {
        self.removals.shortest_ttl = ttl;
        self
    }

    /// How many removals at once are doubted: those that, with others within the
    /// [grace period](Self::grace), take more than so many percent of three or more instances. They
    /// are held for the grace period even though the registry is healthy, since all leases may have
    /// been lost at once, or the providers cut off. Default: 50. With 100, removals on a healthy
    /// registry always apply at once.
    ///
    /// An instance that returns, or another in its place, makes up for one that went: a rolling
    /// restart is not many at once. Instances that went after they had announced
    /// [draining](crate::Status::Draining) do not count, neither as removed nor as having been there. One
    /// that returns within the grace period counts as if it had been there all along.
    pub fn mass_removal_percent(mut self, percent: u8) -> Self {
        self.removals.mass_percent = percent;
        self
    }

    /// The longest pause between two attempts while the registry is down. Default: 2 s; at least
    /// 10 ms.
    pub fn longest_pause(mut self, longest_pause: Duration) -> Self {
        self.longest_pause = longest_pause;
        self
    }

    /// Starts the instancer's task, and returns at once.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn build(self) -> Instancer {
        let (publisher, events) = EventPublisher::channel();
        let (progress, receiver) = watch::channel(Progress::default());
        let mirror = Mirror::new(
            self.prefix.clone(),
            self.decoder,
            self.removals,
            self.limits,
            self.longest_pause,
        );
        #[cfg(feature = "snapshot")]
        let writer = self.snapshot.clone().map(|file| {
            let (prefix, format) = (self.prefix.clone(), self.format.clone());
            let writer = SnapshotWriter::new(file, prefix, format, events.subscribe());
            BackgroundTask::spawn(writer)
        });
        let task = InstancerTask {
            mirror,
            client: self.client,
            prefix: self.prefix,
            publisher,
            progress,
            #[cfg(feature = "snapshot")]
            snapshot: self.snapshot.map(|file| (file, self.format)),
        };
        Instancer {
            events,
            progress: receiver,
            task: BackgroundTask::spawn(task),
            #[cfg(feature = "snapshot")]
            writer,
        }
    }
}

impl fmt::Debug for InstancerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstancerBuilder")
            .field("prefix", &self.prefix)
            .field("removals", &self.removals)
            .field("longest_pause", &self.longest_pause)
            .finish_non_exhaustive()
    }
}
