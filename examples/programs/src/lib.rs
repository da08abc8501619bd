//! Eleven small programs beside those of other libraries. `README.md` shows their snippets, and
//! `tests/programs.rs` compiles them.
