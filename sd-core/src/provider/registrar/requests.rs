//! The requests of the owner to the registrar's task.

use crate::{
    instances::Edit,
    provider::{key_value::KeyValue, registration_state::Input},
    registry::Generation,
};

/// At most one of each kind of request.
pub(super) type Inputs = [Option<Input>; 3];

/// What the owner has asked for: for each kind of request the number of the last call, and the
/// newest key and value.
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
    pub(super) wanted: KeyValue,
    /// What the owner has said in edits, and in which call: one for each part of the entry.
    said: Vec<(u64, Edit)>,
}

impl Requests {
    /// None so far, for a service that is written so.
    pub(super) fn new(wanted: KeyValue) -> Self {
        Self {
            last_call: 0,
            register: None,
            deregister: 0,
            deregister_now: 0,
            update: 0,
            wanted,
            said: Vec::new(),
        }
    }

    /// Notes what an edit says in the call `call`. What was said up to the call `seen` has been taken into account.
    pub(super) fn say(&mut self, edit: Edit, call: u64, seen: u64) {
        self.said.retain(|(said, _)| *said > seen);
        let mut said = self.said.iter_mut();
        match said.find(|(_, said)| said.part == edit.part) {
            Some(said) => *said = (call, said.1.clone().and(edit)),
            None => self.said.push((call, edit)),
        }
    }

    /// The requests after the call `seen`. A deregistration is never skipped. A registration is, if
    /// a deregistration came after it or the registrar was `stopped`.
    pub(super) fn since(&self, seen: u64, stopped: bool) -> Inputs {
        let said = self.said.iter().filter(|(call, _)| *call > seen);
        let update = (self.update > seen).then(|| Input::Update {
            wanted: self.wanted.clone(),
            said: said.map(|(_, edit)| edit.clone()).collect(),
        });
        let deregister = match (self.deregister > seen, self.deregister_now > seen) {
            (_, true) => Some(Input::DeregisterNow),
            (true, false) => Some(Input::Deregister),
            (false, false) => None,
        };
        let is_wanted = |call: &u64| *call > seen.max(self.deregister) && !stopped;
        let register = self.register.filter(|(call, _)| is_wanted(call));
        let register = register.map(|(_, generation)| Input::Register(generation));
        [update, deregister, register]
    }
}
