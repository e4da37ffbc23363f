//! Roles for reading, and the databases that each of them may read.
//!
//! An engine may read its roles at its start only, so there is a number of them, each over the databases whose names
//! begin with `w00_`, `w01_`, ..: a workspace takes a slot, and a database name with the slot's prefix.

/// How many roles there are; more workspaces share some.
pub(super) const READER_SLOTS: usize = 32;

/// An empty database for reads to stand in, so that a bare name resolves to nothing. (`default` of the embedded engine
/// would show the file system as tables.)
pub(super) const NOWHERE: &str = "nowhere";

pub(super) fn slot_role(slot: usize) -> String {
    format!("w{slot:02}")
}

/// The prefix that a database must have to be read by users: the one of the slot whose role they read with.
pub(super) fn database_prefix(slot: usize) -> String {
    format!("{}_", slot_role(slot))
}

/// The slot whose role reads a database.
pub(super) fn slot_of(database: &str) -> usize {
    database.split_once('_').and_then(|it| slot_of_role(it.0)).unwrap_or_default()
}

/// The slot that a role is for.
pub(super) fn slot_of_role(role: &str) -> Option<usize> {
    let slot = role.strip_prefix('w')?.parse::<usize>().ok()?;
    (slot < READER_SLOTS && slot_role(slot) == role).then_some(slot)
}
