//! How properties are run.

use proptest::test_runner::{Config, TestRunner};

/// Without files of past failures: what fails is printed, as small as it can be made. For a longer
/// run, `PROPTEST_CASES` set to a multiple of 256, proptest's own number, multiplies the cases.
pub(crate) fn runner(cases: u32) -> TestRunner {
    let default = Config::default();
    TestRunner::new(Config {
        cases: cases * default.cases.div_ceil(256),
        failure_persistence: None,
        ..default
    })
}
