//! A plan becomes SQL, each statement with the one that takes it back.
