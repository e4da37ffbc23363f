//! A token string becomes an [`Access`]: what its bearer may do, and which rows it may see.
//!
//! In: tokens as stored, a token string. Out: [`Access`], and [`ReadGrant`]s for single data sources.
//! Projects, HTTP and the engine are not known here.

pub mod jwt;
mod limits;
mod scope;
mod value;

pub use jwt::BadToken;
pub use limits::Limits;
pub use scope::{BadScope, Scope, ScopeKind, add_scopes, merge_scopes};
pub use value::{is_token_value, token_value};

use crate::{
    name::ResourceName,
    sql::scan::{self, ScanError},
};
use serde_json::{Map, Value};
use std::sync::Arc;

/// A static token as it is kept. The value itself is handled by `store` and the routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub id: String,
    pub name: String,
    pub description: String,
    /// `C` made by a call, `DS` or `P` made by a datafile.
    pub origin: String,
    pub scopes: Vec<Scope>,
    pub limits: Limits,
}

/// What the bearer of a token may do. [`Access::enter`] gives the access that holds inside a pipe.
#[derive(Debug, Clone)]
pub struct Access {
    scopes: Arc<[Scope]>,
    token_name: Arc<str>,
    token_id: Arc<str>,
    inside: bool,
    /// By endpoint: parameters that the request cannot choose.
    fixed_params: Arc<[(String, Map<String, Value>)]>,
    limits: Limits,
}

/// The right to read one data source, whole or through filters. Made only by [`Access`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadGrant {
    table: ResourceName,
    quarantine: bool,
    filters: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token has no access to this resource")]
pub struct Denied;

/// A row filter is one expression; it may hold subqueries over other data sources.
pub fn check_filter(text: &str) -> Result<(), ScanError> {
    scan::scan_filter(text).map(drop)
}

impl Access {
    pub fn of(token: &Token) -> Access {
        let access = Access::new(token.scopes.as_slice().into(), &token.name);
        Access { token_id: token.id.as_str().into(), limits: token.limits, ..access }
    }

    /// The access of the project itself: what its views and its deploy checks read with.
    pub fn owner() -> Access {
        let scope = Scope { kind: ScopeKind::Admin, resource: None, filter: None };
        Access::new([scope].into(), "")
    }

    fn new(scopes: Arc<[Scope]>, token_name: &str) -> Access {
        Access {
            scopes,
            token_name: token_name.into(),
            token_id: "".into(),
            inside: false,
            fixed_params: Arc::new([]),
            limits: Limits::default(),
        }
    }

    /// The same, but for one data source, of which only the rows that fulfil every filter are read.
    pub fn owner_through(datasource: &ResourceName, filters: &[String]) -> Access {
        let filtered = filters.iter().map(|filter| Scope {
            kind: ScopeKind::DatasourcesRead,
            resource: Some(datasource.to_string()),
            filter: Some(filter.clone()),
        });
        let all = Scope { kind: ScopeKind::WorkspaceReadAll, resource: None, filter: None };
        Access { scopes: filtered.chain([all]).collect(), ..Access::owner() }
    }

    pub fn token_name(&self) -> &str {
        &self.token_name
    }

    /// Empty for a token that is not kept: one that an application signed.
    pub fn token_id(&self) -> &str {
        &self.token_id
    }

    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// Parameters that this token fixes for an endpoint, wherever it is read.
    pub fn fixed_params(&self, pipe: &ResourceName) -> Option<&Map<String, Value>> {
        self.fixed_params.iter().find(|(name, _)| name == pipe.as_str()).map(|(_, params)| params)
    }

