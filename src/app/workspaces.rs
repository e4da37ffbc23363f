//! The workspaces of a server: made, deleted, and opened by each other's administrators.
//!
//! Whoever holds an administrator's token of the first workspace runs the server: all workspaces are open to it.
//! One of another workspace opens that one and its branches. A token of a workspace opens no other by itself; what
//! is handed out for the others ([`Realm::key`]) is made of the token that it stands for, and ends with it.

use super::{App, AppError, Caller, DeployOptions, Shared, Workspace, shares, words};
use crate::{
    auth::{self, Access, Limits, Scope, ScopeKind, Token},
    diagnostic::{Severity, has_errors},
    engine::Engine,
    jobs::{Job, JobKind, Subject},
    name::Namespace,
    store::{Secret, WorkspaceRecord},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use std::sync::{Arc, PoisonError};
use subtle::ConstantTimeEq;

/// The workspaces that an administrator's token opens.
#[derive(Debug, Clone)]
pub struct Realm {
    /// The workspace whose administrator it is.
    root: Arc<Workspace>,
    /// All of the server.
    all: bool,
}

/// The longest name of a workspace or branch, in bytes.
const LONGEST_NAME: usize = 100;

impl App {
    /// What the token of this value may do, and where. A deleted token is nobody at once.
    pub fn authenticate(&self, token: &str) -> Option<Caller> {
        let hash = self.shared.lookup.hash(token);
        let signed = auth::jwt::is_jwt(token);
        let workspaces = self.workspaces();
        let found = workspaces.iter().find_map(|workspace| {
            let kept = workspace.access(&hash).map(|access| (access, hash));
            let (access, key) = kept.or_else(|| {
                let access = signed.then(|| workspace.verify_jwt(token)).flatten()?;
                // Tokens that carry their scopes are counted by their name, as in the API: a new one of the same
                // name has no rate of its own.
                let key = self.shared.lookup.hash(&format!("\0{}\0{}", workspace.id(), access.token_name()));
                Some((access, key))
            })?;
            let realm = access.is_admin().then(|| self.realm(workspace.clone()));
            let access = if realm.is_some() { access } else { access.within(&self.shared.settings.limits) };
            Some(Caller { access, workspace: workspace.clone(), key, realm })
        });
        found.or_else(|| {
            let (workspace, realm) = self.opened_by_key(&workspaces, token)?;
            Some(Caller { access: key_access(), workspace, key: hash, realm: Some(realm) })
        })
    }

    /// The workspaces, in the order they were made, branches among them.
    pub fn workspaces(&self) -> Arc<[Arc<Workspace>]> {
        self.workspaces.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The one that is there from the first start on.
    pub fn workspace(&self) -> &Arc<Workspace> {
        &self.first
    }

    /// Those of a realm, each with the token that opens it.
    pub fn seen_from(&self, realm: &Realm) -> Vec<(Arc<Workspace>, Secret)> {
        let workspaces = self.workspaces();
        let seen = workspaces.iter().filter(|it| realm.has(it));
        seen.map(|it| (it.clone(), realm.key(it))).collect()
    }

    /// A new workspace, with nothing in it.
    pub async fn create_workspace(&self, name: &str) -> Result<Arc<Workspace>, AppError> {
        let name = checked(name)?;
        let app = self.clone();
        super::whole(async move {
            let _changing = app.changing.lock().await;
            if app.workspaces().iter().any(|it| it.main().is_none() && it.name() == name) {
                return Err(AppError::Exists { kind: "workspace", name });
            }
            app.add(record(&name, None, app.free_slot()), None).await
        })
        .await
    }

    /// A branch of a workspace: the same files, connections and secrets, tokens of its own, and no rows.
    pub async fn create_branch(&self, main: &Arc<Workspace>, name: &str) -> Result<Arc<Workspace>, AppError> {
        let name = checked(name)?;
        if main.main().is_some() {
            return Err(AppError::Invalid("a branch has no branches".to_owned()));
        }
        let (app, main) = (self.clone(), main.clone());
        super::whole(async move {
            let _changing = app.changing.lock().await;
            if app.workspaces().iter().any(|it| it.main() == Some(main.id()) && it.name() == name) {
                let by = "a branch of this workspace".to_owned();
                return Err(AppError::InUse { kind: "name", name, by });
            }
            let branch = app.add(record(&name, Some(main.id()), app.free_slot()), Some(&main)).await?;
            let files = async {
                shares::inherit(&main, &branch).await?;
                branch.deploy(main.project().sources.clone(), DeployOptions::default()).await
            };
            let failed = match files.await {
                Ok(report) if !has_errors(&report.diagnostics) => None,
                Ok(report) => {
                    let error = report.diagnostics.iter().find(|it| it.severity == Severity::Error);
                    let words = error.map(|it| it.message.clone()).unwrap_or_default();
                    Some(AppError::Invalid(format!("the branch cannot be made: {words}")))
                }
                Err(error) => Some(error),
            };
            if let Some(error) = failed {
                app.remove(&branch).await?;
                return Err(error);
            }
            Ok(branch)
        })
        .await
    }

    /// A workspace goes with its branches, tokens, files and rows.
    pub async fn delete_workspace(&self, workspace: &Arc<Workspace>) -> Result<(), AppError> {
        if workspace.id() == self.first.id() {
            let words = format!("`{}` is the server's own workspace: it stays", workspace.name());
            return Err(AppError::Invalid(words));
        }
        let (app, workspace) = (self.clone(), workspace.clone());
        super::whole(async move {
            let _changing = app.changing.lock().await;
            for branch in app.workspaces().iter().filter(|it| it.main() == Some(workspace.id())) {
                app.remove(branch).await?;
            }
            app.remove(&workspace).await
        })
        .await
    }

    /// The reader's role that the fewest workspaces have.
    fn free_slot(&self) -> usize {
        let workspaces = self.workspaces();
        let taken: Vec<_> = workspaces.iter().map(|it| Engine::slot_of(it.namespace().database())).collect();
        let users = |slot: &usize| taken.iter().filter(|it| *it == slot).count();
        (0..Engine::SLOTS).min_by_key(users).unwrap_or_default()
    }

    fn realm(&self, root: Arc<Workspace>) -> Realm {
        Realm { all: root.id() == self.first.id(), root }
    }

    /// What a key stands for: the workspace that it opens, and to whom.
    fn opened_by_key(&self, workspaces: &[Arc<Workspace>], token: &str) -> Option<(Arc<Workspace>, Realm)> {
        #[derive(serde::Deserialize)]
        struct Content {
            u: String,
            id: String,
        }
        let content = token.strip_prefix("p.")?.split_once('.')?.0;
        let content: Content = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(content).ok()?).ok()?;
        let by_id = |id: &str| workspaces.iter().find(|it| it.id() == id).cloned();
        let (workspace, realm) = (by_id(&content.u)?, self.realm(by_id(&content.id)?));
        let key = realm.key(&workspace);
        let is_key = bool::from(key.reveal().as_bytes().ct_eq(token.as_bytes()));
        (is_key && realm.has(&workspace)).then_some((workspace, realm))
    }

    /// With what another workspace has that files refer to.
    async fn add(&self, record: WorkspaceRecord, like: Option<&Arc<Workspace>>) -> Result<Arc<Workspace>, AppError> {
        self.shared.running()?;
        let (added, like) = (record.clone(), like.map(|it| it.id().to_owned()));
        let copied = move |store: &crate::store::Store| {
            store.add_workspace(&added)?;
            let Some(like) = like else { return Ok(()) };
            for connection in store.kafka_connections(&like)? {
                let connection = crate::store::KafkaConnection { id: words::random_id(), ..connection };
                store.put_kafka_connection(&added.id, &connection)?;
            }
            for secret in store.secrets(&like)? {
                store.put_secret(&added.id, &secret)?;
            }
            Ok(())
        };
        self.shared.store(copied).await?;
        let workspace = Workspace::restore(self.shared.clone(), record, None).await?;
        workspace.start().await?;
        self.swap(|all| all.push(workspace.clone()));
        Ok(workspace)
    }

    async fn remove(&self, workspace: &Arc<Workspace>) -> Result<(), AppError> {
        let id = workspace.id().to_owned();
        self.shared.store(move |store| store.begin_leaving(&id)).await?;
        // Its tokens are nobody's from here on.
        self.swap(|all| all.retain(|it| it.id() != workspace.id()));
        shares::leave(workspace).await?;
        workspace.quiesce().await;
        delete(&self.shared, &workspace.record).await
    }

    fn swap(&self, change: impl FnOnce(&mut Vec<Arc<Workspace>>)) {
        let mut held = self.workspaces.write().unwrap_or_else(PoisonError::into_inner);
        let mut all = held.to_vec();
        change(&mut all);
        *held = all.into();
    }
}

impl Realm {
    /// All workspaces of the server are in it.
    pub fn is_whole(&self) -> bool {
        self.all
    }

    /// Whether a workspace is in it.
    pub fn has(&self, workspace: &Workspace) -> bool {
        self.all || workspace.id() == self.root.id() || workspace.main() == Some(self.root.id())
    }

    /// What opens a workspace of it: its own admin token, or one that is made of it for another workspace.
    pub fn key(&self, workspace: &Workspace) -> Secret {
        let own = self.root.admin_token();
        if workspace.id() == self.root.id() {
            return own;
        }
        let (root, id) = (self.root.id(), workspace.id());
        let content = serde_json::json!({ "u": id, "id": root, "host": null }).to_string();
        let hash = self.root.shared.lookup.hash(&format!("key\0{id}\0{root}\0{}", own.reveal()));
        Secret::new(auth::token_value(&content, hash))
    }
}

impl Workspace {
    /// What clients wait for after they have asked for a branch, which is there by then.
    pub fn branch_job(&self) -> Job {
        self.jobs.start(words::random_id(), JobKind::Branch, Subject::default(), async { Ok(None) })
    }
}

pub(super) fn record(name: &str, main: Option<&str>, slot: usize) -> WorkspaceRecord {
    WorkspaceRecord {
        id: words::random_id(),
        name: name.to_owned(),
        main: main.map(str::to_owned),
        created_at: Some(words::now()),
        leaves: false,
        database: Engine::database_name(slot, &words::random_letters(20)),
    }
}

/// What is left of a workspace that nobody sees any more.
pub(super) async fn delete(shared: &Shared, record: &WorkspaceRecord) -> Result<(), AppError> {
    shared.engine.command(&shared.layout.drop_database(&Namespace::new(&record.database))).await?;
    let events = shared.settings.data_directory.join("events").join(&record.id);
    match tokio::fs::remove_dir_all(&events).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            shared.warn(format!("{} is not needed any more and could not be removed: {error}", events.display()));
        }
        _ => {}
    }
    let id = record.id.clone();
    shared.store(move |store| store.delete_workspace(&id)).await
}

fn key_access() -> Access {
    Access::of(&Token {
        id: "key".to_owned(),
        name: "key of an administrator".to_owned(),
        description: String::new(),
        origin: "C".to_owned(),
        scopes: vec![Scope { kind: ScopeKind::Admin, resource: None, filter: None }],
        limits: Limits::default(),
    })
}

fn checked(name: &str) -> Result<String, AppError> {
    let name = name.trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(fits) {
        let words = format!("a name has 1 to {LONGEST_NAME} letters, digits, `_` and `-`");
        return Err(AppError::Invalid(words));
    }
    Ok(name.to_owned())
}
