//! What changes in a fleet: `follower` lists and watches, whatever happens to etcd; `known` tells what a change means.

mod follower;
mod known;

pub(crate) use follower::{Follower, Step};
pub(crate) use known::{Event, Known};
