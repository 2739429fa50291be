//! What the own process takes.

use rustix::time::{ClockId, clock_gettime};
use std::{fs, io, time::Duration};

/// The time that all threads of the process have spent on a processor.
pub(super) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(nanos)
}

/// The memory that the process has now, and had at most, in bytes.
pub(super) fn memory() -> io::Result<(f64, f64)> {
    let status = fs::read_to_string("/proc/self/status")?;
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes: f64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kilobytes * 1024.0)
    };
    let both = of("VmRSS:").zip(of("VmHWM:"));
    both.ok_or_else(|| io::Error::other("the system does not say how much memory is used"))
}
