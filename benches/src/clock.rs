//! The clocks of the measures.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The time that the calling thread has spent on a processor. Unlike real time, it does not run
/// while another process has the processor.
pub(crate) fn thread_time() -> Duration {
    time(ClockId::ThreadCPUTime)
}

/// The time that all threads of this process have spent on a processor.
pub(crate) fn process_time() -> Duration {
    time(ClockId::ProcessCPUTime)
}

/// The time on a clock that all processes share.
pub(crate) fn now() -> Duration {
    time(ClockId::Monotonic)
}

fn time(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(nanos)
}
