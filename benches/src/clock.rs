//! The clock of the measures.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The time that the calling thread has spent on a processor. Unlike real time, it does not run
/// while another process has the processor.
pub(crate) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(nanos)
}
