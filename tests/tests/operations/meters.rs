//! The metrics of this thread.

use crate::document::Meter;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// The value of a metric, and whether it has changed.
#[derive(Default)]
pub(crate) struct Dial(Mutex<(f64, bool)>);

impl Dial {
    fn turn(&self, to: impl FnOnce(f64) -> f64) {
        let mut dial = self.0.lock().unwrap();
        let before = std::mem::replace(&mut dial.0, 0.0);
        dial.0 = to(before);
        dial.1 |= dial.0 != before;
    }
}

impl metrics::CounterFn for Dial {
    fn increment(&self, by: u64) {
        self.turn(|value| value + by as f64);
    }

    fn absolute(&self, value: u64) {
        self.turn(|_| value as f64);
    }
}

impl metrics::GaugeFn for Dial {
    fn increment(&self, by: f64) {
        self.turn(|value| value + by);
    }

    fn decrement(&self, by: f64) {
        self.turn(|value| value - by);
    }

    fn set(&self, value: f64) {
        self.turn(|_| value);
    }
}

#[derive(Clone, Default)]
pub(crate) struct Meters(Arc<Mutex<BTreeMap<Meter, Arc<Dial>>>>);

impl Meters {
    /// Nothing has moved so far.
    pub(crate) fn rest(&self) {
        for dial in self.0.lock().unwrap().values() {
            dial.0.lock().unwrap().1 = false;
        }
    }

    pub(crate) fn moved(&self, documented: &Meter) -> bool {
        let dials = self.0.lock().unwrap();
        let mut dials = dials.iter().filter(|(meter, _)| meter.is(documented));
        dials.any(|(_, dial)| dial.0.lock().unwrap().1)
    }

    pub(crate) fn sum(&self, documented: &Meter) -> f64 {
        let dials = self.0.lock().unwrap();
        let dials = dials.iter().filter(|(meter, _)| meter.is(documented));
        dials.map(|(_, dial)| dial.0.lock().unwrap().0).sum()
    }

    fn dial(&self, key: &metrics::Key) -> Arc<Dial> {
        let labels = key.labels();
        let labels = labels.map(|it| (it.key().to_owned(), it.value().to_owned()));
        let meter = Meter {
            name: key.name().to_owned(),
            labels: labels.collect(),
        };
        self.0.lock().unwrap().entry(meter).or_default().clone()
    }
}

impl metrics::Recorder for Meters {
    fn describe_counter(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }

    fn describe_gauge(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }

    fn describe_histogram(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }

    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        metrics::Counter::from_arc(self.dial(key))
    }

    fn register_gauge(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::from_arc(self.dial(key))
    }

    fn register_histogram(
        &self,
        _: &metrics::Key,
        _: &metrics::Metadata<'_>,
    ) -> metrics::Histogram {
        metrics::Histogram::noop()
    }
}
