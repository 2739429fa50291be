//! The `metrics` facade, or nothing in its place without the feature `metrics`.

pub(crate) use facade::{GaugeGuard, count};

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
}
