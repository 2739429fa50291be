//! The metrics of this thread.

use crate::document::Meter;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// The value of a metric, and whether it has changed.
#[derive(Default)]
pub(crate) struct Value(Mutex<(f64, bool)>);

impl Value {
    fn change(&self, to: impl FnOnce(f64) -> f64) {
        let mut value = self.0.lock().unwrap();
        let before = std::mem::replace(&mut value.0, 0.0);
        value.0 = to(before);
        value.1 |= value.0 != before;
    }
}

impl metrics::CounterFn for Value {
    fn increment(&self, by: u64) {
        self.change(|value| value + by as f64);
    }

    fn absolute(&self, value: u64) {
        self.change(|_| value as f64);
    }
}

impl metrics::GaugeFn for Value {
    fn increment(&self, by: f64) {
        self.change(|value| value + by);
    }

    fn decrement(&self, by: f64) {
        self.change(|value| value - by);
    }

    fn set(&self, value: f64) {
        self.change(|_| value);
    }
}

#[derive(Clone, Default)]
pub(crate) struct Meters(Arc<Mutex<BTreeMap<Meter, Arc<Value>>>>);

impl Meters {
    /// Forgets which metrics have changed so far.
    pub(crate) fn reset(&self) {
        for value in self.0.lock().unwrap().values() {
            value.0.lock().unwrap().1 = false;
        }
    }

    /// All that there are, with their labels.
    pub(crate) fn names(&self) -> Vec<Meter> {
        self.0.lock().unwrap().keys().cloned().collect()
    }

    pub(crate) fn moved(&self, documented: &Meter) -> bool {
        let values = self.0.lock().unwrap();
        let mut values = values.iter().filter(|(meter, _)| meter.is(documented));
        values.any(|(_, value)| value.0.lock().unwrap().1)
    }

    pub(crate) fn sum(&self, documented: &Meter) -> f64 {
        let values = self.0.lock().unwrap();
        let values = values.iter().filter(|(meter, _)| meter.is(documented));
        values.map(|(_, value)| value.0.lock().unwrap().0).sum()
    }

    fn value(&self, key: &metrics::Key) -> Arc<Value> {
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
        metrics::Counter::from_arc(self.value(key))
    }

    fn register_gauge(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::from_arc(self.value(key))
    }

    fn register_histogram(
        &self,
        _: &metrics::Key,
        _: &metrics::Metadata<'_>,
    ) -> metrics::Histogram {
        metrics::Histogram::noop()
    }
}
