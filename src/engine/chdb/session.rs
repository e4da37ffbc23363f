//! A connection that stands where it should: role, database and limits set, and read back.
//!
//! In: a purpose. Out: a [`Connection`] ready for it, or why not. The engine ignores a misspelt setting and a
//! missing configuration file in silence, so nothing is believed that was not read back.

use super::{
    config::{self, Purpose},
    ffi::{Connection, Library},
    sandbox::Sandbox,
};
use crate::{
    engine::{
        EngineError, EngineErrorKind, EngineSettings, ReadLimits, Sandboxing,
        slots::{NOWHERE, slot_role},
    },
    sql::{Sql, statement},
};
use std::path::PathBuf;

/// What every connection of an engine is opened with.
pub(super) struct Origin {
    pub(super) library: &'static Library,
    pub(super) settings: EngineSettings,
    pub(super) config: PathBuf,
    /// What every thread enters before it calls the engine.
    pub(super) sandbox: Sandbox,
    pub(super) sandboxing: Sandboxing,
}

#[derive(serde::Deserialize, PartialEq, Debug)]
struct Session {
    roles: Vec<String>,
    database: String,
    zone: String,
    settings: Vec<String>,
}

/// Opens a connection for a purpose. `tag` is how `KILL` finds what runs on it.
pub(super) fn open(
    origin: &Origin,
    purpose: Purpose,
    limits: ReadLimits,
    tag: &str,
) -> Result<Connection, EngineError> {
    let arguments = config::arguments(&origin.settings, &origin.config, purpose, limits, tag);
    let mut connection = origin.library.connect(&arguments).ok_or_else(|| {
        EngineError::own(EngineErrorKind::Internal, "the engine did not start; it wrote its reason to stderr")
    })?;
    let role = role(purpose, limits);
    if purpose == Purpose::Command {
        run(&mut connection, &statement::set_role(&role)).map_err(|error| {
            EngineError::own(
                EngineErrorKind::Internal,
                format!("the engine did not read its configuration {}: {error}", origin.config.display()),
            )
        })?;
        run(&mut connection, &statement::create_database(NOWHERE))?;
    }
    // The database comes first: under a reader's role USE would need a grant that shows it.
    run(&mut connection, &statement::use_database(NOWHERE))?;
    run(&mut connection, &statement::set_role(&role))?;
    check(&mut connection, &origin.settings, purpose, limits, tag)?;
    Ok(connection)
}

/// Reads back what protects: roles, database, time zone, limits.
pub(super) fn check(
    connection: &mut Connection,
    settings: &EngineSettings,
    purpose: Purpose,
    limits: ReadLimits,
    tag: &str,
) -> Result<(), EngineError> {
    let mut wanted = vec![
        ("implicit_select", "false".to_owned()),
        ("use_query_condition_cache", "false".to_owned()),
        ("log_comment", tag.to_owned()),
    ];
    if purpose.is_read() {
        wanted.extend(config::limits(settings, purpose, limits));
        wanted.push(("readonly", "1".to_owned()));
    }
    let bytes = run(connection, &statement::session(wanted.iter().map(|(name, _)| *name)))?;
    let found: Session = serde_json::from_slice(&bytes)
        .map_err(|error| EngineError::own(EngineErrorKind::Internal, format!("unreadable session: {error}")))?;
    let wanted_session = Session {
        roles: vec![role(purpose, limits)],
        database: NOWHERE.to_owned(),
        zone: "UTC".to_owned(),
        settings: wanted.iter().map(|(_, value)| value.clone()).collect(),
    };
    if found == wanted_session {
        return Ok(());
    }
    let message = format!("an engine connection is not as it should be: {found:?} instead of {wanted_session:?}");
    Err(EngineError::own(EngineErrorKind::Internal, message))
}

/// Runs one statement of ours and gives its answer as JSONEachRow.
pub(super) fn run(connection: &mut Connection, sql: &Sql) -> Result<Vec<u8>, EngineError> {
    let answer = connection.query(sql.as_str(), "JSONEachRow", &[]);
    match answer.error() {
        Some(error) => Err(EngineError::parse(&error)),
        None => Ok(answer.bytes().to_vec()),
    }
}

fn role(purpose: Purpose, limits: ReadLimits) -> String {
    match purpose {
        Purpose::Read | Purpose::Whole => slot_role(limits.slot),
        Purpose::Command | Purpose::Insert | Purpose::Parse => config::ADMIN_ROLE.to_owned(),
    }
}
