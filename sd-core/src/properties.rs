//! How thoroughly properties are tried.

use proptest::test_runner::Config;

/// `times` as many cases as `PROPTEST_CASES` says (256 unless set): the more there is to meet by
/// chance, the more are needed. A case that failed is printed, and becomes a test with a name
/// rather than a file of seeds.
pub(crate) fn cases(times: u32) -> Config {
    let config = Config::default();
    Config {
        cases: config.cases.saturating_mul(times),
        failure_persistence: None,
        ..config
    }
}
