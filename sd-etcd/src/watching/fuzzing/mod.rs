//! What etcd sends, honest or not, against the two state machines that read it.

mod list;
mod raw;
mod watch;

pub use list::list;
pub use watch::watch;
