//! The requests of the owner to the registrar's task.

use crate::{provider::registration_state::Input, registry::Generation};
use bytes::Bytes;

/// What the owner has asked for: for each kind of request the number of the last call, and the
/// newest value.
///
/// A slot, not a queue: callers never wait to leave a request, and nothing piles up.
#[derive(Debug, Clone)]
pub(super) struct Requests {
    /// The number of the last call of any kind.
    pub(super) last_call: u64,
    /// With the generation of the registration that is asked for.
    pub(super) register: Option<(u64, Generation)>,
    pub(super) deregister: u64,
    /// The last of the calls that deregister without draining.
    pub(super) deregister_now: u64,
    pub(super) update: u64,
    pub(super) value: Bytes,
}

impl Requests {
    /// None so far, for a service with this value.
    pub(super) fn new(value: Bytes) -> Self {
        Self {
            last_call: 0,
            register: None,
            deregister: 0,
            deregister_now: 0,
            update: 0,
            value,
        }
    }

    /// The requests after the call `seen`. A deregistration is never skipped. A registration is, if
    /// a deregistration came after it or the registrar was `stopped`.
    pub(super) fn since(&self, seen: u64, stopped: bool) -> Vec<Input> {
        let update = (self.update > seen).then(|| Input::Update(self.value.clone()));
        let deregister = match (self.deregister > seen, self.deregister_now > seen) {
            (_, true) => Some(Input::DeregisterNow),
            (true, false) => Some(Input::Deregister),
            (false, false) => None,
        };
        let is_wanted = |call: &u64| *call > seen.max(self.deregister) && !stopped;
        let register = self.register.filter(|(call, _)| is_wanted(call));
        let register = register.map(|(_, generation)| Input::Register(generation));
        [update, deregister, register]
            .into_iter()
            .flatten()
            .collect()
    }
}
