//! How many cases the property tests try.

use proptest::test_runner::Config;

/// Returns a configuration with `times` as many cases as `PROPTEST_CASES` says (256 unless set).
/// Failed cases are printed and not kept in a file: they become tests with a name.
pub(crate) fn cases(times: u32) -> Config {
    let config = Config::default();
    Config {
        cases: config.cases.saturating_mul(times),
        failure_persistence: None,
        ..config
    }
}
