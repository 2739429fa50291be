//! Generations: which registration of a key the program has asked for last.

use std::sync::atomic::{AtomicU64, Ordering};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Orders the registrations of one key on one client by when the program asked for them.
///
/// An attempt to register may be repeated for as long as an outage lasts, and get through long after a
/// registration that the program asked for later. So all attempts at one registration have the same
/// generation, and a client refuses those of an older generation than the one that holds the key, with
/// [`Error::Superseded`](crate::Error::Superseded). A [`Registrar`](crate::Registrar) draws a
/// generation each time it is asked to register.
///
/// This is the fencing token of [Kleppmann, "How to do distributed locking"][source], within one
/// process: a generation is not written to the registry.
///
/// ```
/// use sd_core::{Generation, Service};
///
/// let [old, new] = [Generation::new(), Generation::new()];
/// assert!(old < new);
/// let service = Service::new("/services/hello/a", "10.0.0.1:80")?;
/// assert_eq!(service.generation(), None);
/// assert_eq!(service.with_generation(old).generation(), Some(old));
/// # Ok::<(), sd_core::Invalid>(())
/// ```
///
/// [source]: https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u64);

impl Generation {
    /// A generation that is newer than all before it in this process.
    #[expect(clippy::new_without_default, reason = "two of them are never equal")]
    pub fn new() -> Self {
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}
