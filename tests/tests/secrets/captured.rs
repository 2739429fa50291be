//! All that is logged in this process, at every level and by every crate, and what a test shows.

use std::{
    collections::BTreeSet,
    error::Error,
    fmt::{self, Debug, Write},
    sync::{Arc, Mutex},
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// A line, and which crate or test wrote it.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) target: String,
    pub(crate) text: String,
}

/// The lines of `tracing`, its spans included, and of `log`, which rustls uses.
#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<Line>>>);

impl Captured {
    /// Begins to capture, for as long as the process runs.
    pub(crate) fn start() -> Self {
        let captured = Self::default();
        tracing::subscriber::set_global_default(captured.clone()).expect("there is one capture");
        log::set_logger(Box::leak(Box::new(captured.clone()))).expect("there is one capture");
        log::set_max_level(log::LevelFilter::Trace);
        captured
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        self.0.lock().unwrap().clone()
    }

    /// Adds what `Debug` writes, in both forms.
    pub(crate) fn show(&self, it: &dyn Debug) {
        self.push("shown", format!("{it:?} {it:#?}"));
    }

    /// Adds what an error writes, with all causes and in all forms.
    pub(crate) fn show_error(&self, error: &(dyn Error + 'static)) {
        self.show(&error);
        let mut next = Some(error);
        while let Some(error) = next {
            self.push("shown", format!("{error} {error:#} {error:?}"));
            next = error.source();
        }
    }

    /// Each of `targets` has written something.
    pub(crate) fn assert_has_all_of(&self, targets: &[&str]) {
        let lines = self.lines();
        let first = |line: &Line| line.target.split("::").next().map(str::to_owned);
        let seen: BTreeSet<_> = lines.iter().filter_map(first).collect();
        for target in targets {
            assert!(seen.contains(*target), "{target} is not among {seen:?}");
        }
    }

    fn push(&self, target: &str, text: String) {
        let target = target.to_owned();
        self.0.lock().unwrap().push(Line { target, text });
    }

    fn record(&self, metadata: &Metadata<'_>, record: impl FnOnce(&mut dyn Visit)) {
        let mut fields = Fields(format!("{}:", metadata.name()));
        record(&mut fields);
        self.push(metadata.target(), fields.0);
    }
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).expect("a string takes all");
    }
}

impl Subscriber for Captured {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        self.record(span.metadata(), |it| span.record(it));
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        let mut fields = Fields(String::new());
        values.record(&mut fields);
        self.push("a span", fields.0);
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        Captured::record(self, event.metadata(), |it| event.record(it));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl log::Log for Captured {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.push(record.target(), record.args().to_string());
    }

    fn flush(&self) {}
}
