//! Foreign code that panics: a client, a codec, a target.
//!
//! The panics go past the panic hook, so that a run prints none of them.

use sd_core::{
    Bytes, Client, Codec, CodecError, Decoded, DefaultCodec, Deregistered, Entry, Instance,
    LeaseId, Prefix, Registration, Result, Revision, Service, Snapshot, Watch, WatchError,
    async_trait,
};
use sd_memory::MemoryClient;
use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// What strangers write that nobody can read, and that a [`PanickyCodec`] panics at.
pub(super) const GARBAGE: &str = "?";

fn panic(who: &'static str) -> ! {
    resume_unwind(Box::new(who))
}

/// A client that panics when it is told to. Clones are the same client.
#[derive(Debug, Clone)]
pub(super) struct PanickyClient {
    pub(super) inner: MemoryClient,
    panics_next: Arc<AtomicBool>,
    has_panicked: Arc<AtomicBool>,
}

impl PanickyClient {
    pub(super) fn new(inner: MemoryClient) -> Self {
        Self {
            inner,
            panics_next: Arc::default(),
            has_panicked: Arc::default(),
        }
    }

    /// The next call panics.
    pub(super) fn panic_next(&self) {
        self.panics_next.store(true, Ordering::Relaxed);
    }

    /// Whether a call has panicked.
    pub(super) fn has_panicked(&self) -> bool {
        self.has_panicked.load(Ordering::Relaxed)
    }

    fn inner(&self) -> &MemoryClient {
        if self.panics_next.swap(false, Ordering::Relaxed) {
            self.has_panicked.store(true, Ordering::Relaxed);
            panic("a bug in the client");
        }
        &self.inner
    }
}

#[async_trait]
impl Client for PanickyClient {
    async fn get_entries(&self, prefix: &Prefix) -> Result<Snapshot> {
        self.inner().get_entries(prefix).await
    }

    async fn watch_prefix(&self, prefix: &Prefix, after: &Revision) -> Result<Watch, WatchError> {
        self.inner().watch_prefix(prefix, after).await
    }

    async fn register(&self, service: &Service) -> Result<Registration> {
        self.inner().register(service).await
    }

    async fn deregister(&self, service: &Service) -> Result<Deregistered> {
        self.inner().deregister(service).await
    }

    fn lease_id(&self) -> Option<LeaseId> {
        self.inner.lease_id()
    }
}

/// The default codec, which panics at [`GARBAGE`] rather than to refuse it.
#[derive(Debug)]
pub(super) struct PanickyCodec;

impl Codec for PanickyCodec {
    fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
        if entry.value == GARBAGE {
            panic("a bug in the codec");
        }
        DefaultCodec.decode(entry)
    }

    fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError> {
        DefaultCodec.encode(instance)
    }
}

/// What endpoints are made of: the address.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) address: String,
    /// Whether it panics when it is dropped.
    pub(super) is_panicky: bool,
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.is_panicky && !thread::panicking() {
            panic("a bug in the target");
        }
    }
}
