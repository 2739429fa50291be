//! A promise of the contract, and the function that tests it.

use crate::{context::Context, error::CheckResult};
use futures::future::BoxFuture;
use std::fmt;

/// One promise of [`Client`](sd_core::Client) or [`Editor`](sd_core::Editor), and how it is tested.
#[derive(Clone, Copy)]
pub struct Check {
    pub(crate) name: &'static str,
    pub(crate) promise: &'static str,
    pub(crate) exclusive: bool,
    pub(crate) body: for<'c> fn(&'c Context<'c>) -> BoxFuture<'c, CheckResult>,
}

impl Check {
    /// Its name, which states the promise and does not change between versions:
    /// `a_change_between_list_and_watch_is_not_lost`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The promise in a sentence.
    pub fn promise(&self) -> &'static str {
        self.promise
    }

    /// Whether it affects the whole registry, so that no other check may run beside it.
    pub fn is_exclusive(&self) -> bool {
        self.exclusive
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("name", &self.name)
            .field("exclusive", &self.exclusive)
            .finish_non_exhaustive()
    }
}

/// A [`Check`] made of the function that is named for its promise.
macro_rules! check {
    ($name:ident, $promise:literal) => {
        $crate::check::check!($name, $promise, exclusive: false)
    };
    (exclusive $name:ident, $promise:literal) => {
        $crate::check::check!($name, $promise, exclusive: true)
    };
    ($name:ident, $promise:literal, exclusive: $exclusive:literal) => {
        $crate::check::Check {
            name: stringify!($name),
            promise: $promise,
            exclusive: $exclusive,
            body: |ctx| Box::pin($name(ctx)),
        }
    };
}
pub(crate) use check;
