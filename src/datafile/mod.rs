//! datafile
