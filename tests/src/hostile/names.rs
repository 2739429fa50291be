//! What the instances are called.

/// How many services there are, and how many honest instances of each.
pub(super) const SERVICES: usize = 4;
pub(super) const PER_SERVICE: usize = 250;
pub(super) const HONEST: usize = SERVICES * PER_SERVICE;

/// The prefix of a service.
pub(super) fn prefix(service: usize) -> String {
    format!("/services/s{service}/")
}

/// The key of an honest instance.
pub(super) fn honest_key(service: usize, instance: usize) -> String {
    format!("{}honest-{instance:03}", prefix(service))
}

/// The address of an honest instance. No hostile one is in its network.
pub(super) fn honest_address(service: usize, instance: usize) -> String {
    format!("{HONEST_NETWORK}{service}.{instance}:8080")
}

/// How the keys end whose address changes all the time.
pub(super) const MOVING: &str = "-moving";

/// How the addresses of honest instances begin, and those of hostile ones that may be called.
pub(super) const HONEST_NETWORK: &str = "10.1.";
pub(super) const HOSTILE_NETWORK: &str = "10.66.";
