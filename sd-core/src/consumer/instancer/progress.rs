//! How far an instancer has come, for those who wait for its first state.

use crate::{
    instances::Trouble,
    registry::{Error, Result},
};

/// How far an instancer has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) is_ready: bool,
    pub(super) trouble: Option<Trouble>,
    pub(super) skipped: u64,
}

impl Progress {
    /// What [`Instancer::ready`](super::Instancer::ready) returns, once it is clear.
    pub(super) fn outcome(&self) -> Option<Result<()>> {
        match &self.trouble {
            _ if self.is_ready => Some(Ok(())),
            Some(Trouble::List(error)) if !error.is_transient() => Some(Err(error.clone())),
            Some(Trouble::Panicked { message }) => {
                let message = message.clone();
                Some(Err(Error::Panicked { message }))
            }
            _ => None,
        }
    }
}
