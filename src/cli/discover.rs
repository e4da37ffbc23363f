//! Which files of a folder are the project's.
