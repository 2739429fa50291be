//! The `metrics` facade, or nothing in its place without the feature `metrics`.

pub(crate) use facade::{GaugeGuard, Share, count};

#[cfg(feature = "metrics")]
mod facade {
    use metrics::{Gauge, Label, counter, gauge};

    pub(crate) fn count(
        name: &'static str,
        label: Option<(&'static str, &'static str)>,
        by: usize,
    ) {
        let label = label.map(|(name, value)| Label::from_static_parts(name, value));
        counter!(name, Vec::from_iter(label)).increment(by as u64);
    }

    pub(crate) struct GaugeGuard(Gauge);

    impl GaugeGuard {
        pub(crate) fn new(name: &'static str) -> Self {
            let gauge = gauge!(name);
            gauge.increment(1.0);
            Self(gauge)
        }
    }

    impl Drop for GaugeGuard {
        fn drop(&mut self) {
            self.0.decrement(1.0);
        }
    }

    /// One owner's share of a gauge. Subtracted when it is dropped.
    pub(crate) struct Share {
        gauge: Gauge,
        added: usize,
    }

    impl Share {
        pub(crate) fn new(name: &'static str) -> Self {
            let gauge = gauge!(name);
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
    pub(crate) fn count(_: &'static str, _: Option<(&'static str, &'static str)>, _: usize) {}

    pub(crate) struct GaugeGuard;

    impl GaugeGuard {
        pub(crate) fn new(_: &'static str) -> Self {
            Self
        }
    }

    pub(crate) struct Share;

    impl Share {
        pub(crate) fn new(_: &'static str) -> Self {
            Self
        }

        pub(crate) fn set(&mut self, _: usize) {}
    }
}
