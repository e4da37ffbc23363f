//! What requests compile to.
