//! Configuration of property tests.

use proptest::test_runner::{Config, TestRunner};

/// Returns a runner that prints a failing case in its smallest form and writes no files of past
/// failures.
///
/// For a longer run, set `PROPTEST_CASES` to a multiple of 256, proptest's own number: it
/// multiplies the number of cases.
pub(crate) fn runner(cases: u32) -> TestRunner {
    let default = Config::default();
    TestRunner::new(Config {
        cases: cases * default.cases.div_ceil(256),
        failure_persistence: None,
        ..default
    })
}
