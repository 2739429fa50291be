//! Measures of the toolkit, for `./run bench`.
//!
//! Each [`Measure`] prints tables, as text or as lines of JSON, and asserts nothing: times depend
//! on the machine. What is measured stands beside a floor that is measured at the same time, so
//! that the ratio of both says something on any machine.
//!
//! The simulation of queues does not depend on the machine, so what it finds is asserted by tests.

mod builds;
mod calls;
mod changes;
mod clock;
mod comparison;
mod etcd;
mod formats;
mod instructions;
mod measure;
mod measures;
mod micro;
mod mirror;
mod output;
mod picks;
pub mod report;
mod rounds;
mod simulation;
mod statistics;
mod table;
mod usage;

pub use calls::{Kind, proxy, serve};
pub use etcd::contend;
pub use instructions::run_counted;
pub use measure::{Measure, Measured, Options};
pub use measures::{MEASURES, measure};
pub use micro::{PIECES, Piece};
pub use mirror::run_contender as mirror;
pub use output::{Format, Output};
pub use table::{Cell, Table};
