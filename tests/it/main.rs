//! The one test binary: one file per boundary.

mod tidy;
