//! The difference between two projects, as steps: what is made, changed, dropped, and what would lose rows.
