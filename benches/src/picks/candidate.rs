//! What picks: a floor, a balancer, or that of another toolkit.

use crate::rounds::Work;
use sd_core::{Endpoint, FixedEndpointer, Instance, Key};
use std::{sync::Arc, time::Duration};

/// The source of the endpoints of one candidate.
pub(crate) type Source = Arc<FixedEndpointer<usize>>;

/// Something that picks an endpoint for a call.
#[derive(Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Prepares it to pick among the endpoints of a source. The result makes the picks of a
    /// thread, and may be called for several threads.
    pub(crate) prepare: fn(Source) -> Picks,
}

/// Makes the picks of a thread.
pub(crate) type Picks = Box<dyn Fn() -> Work>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The least that a pick has to do, with this way of choosing.
    Floor(Floor),
    /// A balancer of the toolkit, beside the floor that it cannot beat.
    Toolkit(Floor),
    /// A balancer of another toolkit.
    #[cfg(feature = "peers")]
    Peer {
        /// Whether several threads can share it.
        is_shared: bool,
    },
}

/// How a floor chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Floor {
    /// By a counter that the thread has for itself.
    Counter,
    /// By a random number.
    Draw,
    /// By a random number, for a call whose latency is measured.
    DrawAndClock,
    /// Not at all: only the atomic steps are made.
    AtomicSteps,
}

/// How fast latencies are forgotten: as in Finagle.
pub(super) const DECAY: Duration = Duration::from_secs(10);

impl Kind {
    pub(crate) fn is_shared(self) -> bool {
        match self {
            #[cfg(feature = "peers")]
            Self::Peer { is_shared } => is_shared,
            Self::Floor(_) | Self::Toolkit(_) => true,
        }
    }

    pub(crate) fn floor(self) -> Option<Floor> {
        match self {
            Self::Toolkit(floor) => Some(floor),
            _ => None,
        }
    }
}

/// Endpoints of different weights.
pub(crate) fn source(endpoints: usize) -> Source {
    Arc::new(FixedEndpointer::new((0..endpoints).map(endpoint)))
}

pub(super) fn address(n: usize) -> String {
    format!("10.0.{}.{}:80", n / 256, n % 256)
}

pub(crate) fn endpoint(n: usize) -> Endpoint<usize> {
    let key = Key::new(format!("/services/hello/{n:05}")).expect("a key");
    let instance = Instance::new(key, address(n)).with_weight(1 + n as u32 % 5);
    Endpoint::new(instance, n)
}
