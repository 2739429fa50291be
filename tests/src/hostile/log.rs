//! What an honest process writes to its file: its log, and between the lines what it sees.

use super::names::{SERVICES, prefix};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    path::Path,
    sync::LazyLock,
    time::{Duration, Instant},
};
use tracing_subscriber::{
    filter::LevelFilter,
    fmt::{format::Writer, time::FormatTime},
};

/// How often a process writes what it sees.
pub(super) const INTERVAL: Duration = Duration::from_millis(200);
/// No other program's line begins so.
const LOG: &str = "log ";
const VIEW: &str = "view ";
/// A log line that others wrote a part of is no longer than this.
pub(super) const LONGEST_LINE: usize = 2_000;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The time since the start of the process.
struct Uptime;

impl FormatTime for Uptime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{LOG}{:.3}", START.elapsed().as_secs_f64())
    }
}

/// Begins to write the log of this process to stdout, at `INFO` and above.
pub(super) fn start() {
    LazyLock::force(&START);
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .with_ansi(false)
        .with_timer(Uptime)
        .init();
}

/// What a process sees of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct View {
    pub(super) service: usize,
    /// The number of honest instances that are seen, and of endpoints for them: now, and the smallest
    /// since there were all.
    pub(super) seen: [usize; 2],
    pub(super) least: [usize; 2],
    /// The most instances that were shown, and the most targets that were made for one key whose address
    /// changes all the time.
    pub(super) shown: usize,
    pub(super) made: usize,
    /// How many instances are shown that must not be called.
    pub(super) foreign: usize,
    /// The most memory so far of the whole process, in bytes, without that of its start.
    pub(super) memory: usize,
}

impl View {
    /// Writes it to stdout.
    pub(super) fn print(&self) {
        let Self {
            service,
            seen,
            least,
            shown,
            made,
            foreign,
            memory,
        } = self;
        println!(
            "{VIEW}{service} {} {} {} {} {shown} {made} {foreign} {memory}",
            seen[0], seen[1], least[0], least[1]
        );
    }

    fn parse(line: &str) -> Option<Self> {
        let numbers = line.strip_prefix(VIEW)?.split(' ').map(str::parse);
        let numbers: Vec<usize> = numbers.collect::<Result<_, _>>().ok()?;
        let &[
            service,
            seen,
            made_for,
            least,
            least_made_for,
            shown,
            made,
            foreign,
            memory,
        ] = &*numbers
        else {
            return None;
        };
        Some(Self {
            service,
            seen: [seen, made_for],
            least: [least, least_made_for],
            shown,
            made,
            foreign,
            memory,
        })
    }
}

/// A line of the log: when, since the start of the process, and what.
#[derive(Debug, Clone)]
pub(super) struct LogLine {
    at: f64,
    pub(super) text: String,
}

impl LogLine {
    fn parse(line: &str) -> Option<Self> {
        let (at, text) = line.strip_prefix(LOG)?.split_once(' ')?;
        Some(Self {
            at: at.parse().ok()?,
            text: text.trim_start().to_owned(),
        })
    }

    /// What it is about: the prefix that it names, or that of its key; a lease or a service; or the
    /// connection.
    fn subject(&self) -> String {
        let field = |name: &str| {
            let (_, rest) = self.text.split_once(name)?;
            rest.split(' ').next()
        };
        let prefix_of = |key: &str| (0..SERVICES).map(prefix).find(|it| key.starts_with(it));
        field(" prefix=")
            .map(str::to_owned)
            .or_else(|| field(" lease=").map(|lease| format!("lease {lease}")))
            .or_else(|| field(" service=").map(|service| format!("service {service}")))
            .or_else(|| prefix_of(field(" key=")?))
            .unwrap_or_else(|| "the connection".to_owned())
    }
}

/// What a process has written so far.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// The newest view of each service.
    pub(super) views: BTreeMap<usize, View>,
    pub(super) log: Vec<LogLine>,
    /// Lines that are neither: forged, or a panic.
    pub(super) other: Vec<String>,
}

impl Written {
    pub(super) fn read(file: &Path) -> io::Result<Self> {
        let text = fs::read(file)?;
        let text = String::from_utf8_lossy(&text);
        let mut written = Self::default();
        // The last line may not be finished.
        let finished = text.rsplit_once('\n').map_or("", |(finished, _)| finished);
        written.take(finished);
        Ok(written)
    }

    /// Adds these lines.
    pub(super) fn take(&mut self, lines: &str) {
        for line in lines.lines() {
            if let Some(view) = View::parse(line) {
                self.views.insert(view.service, view);
            } else if let Some(line) = LogLine::parse(line) {
                self.log.push(line);
            } else {
                self.other.push(line.to_owned());
            }
        }
    }

    /// The most memory of the process so far, in bytes.
    pub(super) fn memory(&self) -> usize {
        let views = self.views.values();
        views.map(|view| view.memory).max().unwrap_or_default()
    }

    /// Of each subject, the most lines within a minute, of those after the first `skipped`.
    pub(super) fn lines_a_minute(&self, skipped: usize) -> BTreeMap<String, usize> {
        let mut subjects: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for line in self.log.iter().skip(skipped) {
            subjects.entry(line.subject()).or_default().push(line.at);
        }
        let most = |times: Vec<f64>| {
            let from = |start: &f64| {
                let within = times.iter();
                within
                    .filter(|at| (*start..start + 60.0).contains(*at))
                    .count()
            };
            times.iter().map(from).max().unwrap_or_default()
        };
        let subjects = subjects.into_iter();
        subjects
            .map(|(subject, times)| (subject, most(times)))
            .collect()
    }

    /// The kinds of lines after the first `skipped`, without their fields.
    pub(super) fn kinds(&self, skipped: usize) -> BTreeSet<&str> {
        let lines = self.log.iter().skip(skipped);
        let kind = |line: &'_ LogLine| line.text.find('=').unwrap_or(line.text.len());
        lines.map(|line| &line.text[..kind(line)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart_and_counted_within_a_minute() {
        let view = View {
            service: 3,
            seen: [250, 249],
            least: [248, 247],
            shown: 900,
            made: 300,
            foreign: 0,
            memory: 1 << 20,
        };
        assert_eq!(
            View::parse("view 3 250 249 248 247 900 300 0 1048576"),
            Some(view)
        );
        let line = |at| format!("log {at} WARN sd_core: entry skipped prefix=/services/s1/ key=x");
        let lines = [0.0, 59.0, 61.0, 62.0].map(|at| LogLine::parse(&line(at)).unwrap());
        let written = Written {
            log: lines.to_vec(),
            ..Written::default()
        };
        let counted = written.lines_a_minute(0);
        assert_eq!(counted.get("/services/s1/"), Some(&3), "{counted:?}");
        assert_eq!(written.lines_a_minute(3).values().sum::<usize>(), 1);
        assert!(LogLine::parse("WARN forged").is_none());
    }
}
