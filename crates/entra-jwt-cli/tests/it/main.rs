//! The program as people run it: what it prints, and its exit status.

mod mistakes;
mod program;
mod support;
