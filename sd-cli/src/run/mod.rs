//! A program that is registered while it is well: `sdctl run`, and `sdctl register` without the program.
//!
//! `machine` decides, without I/O: when to register, to drain, to deregister, to pass a signal on, to kill. `check` asks
//! whether the program is well, `keeper` does with the registry what was decided, `reaper` starts processes and takes
//! in their ends, `driver` brings them together.

mod check;
mod driver;
mod keeper;
mod machine;
mod reaper;

pub(crate) use check::Check;
pub(crate) use driver::{Options, run};
pub(crate) use machine::Limits;
