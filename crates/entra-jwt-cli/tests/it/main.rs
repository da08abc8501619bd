//! Tests of the program as people run it: its output, and its exit status.

mod mistakes;
mod pasted;
mod program;
mod support;