    /// Whether rows of what it reads are hidden from it.
    pub fn sees_in_part(&self) -> bool {
        !self.fixed_params.is_empty() || self.scopes.iter().any(|it| it.filter.is_some())
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The same access, held to these limits besides its own.
    pub fn within(self, limits: &Limits) -> Access {
        Access { limits: self.limits.narrowed(limits), ..self }
    }

    pub fn is_admin(&self) -> bool {
        self.has(&[ScopeKind::Admin, ScopeKind::AdminUser])
    }

    /// The access inside a pipe: data sources need no scope of their own there, their filters still hold.
    /// A pipe read inside another needs no scope either.
    pub fn enter(&self, pipe: &ResourceName) -> Result<Access, Denied> {
        let inside = Access { inside: true, ..self.clone() };
        if self.inside || self.is_admin() {
            return Ok(inside);
        }
        let scopes = self.on(ScopeKind::PipesRead, pipe).collect::<Vec<_>>();
        // A filter on a pipe is no promise that is kept anywhere yet, so such a scope opens nothing.
        if scopes.iter().any(|it| it.filter.is_some()) {
            return Err(Denied);
        }
        (!scopes.is_empty() || self.has(&[ScopeKind::WorkspaceReadAll])).then_some(inside).ok_or(Denied)
    }

    /// The right to read a data source. Several filters on it hold together; a scope without one lifts none.
    pub fn read(&self, datasource: &ResourceName) -> Result<ReadGrant, Denied> {
        let grant = |filters| ReadGrant { table: datasource.clone(), quarantine: false, filters };
        if self.is_admin() {
            return Ok(grant(vec![]));
        }
        let mut any = self.inside || self.has(&[ScopeKind::WorkspaceReadAll]);
        let mut filters: Vec<String> = Vec::new();
        for scope in self.on(ScopeKind::DatasourcesRead, datasource) {
            any = true;
            if let Some(filter) = &scope.filter
                && !filters.contains(filter)
            {
                filters.push(filter.clone());
            }
        }
        any.then(|| grant(filters)).ok_or(Denied)
    }

    /// The right to read what a data source refused. It rides on the scope of the source; its rows are
    /// text that a filter cannot be trusted on, so a filtered source keeps its quarantine closed.
    pub fn read_quarantine(&self, datasource: &ResourceName) -> Result<ReadGrant, Denied> {
        match self.read(datasource)? {
            grant if grant.filters.is_empty() => Ok(ReadGrant { quarantine: true, ..grant }),
            _ => Err(Denied),
        }
    }

    pub fn may_append(&self, datasource: &ResourceName) -> bool {
        self.may(ScopeKind::DatasourcesAppend, datasource)
    }

    /// Truncate, delete rows, replace, drop.
    pub fn may_drop_datasource(&self, datasource: &ResourceName) -> bool {
        self.may(ScopeKind::DatasourcesDrop, datasource)
    }

    pub fn may_create_datasource(&self) -> bool {
        self.is_admin() || self.has(&[ScopeKind::DatasourcesCreate])
    }

    pub fn may_create_pipe(&self) -> bool {
        self.is_admin() || self.has(&[ScopeKind::PipesCreate])
    }

    pub fn may_drop_pipe(&self, pipe: &ResourceName) -> bool {
        self.may(ScopeKind::PipesDrop, pipe)
    }

    pub fn may_manage_tokens(&self) -> bool {
        self.is_admin() || self.has(&[ScopeKind::Tokens])
    }

    /// Whether a token with these scopes is no stronger than what this one may make. `TOKENS` is there to give out
    /// rights on data sources and pipes, so it gives those that its bearer lacks too; but not the rights over the
    /// whole workspace. One that sees sources through filters gives what it has itself, and all its filters with it,
    /// since they hold inside of endpoints too.
    pub fn may_give(&self, scopes: &[Scope]) -> bool {
        let own = |it: &Scope| self.scopes.contains(it);
        let mut filtered = self.scopes.iter().filter(|it| it.filter.is_some()).peekable();
        if self.is_admin() {
            return true;
        }
        self.has(&[ScopeKind::Tokens])
            && match filtered.peek() {
                None => scopes.iter().all(|it| own(it) || it.kind.is_of_resources()),
                Some(_) => scopes.iter().all(own) && filtered.all(|it| scopes.contains(it)),
            }
    }

    pub fn may_deploy(&self) -> bool {
        self.is_admin() || self.has(&[ScopeKind::WorkspaceDeploy])
    }

    fn may(&self, kind: ScopeKind, resource: &ResourceName) -> bool {
        self.is_admin() || self.on(kind, resource).next().is_some()
    }

    fn has(&self, kinds: &[ScopeKind]) -> bool {
        self.scopes.iter().any(|it| kinds.contains(&it.kind))
    }

    fn on(&self, kind: ScopeKind, resource: &ResourceName) -> impl Iterator<Item = &Scope> {
        self.scopes.iter().filter(move |it| it.kind == kind && it.resource.as_deref() == Some(resource.as_str()))
    }
}

impl ReadGrant {
    /// The data source, also when the grant is for its quarantine.
    pub fn table(&self) -> &ResourceName {
        &self.table
    }

