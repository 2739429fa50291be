//! The `metrics` facade, or functions that do nothing without the feature `metrics`.

pub(crate) use facade::{Share, count};

/// The part of the `metrics` crate that this crate uses.
#[cfg(feature = "metrics")]
mod facade {
    use metrics::{Gauge, Label, counter, gauge};

    fn owned(labels: &[(&'static str, &str)]) -> Vec<Label> {
        let labels = labels.iter();
        let label = |(name, value): &(&'static str, &str)| Label::new(*name, (*value).to_owned());
        labels.map(label).collect()
    }

    pub(crate) fn count(name: &'static str, labels: &[(&'static str, &str)], by: u64) {
        counter!(name, owned(labels)).increment(by);
    }

    /// One owner's share of a gauge. Subtracted when it is dropped, at the recorder to which it was
    /// added.
    pub(crate) struct Share {
        gauge: Gauge,
        added: usize,
    }

    impl Share {
        pub(crate) fn new(name: &'static str, labels: &[(&'static str, &str)]) -> Self {
            let gauge = gauge!(name, owned(labels));
            // Registers the gauge, so that a dashboard shows zero rather than nothing.
            gauge.increment(0.0);
            Self { gauge, added: 0 }
        }

        pub(crate) fn set(&mut self, value: usize) {
            let before = std::mem::replace(&mut self.added, value);
            if value != before {
                self.gauge.increment(value as f64 - before as f64);
            }
        }
    }

    impl Drop for Share {
        fn drop(&mut self) {
            self.set(0);
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod facade {
    pub(crate) fn count(_: &'static str, _: &[(&'static str, &str)], _: u64) {}

    pub(crate) struct Share;

    impl Share {
        pub(crate) fn new(_: &'static str, _: &[(&'static str, &str)]) -> Self {
            Self
        }

        pub(crate) fn set(&mut self, _: usize) {}
    }
}
