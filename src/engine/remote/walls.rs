//! What a server is told so that users read their workspace and nothing else.
//!
//! In: who may do everything. Out: how users' reads are sent, or what is missing for that. What protects is asked for
//! and then tried: a reader that can open a foreign table or a file is no wall.

use super::{
    ask,
    request::{Connection, Request},
};
use crate::{
    engine::{
        EngineError, EngineErrorKind, EngineLogin, EnginePassword, EngineServer, EngineSettings,
        slots::{slot_of, slot_role},
    },
    query::Format,
    sql::{
        Sql,
        access::{self, ReaderLimits},
        statement,
    },
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, fs, io};

/// How users' reads are kept apart.
pub(super) enum Walls {
    /// The login takes on one of the roles that are there for reading.
    Roles,
    /// Each of those has a user of its own, whom we make.
    Users(Users),
    /// One user reads for all workspaces, whom somebody made, on the servers of this cluster if it is one.
    Given(EngineLogin, Option<String>),
    /// There are none, so nothing is read for users.
    None(String),
}

/// Users on the server, by the slots of [`slots`](crate::engine::slots).
pub(super) struct Users {
    /// Tells those of this data directory from others'.
    id: String,
    /// Made anew at each start; nobody else knows it.
    password: String,
    limits: ReaderLimits,
    /// Where they are made, besides the server that is asked.
    cluster: Option<String>,
    made: tokio::sync::Mutex<BTreeSet<usize>>,
}

const ACCESS_DENIED: i32 = 497;

impl Users {
    fn new(settings: &EngineSettings, cluster: Option<String>) -> Result<Users, EngineError> {
        let path = settings.directory.join("server_id");
        let failed =
            |error: io::Error| EngineError::own(EngineErrorKind::Internal, format!("{}: {error}", path.display()));
        fs::create_dir_all(&settings.directory).map_err(failed)?;
        let id = match fs::read_to_string(&path) {
            Ok(id) => id.trim().to_owned(),
            Err(_) => {
                let id = format!("{:016x}", rand::random::<u64>());
                fs::write(&path, &id).map_err(failed)?;
                id
            }
        };
        let limits = ReaderLimits {
            memory: settings.max_memory_usage,
            seconds: settings.max_answer_time.max(settings.max_execution_time).as_secs().max(1),
            reads: settings.readers as u64 * 16,
        };
        Ok(Users {
            id,
            password: format!("{:032x}", rand::random::<u128>()),
            limits,
            cluster,
            made: Default::default(),
        })
    }

    fn login(&self, slot: usize) -> EngineLogin {
        let user = format!("birdhouse_{}_{}", self.id, slot_role(slot));
        EngineLogin { user, password: EnginePassword::new(&*self.password) }
    }

    /// The user of a slot, with no rights but those that it is given after this.
    async fn make(&self, connection: &Connection, slot: usize) -> Result<(), EngineError> {
        let mut made = self.made.lock().await;
        if made.contains(&slot) {
            return Ok(());
        }
        let (user, cluster) = (self.login(slot).user, self.cluster.as_deref());
        let hash: String = Sha256::digest(&self.password).iter().map(|it| format!("{it:02x}")).collect();
        for sql in [
            access::create_reader(&user, &hash, cluster),
            access::revoke_all(&user, cluster),
            access::alter_reader(&user, &hash, self.limits, cluster),
            access::create_quota(&user, cluster),
        ] {
            ask(connection, &sql).await?;
        }
        made.insert(slot);
        Ok(())
    }
}

