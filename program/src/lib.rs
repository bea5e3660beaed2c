//! The edges of every program: its command line and environment, its standard streams, its log lines, its panics.
//!
//! What a program says about itself never decides what becomes of its work: a line that can't be written is dropped and
//! counted. Output that somebody asked for (help, a listing) is the other case: if it can't be written, the exit status
//! says so.

pub mod command_line;
pub mod lines;
pub mod panics;
pub mod rotation;
pub mod streams;
pub mod terminal;

pub use lines::Lines;
pub use rotation::RotatedFile;
