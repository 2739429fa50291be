//! Secrets that are held for as long as a client runs.

use std::sync::Arc;
use zeroize::{Zeroize, Zeroizing};

/// A password or a key: cannot be printed, and is wiped when its last clone is dropped. A clone shares it.
///
/// It has neither `Debug` nor `Display`, so that a type that holds it cannot derive them. Not wiped is what
/// is made of it: a request, a connection.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret<T: Zeroize>(Arc<Zeroizing<T>>);

impl<T: Zeroize> Secret<T> {
    pub(crate) fn new(secret: T) -> Self {
        Self(Arc::new(Zeroizing::new(secret)))
    }

    pub(crate) fn expose(&self) -> &T {
        &self.0
    }
}
