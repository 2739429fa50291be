//! Points in time, as they are written.

use std::time::SystemTime;

/// Now, in UTC, to the millisecond: `2026-11-27T04:30:00.123Z`.
pub(crate) fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}
