//! What a server is told so that users read their workspace and nothing else.
//!
//! In: who may do everything. Out: how users' reads are sent, or what is missing for that. What protects is asked for
//! and then tried: a reader that can open a foreign table or a file is no wall.

use super::{
    ask,
    request::{Connection, Request},
};
use crate::{
    engine::{EngineError, EngineErrorKind, EngineLogin, EngineServer, EngineSettings, slots::slot_role},
    sql::{Sql, statement},
};

/// How users' reads are kept apart.
pub(super) enum Walls {
    /// The login takes on one of the roles that are there for reading.
    Roles,
    /// One user reads for all workspaces, whom somebody made.
    Given(EngineLogin),
    /// There are none, so nothing is read for users.
    None(String),
}

const ACCESS_DENIED: i32 = 497;

impl Walls {
    pub(super) async fn establish(
        connection: &Connection,
        server: &EngineServer,
        _settings: &EngineSettings,
    ) -> Result<Walls, EngineError> {
        if let Some(login) = &server.reader {
            let walls = Walls::Given(login.clone());
            return Ok(match walls.try_out(connection).await? {
                None => walls,
                Some(hole) => Walls::None(format!(
                    "the engine's user `{}` reads more than workspaces ({hole}): grant it SELECT on their databases and \
                     nothing else. Until then nothing is read for users",
                    login.user
                )),
            });
        }
        match Walls::Roles.try_out(connection).await? {
            None => Ok(Walls::Roles),
            Some(hole) => Ok(Walls::None(format!(
                "the engine keeps users' reads in no bounds ({hole}): name a user for reading in \
                 BIRDHOUSE_ENGINE_READER, with SELECT on the workspaces' databases and nothing else. Until then nothing \
                 is read for users"
            ))),
        }
    }

    pub(super) fn missing(&self) -> Option<&str> {
        match self {
            Walls::None(words) => Some(words),
            Walls::Roles | Walls::Given(_) => None,
        }
    }

    /// Sends a request behind them.
    pub(super) fn enter(&self, request: Request, slot: usize) -> Result<Request, EngineError> {
        let request = request.with("database", crate::engine::slots::NOWHERE);
        match self {
            Walls::Roles => Ok(request.with("role", slot_role(slot)).with("readonly", "1")),
            Walls::Given(login) => Ok(request.under(login).with("readonly", "1")),
            Walls::None(words) => Err(EngineError::own(EngineErrorKind::Query, words.clone())),
        }
    }

    pub(super) async fn admit(&self, _connection: &Connection, _database: &str) -> Result<(), EngineError> {
        Ok(())
    }

    /// Tries what must be denied, on a table that is made for it; says what is not.
    async fn try_out(&self, connection: &Connection) -> Result<Option<String>, EngineError> {
        let database = format!("check_walls_{:016x}", rand::random::<u64>());
        ask(connection, &statement::create_database(&database)).await?;
        ask(connection, &statement::create_probe(&database)).await?;
        let tried = self.holes(connection, &database).await;
        ask(connection, &statement::drop_database(&database)).await?;
        tried
    }

    async fn holes(&self, connection: &Connection, database: &str) -> Result<Option<String>, EngineError> {
        let read = async |sql: &Sql| self.enter(Request::new(sql).whole(), 0)?.send_whole(connection).await;
        if let Err(error) = read(&statement::ping()).await {
            return match error.kind {
                EngineErrorKind::Unreachable => Err(error),
                _ => Ok(Some(format!("it cannot read at all: {}", error.message))),
            };
        }
        for (what, sql) in statement::probes(database) {
            match read(&sql).await {
                Err(error) if error.code == ACCESS_DENIED => (),
                Err(error) if error.kind == EngineErrorKind::Unreachable => return Err(error),
                Err(_) | Ok(_) => return Ok(Some(what.to_owned())),
            }
        }
        Ok(None)
    }
}