impl Walls {
    pub(super) async fn establish(
        connection: &Connection,
        server: &EngineServer,
        settings: &EngineSettings,
    ) -> Result<Walls, EngineError> {
        if let Some(login) = &server.reader {
            let walls = Walls::Given(login.clone(), server.cluster.as_ref().map(|it| it.name.clone()));
            return Ok(match walls.try_out(connection).await? {
                None => walls,
                Some(hole) => Walls::None(format!(
                    "the engine's user `{}` is no wall ({hole}): grant it SELECT on the workspaces' databases and nothing \
                     else. Until then nothing is read for users",
                    login.user
                )),
            });
        }
        let Some(no_roles) = Walls::Roles.try_out(connection).await? else { return Ok(Walls::Roles) };
        let users = Users::new(settings, server.cluster.as_ref().map(|it| it.name.clone()))?;
        let no_users = match users.make(connection, 0).await {
            Err(error) if error.kind == EngineErrorKind::Unreachable => return Err(error),
            Err(error) => error.message,
            Ok(()) => {
                let walls = Walls::Users(users);
                match walls.try_out(connection).await? {
                    None => return Ok(walls),
                    Some(hole) => hole,
                }
            }
        };
        Ok(Walls::None(format!(
            "the engine keeps users' reads in no bounds: its login has no roles for reading ({no_roles}), and users for it \
             cannot be made ({no_users}). Allow the login access management, or name a user in BIRDHOUSE_ENGINE_READER \
             that has SELECT on the workspaces' databases and nothing else. Until then nothing is read for users"
        )))
    }

    /// Who would read for users, or why nobody. No user is made.
    pub(super) async fn examine(
        connection: &Connection,
        server: &EngineServer,
    ) -> Result<Result<String, String>, EngineError> {
        if let Some(login) = &server.reader {
            let tried = Walls::Given(login.clone(), None).try_out(connection).await?;
            let name = format!("the user `{}`", login.user);
            return Ok(tried.map_or(Ok(name.clone()), |hole| Err(format!("{name} is no wall: {hole}"))));
        }
        let Some(hole) = Walls::Roles.try_out(connection).await? else {
            return Ok(Ok("the login, under the roles w00 to w31".to_owned()));
        };
        let request = Request::new(&access::check_access_management()).whole();
        let request = request.with("default_format", Format::JsonEachRow.engine_name());
        Ok(match request.send_whole(connection).await {
            Ok(answer) if answer.ends_with(b":1}\n") => Ok("a user for each workspace, made by birdhouse".to_owned()),
            Err(error) if error.kind == EngineErrorKind::Unreachable => return Err(error),
            _ => Err(format!("users' reads have no bounds: no roles ({hole}), no access management, no reader named")),
        })
    }

    pub(super) fn missing(&self) -> Option<&str> {
        match self {
            Walls::None(words) => Some(words),
            Walls::Roles | Walls::Users(_) | Walls::Given(..) => None,
        }
    }

    /// Sends a request behind them.
    pub(super) fn enter(&self, request: Request, slot: usize) -> Result<Request, EngineError> {
        let request = request.with("database", crate::engine::slots::NOWHERE);
        match self {
            Walls::Roles => Ok(request.with("role", slot_role(slot)).with("readonly", "1")),
            // The user is read-only by itself, and then nobody may say so again.
            Walls::Users(users) => Ok(request.under(&users.login(slot))),
            Walls::Given(login, _) => Ok(request.under(login).with("readonly", "1")),
            Walls::None(words) => Err(EngineError::own(EngineErrorKind::Query, words.clone())),
        }
    }

    /// Lets the reader of a database's slot read it.
    pub(super) async fn admit(&self, connection: &Connection, database: &str) -> Result<(), EngineError> {
        match self {
            Walls::Roles | Walls::None(_) => Ok(()),
            Walls::Users(users) => {
                let slot = slot_of(database);
                users.make(connection, slot).await?;
                let grant = access::grant_read(database, &users.login(slot).user, users.cluster.as_deref());
                ask(connection, &grant).await.map(drop)
            }
            Walls::Given(login, cluster) => {
                let request = self.enter(Request::new(&access::check_grant(database)).whole(), slot_of(database))?;
                let request = request.with("default_format", Format::JsonEachRow.engine_name());
                match request.send_whole(connection).await {
                    Ok(answer) if answer.ends_with(b":0}\n") => {
                        let (sql, user) = (access::grant_read(database, &login.user, cluster.as_deref()), &login.user);
                        let words = format!("the engine's user `{user}` may not read a workspace: {}", sql.as_str());
                        Err(EngineError::own(EngineErrorKind::Query, words))
                    }
                    // A server that cannot say it shows it at the first read.
                    _ => Ok(()),
                }
            }
        }
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
