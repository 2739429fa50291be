//! The ids of registrations.

use super::generation::Generation;

/// The id of a registration, which its call has from the beginning.
///
/// Of two registrations of one key on one client, the one with the greater id stands: that of the newer
/// generation, or of two calls of one generation the later.
///
/// [`Ledger`](crate::Ledger) assigns ids. A backend without a ledger makes its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistrationId {
    generation: Generation,
    call: u64,
}

impl RegistrationId {
    /// The id of a call of this generation. A later call of the same client has a greater number.
    pub fn new(generation: Generation, call: u64) -> Self {
        Self { generation, call }
    }

    /// The generation of the call.
    pub fn generation(self) -> Generation {
        self.generation
    }

    /// The number of the call.
    pub(super) fn call(self) -> u64 {
        self.call
    }
}
