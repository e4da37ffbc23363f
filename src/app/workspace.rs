//! One workspace: a project, its tables, its tokens and connections.

use crate::{
    app::AppError,
    auth::{Access, Scope},
    engine::Rows,
    name::{Namespace, ResourceName},
    project::Project,
    query::{CompiledQuery, Request},
    store::{KafkaConnection, Secret, StoredToken},
};
use bytes::Bytes;
use std::{collections::BTreeMap, sync::Arc};

#[derive(Debug)]
pub struct Workspace {}

/// What rows in a file look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    Csv,
    Ndjson,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendMode {
    Append,
    /// The file's rows take the place of all that are there, at once. Views of the table do not see them.
    Replace,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Appended {
    pub rows: u64,
    pub quarantined: u64,
    /// Stands in the quarantine's `c__import_id`.
    pub import_id: String,
    /// The first few reasons for quarantine, in words.
    pub errors: Vec<String>,
}

#[derive(Debug, Clone, Default)]
pub struct NewToken {
    pub name: String,
    pub description: String,
    pub scopes: Vec<Scope>,
    /// `C` by a call, `DS` or `P` by a datafile.
    pub origin: Option<String>,
}

#[derive(Debug, Clone)]
pub struct NewConnection {
    pub name: String,
    pub bootstrap_servers: String,
    pub security_protocol: String,
    pub sasl_mechanism: String,
    pub key: Option<String>,
    pub secret: Option<Secret>,
    pub ssl_ca_pem: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableStatistics {
    pub rows: u64,
    pub bytes: u64,
    pub quarantined: u64,
}

impl Workspace {
    pub fn id(&self) -> &str {
        ""
    }

    pub fn name(&self) -> &str {
        ""
    }

    pub fn namespace(&self) -> &Namespace {
        todo!()
    }

    /// The project as it is deployed now. A request keeps what it got until its end.
    pub fn project(&self) -> Arc<Project> {
        Arc::default()
    }

    /// Compiles a read under a token's access and begins to run it.
    pub async fn query(&self, access: &Access, request: &Request) -> Result<(Rows, CompiledQuery), AppError> {
        let _ = (access, request);
        Err(AppError::Stopping)
    }

    /// Rows from a file.
    pub async fn append(
        &self,
        datasource: &ResourceName,
        format: FileFormat,
        body: Bytes,
        mode: AppendMode,
    ) -> Result<Appended, AppError> {
        let _ = (datasource, format, body, mode);
        Err(AppError::Stopping)
    }

    /// Rows and bytes of every data source.
    pub async fn statistics(&self) -> Result<BTreeMap<ResourceName, TableStatistics>, AppError> {
        Err(AppError::Stopping)
    }

    /// The value of the admin token, for whoever owns the data directory.
    pub fn admin_token(&self) -> Secret {
        Secret::new("")
    }

    /// Every token, in the order they were made.
    pub fn tokens(&self) -> Vec<Arc<StoredToken>> {
        vec![]
    }

    /// A token by its id, its name or its value.
    pub fn token(&self, key: &str) -> Option<Arc<StoredToken>> {
        let _ = key;
        None
    }

    pub async fn create_token(&self, token: NewToken) -> Result<Arc<StoredToken>, AppError> {
        let _ = token;
        Err(AppError::Stopping)
    }

    /// Gives a token these scopes in place of those it has, and a description if there is one.
    pub async fn change_token(
        &self,
        key: &str,
        scopes: Vec<Scope>,
        description: Option<String>,
    ) -> Result<Arc<StoredToken>, AppError> {
        let _ = (key, scopes, description);
        Err(AppError::Stopping)
    }

    /// A new value for a token; the old one is nobody's from now on.
    pub async fn refresh_token(&self, key: &str) -> Result<Arc<StoredToken>, AppError> {
        let _ = key;
        Err(AppError::Stopping)
    }

    pub async fn delete_token(&self, key: &str) -> Result<(), AppError> {
        let _ = key;
        Err(AppError::Stopping)
    }

    pub async fn connections(&self) -> Result<Vec<KafkaConnection>, AppError> {
        Ok(vec![])
    }

    /// A connection by its id or name.
    pub async fn connection(&self, key: &str) -> Result<Option<KafkaConnection>, AppError> {
        let _ = key;
        Ok(None)
    }

    pub async fn create_connection(&self, connection: NewConnection) -> Result<KafkaConnection, AppError> {
        let _ = connection;
        Err(AppError::Stopping)
    }

    pub async fn delete_connection(&self, key: &str) -> Result<(), AppError> {
        let _ = key;
        Err(AppError::Stopping)
    }
}
