//! The lines that the toolkit logs.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};
use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::DefaultGuard,
};

/// Captures the log of `sd_core` and `sd_etcd` on this thread, at `INFO` and above, until it is
/// dropped.
///
/// Does not capture `sd_memory`, which logs the faults that a test injects, nor other threads; a
/// test on a current-thread runtime has none.
#[derive(Debug)]
pub struct Log {
    lines: Lines,
    _subscriber: DefaultGuard,
}

/// A line of the log. `Display` writes `LEVEL message field=value ...`.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its level.
    pub level: Level,
    /// Its message.
    pub message: String,
    /// The names and values of its fields, in the order in which they were logged. A string that
    /// was logged as such is quoted.
    pub fields: Vec<(String, String)>,
}

impl Log {
    /// Begins to capture.
    pub fn capture() -> Self {
        Self::capture_at(Level::INFO)
    }

    /// The same at `level` and above.
    pub fn capture_at(level: Level) -> Self {
        keep_lines_enabled();
        let lines = Lines::at(level);
        let _subscriber = tracing::subscriber::set_default(lines.clone());
        Self { lines, _subscriber }
    }

    /// The lines so far, the oldest first.
    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().clone()
    }

    /// The lines so far as text, for comparisons.
    pub fn text(&self) -> Vec<String> {
        self.lines.lock().iter().map(Line::to_string).collect()
    }

    /// Forgets the lines so far.
    pub fn clear(&self) {
        self.lines.lock().clear();
    }
}

impl Line {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let (_, value) = fields.find(|(field, _)| field == name)?;
        Some(value)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.level, self.message)?;
        for (name, value) in &self.fields {
            write!(f, " {name}={value}")?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone)]
struct Lines {
    level: Level,
    lines: Arc<Mutex<Vec<Line>>>,
}

/// Keeps a subscriber of every line for as long as the process runs.
///
/// `tracing` asks once for each line in the code whether anybody wants it. While there is only one
/// subscriber, it asks that of the thread that comes first: a test that captures nothing would turn
/// the line off for a test that does (tracing-core 0.1.36).
fn keep_lines_enabled() {
    static ALL: OnceLock<Dispatch> = OnceLock::new();
    ALL.get_or_init(|| Dispatch::new(Lines::at(Level::TRACE)));
}

impl Lines {
    fn at(level: Level) -> Self {
        Self {
            level,
            lines: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let is_toolkit = target.starts_with("sd_core") || target.starts_with("sd_etcd");
        is_toolkit && *metadata.level() <= self.level
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        // The line may be enabled for another subscriber.
        if !self.enabled(metadata) {
            return;
        }
        let mut line = Line {
            level: *metadata.level(),
            message: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut line);
        self.lock().push(line);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        match field.name() {
            "message" => self.message = value,
            name => self.fields.push((name.to_owned(), value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_without_a_capture_turns_no_line_off() {
        fn line() {
            tracing::warn!(target: "sd_core", "a line");
        }
        let log = Log::capture();
        std::thread::spawn(line).join().expect("no panic");
        line();
        assert_eq!(log.text(), ["WARN a line"]);
    }
}
