//! Refused rows on their way into `<data source>_quarantine`.
//!
//! In: [`Rejected`] rows. Out: a [`Block`] with every column of the data source as text and the reasons.
//! The table itself is made elsewhere: [`EXTRA`] is what it has besides the data source's columns.

/// The columns that follow the data source's own, which are all `Nullable(String)`.
pub const EXTRA: [(&str, &str); 6] = [
    ("c__error_column", "Array(String)"),
    ("c__error", "Array(String)"),
    ("c__import_id", "Nullable(String)"),
    ("c__raw", "String"),
    ("c__source", "String"),
    ("insertion_date", "DateTime"),
];
