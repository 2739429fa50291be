//! Clients that tonic generated, through a channel, to real servers.

mod fleet;
mod kinds;
mod ready;
