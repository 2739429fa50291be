//! The settings of property tests.

use proptest::test_runner::Config;

/// Settings with `times` as many cases as `PROPTEST_CASES` says, which is 256 unless set. The more
/// states there are to reach by chance, the more cases are needed.
///
/// A case that fails is printed and not stored: it becomes a test with a name instead.
pub fn cases(times: u32) -> Config {
    let config = Config::default();
    Config {
        cases: config.cases.saturating_mul(times),
        failure_persistence: None,
        ..config
    }
}
