//! Adapters: endpoint sources over another endpoint source.
//!
//! Each follows the table of its source, derives a table of its own and is an
//! [`EndpointSource`](crate::EndpointSource) itself, so that they stack in any order. The
//! recommended one, from the endpointer outwards: subset, zone, lanes, active health, ejection,
//! slow start. What reduces the set comes first, so that later adapters check and count only what
//! is used. Slow start comes last, so that it also eases in what an ejection or a health check has
//! let back.
//!
//! All of them derive their table with [`DerivedSource`](super::derived).

mod lanes;
mod rendezvous;
mod subset;
mod zone_preference;

pub use lanes::{Lane, LaneBalancer, LaneFallback, Lanes, LanesBuilder};
pub use subset::{Subset, SubsetBuilder};
pub use zone_preference::{ZonePreference, ZonePreferenceBuilder};
