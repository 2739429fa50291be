//! Neighbours under one prefix that mean harm (`docs/hostile.md`), on paused time: instancers, endpointers and
//! registrars on the memory registry.

// The helpers of tests are not in tests, as clippy sees it.
#![allow(clippy::unwrap_used)]

mod addresses;
mod loops;
mod sizes;

use sd_core::{Instancer, Key, Prefix};
use sd_memory::Registry;

fn hello() -> Prefix {
    Prefix::new("/services/hello").unwrap()
}

fn key(name: &str) -> Key {
    hello().key(name).unwrap()
}

/// What an instancer shows.
fn addresses(instancer: &Instancer) -> Vec<String> {
    let state = instancer.state().unwrap();
    let instances = state.instances().iter();
    instances.map(|it| it.address().to_owned()).collect()
}
