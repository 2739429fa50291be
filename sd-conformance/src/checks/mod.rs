//! The checks, one file for each part of the contract.
//!
//! A check is a function that is named for its promise, takes a [`Context`](crate::context::Context)
//! and uses nothing but keys of its own. [`list`], [`resume`] and [`watch`] are about reading;
//! [`registration`], [`deregistration`], [`reclaim`] and [`lease`] about writing; [`outage`] about a
//! registry in trouble; [`editor`] about those who change what others hold. No check uses another.

mod deregistration;
mod editor;
mod lease;
mod list;
mod outage;
mod reclaim;
mod registration;
mod resume;
mod watch;

use crate::check::Check;

/// All checks, in the order in which they are reported.
pub(crate) const ALL: [&[Check]; 9] = [
    list::CHECKS,
    resume::CHECKS,
    watch::CHECKS,
    outage::CHECKS,
    registration::CHECKS,
    deregistration::CHECKS,
    reclaim::CHECKS,
    lease::CHECKS,
    editor::CHECKS,
];
