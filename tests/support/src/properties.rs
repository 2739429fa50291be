//! The settings of property tests.

use proptest::test_runner::Config;

/// Settings with `times` as many cases as `PROPTEST_CASES`, which is 256 by default. A test with
/// many states to reach needs more cases.
///
/// A failing case is printed, but not stored in a file: write a test with a name for it instead.
pub fn cases(times: u32) -> Config {
    let config = Config::default();
    Config {
        cases: config.cases.saturating_mul(times),
        failure_persistence: None,
        ..config
    }
}
