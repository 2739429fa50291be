//! Panics in code that is not ours: codecs, factories, targets, clients.

use crate::registry::Message;
use futures::FutureExt;
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// A caught panic, with its message.
#[derive(Debug, Clone, thiserror::Error)]
#[error("panicked: {}", Message(.0))]
pub(crate) struct Panicked(pub(crate) String);

impl Panicked {
    fn from_payload(payload: &(dyn Any + Send)) -> Self {
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self(message.unwrap_or("no message").to_owned())
    }
}

/// Calls `call` and turns a panic in it into an error.
///
/// What `call` changed before it panicked stays changed, so `call` should own what it changes.
pub(crate) fn catch<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| Panicked::from_payload(&*payload))
}

/// Awaits `future` and turns a panic in it into an error. No `async fn`, which would have room for
/// the future twice.
pub(crate) fn catch_async<T>(
    future: impl Future<Output = T>,
) -> impl Future<Output = Result<T, Panicked>> {
    let caught = AssertUnwindSafe(future).catch_unwind();
    caught.map(|output| output.map_err(|payload| Panicked::from_payload(&*payload)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_keeps_its_message() {
        let said = |call: fn()| catch(call).unwrap_err().0;
        assert_eq!(said(|| panic!("plain")), "plain");
        assert_eq!(said(|| panic!("with {}", 1)), "with 1");
        assert_eq!(said(|| std::panic::panic_any(7)), "no message");
    }

    #[tokio::test]
    async fn so_does_one_behind_an_await() {
        let future = async {
            tokio::task::yield_now().await;
            panic!("late")
        };
        let panicked: Result<(), _> = catch_async(future).await;
        assert_eq!(panicked.unwrap_err().to_string(), "panicked: late");
    }
}
