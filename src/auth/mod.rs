//! A token string becomes an [`Access`]: what its bearer may do, and which rows it may see.
//!
//! In: tokens as stored, a token string. Out: [`Access`], and [`ReadGrant`]s for single data sources.
//! Projects, HTTP and the engine are not known here.

use crate::name::ResourceName;

/// One scope of a token: `PIPES:READ:x`, `DATASOURCES:READ:x:filter`, `ADMIN`, ...
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    pub kind: ScopeKind,
    pub resource: Option<String>,
    /// The row filter, as the user wrote it.
    pub filter: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScopeKind {
    Admin,
    AdminUser,
    Tokens,
    DatasourcesCreate,
    DatasourcesAppend,
    DatasourcesDrop,
    DatasourcesRead,
    PipesCreate,
    PipesDrop,
    PipesRead,
    WorkspaceReadAll,
    WorkspaceDeploy,
    OrgDatasourcesRead,
}

/// A static token as it is kept. The value itself is handled by `store` and the routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub id: String,
    pub name: String,
    pub description: String,
    /// `C` made by a call, `DS` or `P` made by a datafile.
    pub origin: String,
    pub scopes: Vec<Scope>,
}

/// What the bearer of a token may do.
#[derive(Debug, Clone)]
pub struct Access {
    scopes: Vec<Scope>,
    token_name: String,
}

/// The right to read one data source, whole or through a filter. Made only by [`Access`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadGrant {
    table: ResourceName,
    filters: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token has no access to this resource")]
pub struct Denied;

impl Access {
    pub fn of(token: &Token) -> Access {
        Access { scopes: token.scopes.clone(), token_name: token.name.clone() }
    }

    pub fn token_name(&self) -> &str {
        &self.token_name
    }

    pub fn is_admin(&self) -> bool {
        self.scopes.iter().any(|it| matches!(it.kind, ScopeKind::Admin | ScopeKind::AdminUser))
    }
}

impl ReadGrant {
    pub fn table(&self) -> &ResourceName {
        &self.table
    }
}
