//! What is logged, for tests.

use std::{
    fmt,
    sync::{Arc, Mutex},
};
use tracing::{
    Level, Metadata,
    field::{Field, Visit},
    span,
    subscriber::DefaultGuard,
};

/// The lines of this thread at `INFO` and above, as long as it lives.
pub(crate) struct Lines {
    log: Log,
    _logging: DefaultGuard,
}

impl Lines {
    /// Reads along from now on.
    pub(crate) fn read() -> Self {
        let log = Log::default();
        let _logging = tracing::subscriber::set_default(log.clone());
        Self { log, _logging }
    }

    /// Each as `LEVEL message field=value ...`.
    pub(crate) fn all(&self) -> Vec<String> {
        self.log.0.lock().unwrap().clone()
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = event.metadata().level();
        let text = format!("{level} {}{}", line.message, line.fields);
        self.0.lock().unwrap().push(text);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.fields += &format!(" {name}={value:?}"),
        }
    }
}
