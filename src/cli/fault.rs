//! How a command fails: whose fault it was, and what is printed about it.
//!
//! In: an [`anyhow::Error`]. Out: lines on the error stream and an exit code. A closed pipe is no fault.

use super::{
    client::ClientError,
    printer::{PrintError, Printer},
    settings::Environment,
};
use crate::{
    app::AppError,
    engine::{EngineError, EngineErrorKind},
    store::StoreError,
};

/// The user can do something about it, and the words say what: exit code 1. Everything else is ours: 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct UserError(pub(super) String);

/// A failure that is the user's to mend.
pub(super) fn user(message: impl Into<String>) -> anyhow::Error {
    UserError(message.into()).into()
}

/// Prints why a command failed and gives its exit code.
pub fn report(error: &anyhow::Error) -> u8 {
    if matches!(error.downcast_ref::<PrintError>(), Some(PrintError::ClosedPipe)) {
        return 0;
    }
    let printer = Printer::new(&Environment::of_variables());
    // Errors that are shown as their cause say the same thing twice.
    let mut words: Vec<String> = error.chain().map(ToString::to_string).collect();
    words.dedup();
    printer.error(&words[0], &words[1..]);
    if is_users(error) { 1 } else { 2 }
}

fn is_users(error: &anyhow::Error) -> bool {
    error.downcast_ref::<UserError>().is_some()
        || error.downcast_ref::<ClientError>().is_some_and(ClientError::is_users)
        || error.downcast_ref::<AppError>().is_some_and(apps_are_users)
        || error.downcast_ref::<EngineError>().is_some_and(engines_are_users)
}

fn apps_are_users(error: &AppError) -> bool {
    match error {
        AppError::Store(error) => !matches!(error, StoreError::Database(_) | StoreError::Damaged(_)),
        AppError::Engine(error) => engines_are_users(error),
        _ => false,
    }
}

fn engines_are_users(error: &EngineError) -> bool {
    use EngineErrorKind::{Locked, Missing, Query, Unreachable};
    matches!(error.kind, Missing | Locked | Query | Unreachable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_users_fault_is_seen_through_context() {
        let error = Err::<(), _>(user("no such file")).context("cannot push").unwrap_err();
        assert!(is_users(&error));
        assert!(!is_users(&anyhow::anyhow!("a bug")));
        let error = anyhow::Error::new(UserError("a".into())).context("b").context("c");
        assert!(is_users(&error));
    }
}
