//! Whole files, both ways.
