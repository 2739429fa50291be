//! How thoroughly properties are tried, and the errors that are met in it.

use crate::registry::Error;
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

/// One that can pass.
pub(crate) fn down() -> Error {
    Error::unavailable("down")
}

/// One that cannot.
pub(crate) fn denied() -> Error {
    Error::PermissionDenied {
        message: "no".into(),
        source: None,
    }
}