    pub fn is_quarantine(&self) -> bool {
        self.quarantine
    }

    /// The filters that hold together, as their users wrote them.
    pub fn filters(&self) -> &[String] {
        &self.filters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(scopes: &[&str]) -> Access {
        let scopes = scopes.iter().map(|it| Scope::parse(it).unwrap()).collect();
        Access::of(&Token {
            id: "1".into(),
            name: "t".into(),
            description: String::new(),
            origin: "C".into(),
            scopes,
            limits: Limits::default(),
        })
    }

    fn name(text: &str) -> ResourceName {
        ResourceName::new(text).unwrap()
    }

    #[test]
    fn a_pipe_opens_what_it_reads_and_filters_hold_inside() {
        let access = access(&["PIPES:READ:p", "DATASOURCES:READ:x:a=1"]);
        assert_eq!(access.read(&name("y")), Err(Denied));
        assert_eq!(access.enter(&name("q")).err(), Some(Denied));
        let inside = access.enter(&name("p")).unwrap();
        assert_eq!(inside.read(&name("y")).unwrap().filters(), [] as [&str; 0]);
        assert_eq!(inside.read(&name("x")).unwrap().filters(), ["a=1"]);
        assert!(inside.enter(&name("q")).is_ok());
    }

    #[test]
    fn filters_only_narrow() {
        let access = access(&[
            "DATASOURCES:READ:x:a=1",
            "DATASOURCES:READ:x",
            "DATASOURCES:READ:x:b=2",
            "DATASOURCES:READ:x:a=1",
            "WORKSPACE:READ_ALL",
        ]);
        assert_eq!(access.read(&name("x")).unwrap().filters(), ["a=1", "b=2"]);
        assert_eq!(access.read_quarantine(&name("x")), Err(Denied));
        assert!(access.read_quarantine(&name("y")).unwrap().is_quarantine());
    }

    #[test]
    fn an_admin_reads_all_and_others_do_only_what_they_may() {
        assert!(access(&["ADMIN"]).read(&name("x")).is_ok());
        assert!(access(&["ADMIN"]).may_append(&name("x")));
        let append = access(&["DATASOURCES:APPEND:x"]);
        assert!(append.may_append(&name("x")) && !append.may_append(&name("y")));
        assert!(!append.may_drop_datasource(&name("x")) && !append.may_create_datasource() && !append.may_deploy());
        assert_eq!(append.read(&name("x")), Err(Denied));
        let filtered = Scope { kind: ScopeKind::PipesRead, resource: Some("p".into()), filter: Some("a=1".into()) };
        let access = Access::new([filtered].into(), "");
        assert_eq!(access.enter(&name("p")).err(), Some(Denied));
    }

    #[test]
    fn nobody_gives_more_than_they_may() {
        let gives = |own: &[&str], scope: &str| access(own).may_give(&[Scope::parse(scope).unwrap()]);
        for scope in ["ADMIN", "ADMIN_USER", "WORKSPACE:DEPLOY", "WORKSPACE:READ_ALL", "ORG_DATASOURCES:READ"] {
            assert!(gives(&["ADMIN"], scope) && !gives(&["TOKENS"], scope), "{scope}");
        }
        for scope in ["TOKENS", "PIPES:READ:p", "DATASOURCES:READ:x", "DATASOURCES:DROP:x", "PIPES:CREATE"] {
            assert!(gives(&["TOKENS"], scope), "{scope}");
            assert!(!gives(&["PIPES:READ:p", "DATASOURCES:READ:x"], scope), "{scope}");
        }
        let narrowed = access(&["TOKENS", "DATASOURCES:READ:x:a=1", "PIPES:READ:p", "WORKSPACE:DEPLOY"]);
        let gives =
            |scopes: &[&str]| narrowed.may_give(&scopes.iter().map(|it| Scope::parse(it).unwrap()).collect::<Vec<_>>());
        for scope in ["TOKENS", "PIPES:READ:p", "WORKSPACE:DEPLOY"] {
            assert!(gives(&["DATASOURCES:READ:x:a=1", scope]) && !gives(&[scope]), "{scope}");
        }
        for scope in ["DATASOURCES:READ:x", "DATASOURCES:READ:x:a=2", "PIPES:READ:q", "DATASOURCES:READ:y"] {
            assert!(!gives(&["DATASOURCES:READ:x:a=1", scope]), "{scope}");
        }
    }
}
