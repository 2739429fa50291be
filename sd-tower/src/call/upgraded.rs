//! Connections that belong to one call.
#![cfg_attr(
    not(feature = "hyper"),
    expect(dead_code, reason = "gRPC upgrades nothing")
)]

use super::response_body::OpenCall;
use sd_core::Outcome;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A connection that may be given to one call, which lasts as long as it: an HTTP/1 connection that
/// was upgraded. As an extension of a response it says that it was.
#[derive(Clone, Default)]
pub(crate) struct UpgradedConnection(Arc<Mutex<State>>);

#[derive(Default)]
enum State {
    #[default]
    Open,
    Held(OpenCall),
    Closed,
}

impl UpgradedConnection {
    /// The call lasts until the connection is closed.
    pub(super) fn hold(&self, call: OpenCall) {
        let mut state = self.lock();
        let call = match *state {
            State::Closed => call,
            State::Open | State::Held(_) => {
                *state = State::Held(call);
                return;
            }
        };
        drop(state);
        call.end(Outcome::Success);
    }

    /// The connection is closed, which ends its call.
    pub(crate) fn close(&self) {
        let before = std::mem::replace(&mut *self.lock(), State::Closed);
        if let State::Held(call) = before {
            call.end(Outcome::Success);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
