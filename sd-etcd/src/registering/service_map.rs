//! Maps by service.

use foldhash::fast::RandomState;
use sd_core::ServiceKey;
use std::collections::HashMap;

/// A map by service.
///
/// Its hasher is a quick one: a registration looks for its service about twenty times. It stands against
/// collisions less than the one of the standard library, but all services are the program's own.
pub(super) type ServiceMap<V> = HashMap<ServiceKey, V, RandomState>;
