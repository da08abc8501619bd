//! The program as people run it: what it prints, and its exit status.

mod mistakes;
mod pasted;
mod program;
mod support;
