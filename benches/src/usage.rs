//! What a process has used.

use crate::clock::process_time;
use serde_json::{Value, json};
use std::{fs, io, time::Duration};

/// Processor time and memory of a process so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    /// What it has in memory now, in bytes, its program aside.
    pub(crate) resident: u64,
    /// The most that it had, in bytes, with its program.
    pub(crate) peak: u64,
}

impl Usage {
    /// That of this process.
    pub(crate) fn own() -> io::Result<Self> {
        let memory = Memory::of("self")?;
        Ok(Self {
            cpu: process_time(),
            resident: memory.resident,
            peak: memory.peak,
        })
    }

    /// That of another process. Its processor time is exact to a hundredth of a second.
    pub(crate) fn of(process: u32) -> io::Result<Self> {
        /// What Linux counts times in, whatever its own clock (`USER_HZ`).
        const TICKS_A_SECOND: u64 = 100;
        let memory = Memory::of(&process.to_string())?;
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        // The name of the program may contain anything, even parentheses.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let field = |n: usize| {
            fields
                .split(' ')
                .nth(n)
                .and_then(|it| it.parse::<u64>().ok())
        };
        let ticks = field(11).zip(field(12)).map(|(user, system)| user + system);
        let ticks = ticks.ok_or_else(|| io::Error::other("no times in /proc"))?;
        Ok(Self {
            cpu: Duration::from_millis(ticks * 1000 / TICKS_A_SECOND),
            resident: memory.resident,
            peak: memory.peak,
        })
    }

    pub(crate) fn json(self) -> Value {
        json!({
            "cpu_nanos": self.cpu.as_nanos() as u64,
            "resident": self.resident,
            "peak": self.peak,
        })
    }

    pub(crate) fn parse(value: &Value) -> Option<Self> {
        Some(Self {
            cpu: Duration::from_nanos(value["cpu_nanos"].as_u64()?),
            resident: value["resident"].as_u64()?,
            peak: value["peak"].as_u64()?,
        })
    }
}

struct Memory {
    resident: u64,
    peak: u64,
}

impl Memory {
    fn of(process: &str) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let bytes = |name| {
            let kilobytes = kilobytes(name);
            let kilobytes = kilobytes.ok_or_else(|| io::Error::other("no memory in /proc"));
            kilobytes.map(|kilobytes| kilobytes * 1024)
        };
        Ok(Self {
            resident: bytes("RssAnon:")?,
            peak: bytes("VmHWM:")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_sees_of_itself_what_others_see() {
        let begun = Usage::own().unwrap();
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        while Usage::own().unwrap().cpu < begun.cpu + Duration::from_millis(50) {}
        drop(block);
        let own = Usage::own().unwrap();
        let seen = Usage::of(std::process::id()).unwrap();
        assert!(own.peak >= begun.resident + (60 << 20), "{own:?}");
        assert!(seen.cpu >= Duration::from_millis(30), "{seen:?}");
        assert!(seen.peak >= own.peak);
        assert_eq!(Usage::parse(&own.json()), Some(own));
    }
}
