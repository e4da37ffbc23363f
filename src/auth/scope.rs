//! Scopes as text: `PIPES:READ:x`, `DATASOURCES:READ:x:filter`, `ADMIN`.
//!
//! In: scope strings, scopes a token has. Out: [`Scope`]s, merged. What they open is decided by `Access`.

use std::fmt;

/// One scope of a token.
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

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadScope {
    #[error("`{0}` is not a scope")]
    Unknown(String),
    #[error("the scope `{0}` needs the name of a resource")]
    NoResource(&'static str),
    #[error("the scope `{0}` takes no filter")]
    NoFilter(&'static str),
}

/// The scopes of a token after they were replaced by `wanted`: duplicates once, and a filter that a repeated
/// (type, resource) has is kept where `wanted` names the pair without any filter. Clients that read scopes
/// and send them back drop the filters on the way; that must not open a token.
pub fn merge_scopes(existing: &[Scope], wanted: Vec<Scope>) -> Vec<Scope> {
    let mut res: Vec<Scope> = Vec::new();
    let mut add = |scope: Scope| {
        if !res.contains(&scope) {
            res.push(scope);
        }
    };
    let same = |a: &Scope, b: &Scope| a.kind == b.kind && a.resource == b.resource;
    for scope in &wanted {
        let filtered = wanted.iter().any(|it| same(it, scope) && it.filter.is_some());
        let mut kept = existing.iter().filter(|it| same(it, scope) && it.filter.is_some()).peekable();
        match &scope.filter {
            // The pair stands a second time, with a filter: that one counts.
            None if filtered => (),
            None if kept.peek().is_some() => kept.cloned().for_each(&mut add),
            _ => add(scope.clone()),
        }
    }
    res
}

/// The scopes of a token after a TOKEN line or a call added some: what it had, then what is new. An addition
/// without a filter does not stand beside a filter on the same resource: it would promise what it cannot do.
pub fn add_scopes(existing: &[Scope], added: Vec<Scope>) -> Vec<Scope> {
    let mut res = existing.to_vec();
    for scope in added {
        let covered = res.iter().any(|it| {
            it.kind == scope.kind
                && it.resource == scope.resource
                && (it.filter == scope.filter || scope.filter.is_none())
        });
        if !covered {
            res.push(scope);
        }
    }
    res
}

impl ScopeKind {
    pub const ALL: [ScopeKind; 13] = [
        ScopeKind::Admin,
        ScopeKind::AdminUser,
        ScopeKind::Tokens,
        ScopeKind::DatasourcesCreate,
        ScopeKind::DatasourcesAppend,
        ScopeKind::DatasourcesDrop,
        ScopeKind::DatasourcesRead,
        ScopeKind::PipesCreate,
        ScopeKind::PipesDrop,
        ScopeKind::PipesRead,
        ScopeKind::WorkspaceReadAll,
        ScopeKind::WorkspaceDeploy,
        ScopeKind::OrgDatasourcesRead,
    ];

    pub fn name(self) -> &'static str {
        match self {
            ScopeKind::Admin => "ADMIN",
            ScopeKind::AdminUser => "ADMIN_USER",
            ScopeKind::Tokens => "TOKENS",
            ScopeKind::DatasourcesCreate => "DATASOURCES:CREATE",
            ScopeKind::DatasourcesAppend => "DATASOURCES:APPEND",
            ScopeKind::DatasourcesDrop => "DATASOURCES:DROP",
            ScopeKind::DatasourcesRead => "DATASOURCES:READ",
            ScopeKind::PipesCreate => "PIPES:CREATE",
            ScopeKind::PipesDrop => "PIPES:DROP",
            ScopeKind::PipesRead => "PIPES:READ",
            ScopeKind::WorkspaceReadAll => "WORKSPACE:READ_ALL",
            ScopeKind::WorkspaceDeploy => "WORKSPACE:DEPLOY",
            ScopeKind::OrgDatasourcesRead => "ORG_DATASOURCES:READ",
        }
    }

    /// The kind whose name is `text`; `DATASOURCE:` and `PIPE:` are accepted too, in any case.
    pub fn parse(text: &str) -> Option<ScopeKind> {
        let upper = text.trim().to_ascii_uppercase();
        let plural = match upper.split_once(':') {
            Some(("DATASOURCE", verb)) => format!("DATASOURCES:{verb}"),
            Some(("PIPE", verb)) => format!("PIPES:{verb}"),
            Some(("ORG_DATASOURCE", verb)) => format!("ORG_DATASOURCES:{verb}"),
            _ => upper,
        };
        ScopeKind::ALL.into_iter().find(|it| it.name() == plural)
    }

    /// Rights on data sources, pipes and tokens, not over the workspace as a whole.
    pub(super) fn is_of_resources(self) -> bool {
        !matches!(
            self,
            ScopeKind::Admin
                | ScopeKind::AdminUser
                | ScopeKind::WorkspaceReadAll
                | ScopeKind::WorkspaceDeploy
                | ScopeKind::OrgDatasourcesRead
        )
    }

    fn needs_resource(self) -> bool {
        matches!(
            self,
            ScopeKind::DatasourcesAppend
                | ScopeKind::DatasourcesDrop
                | ScopeKind::DatasourcesRead
                | ScopeKind::PipesDrop
                | ScopeKind::PipesRead
        )
    }
}

impl Scope {
    pub fn new(kind: ScopeKind, resource: Option<&str>, filter: Option<&str>) -> Result<Scope, BadScope> {
        let text = |it: Option<&str>| it.map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned);
        let (resource, filter) = (text(resource), text(filter));
        if kind.needs_resource() && resource.is_none() {
            return Err(BadScope::NoResource(kind.name()));
        }
        if filter.is_some() && kind != ScopeKind::DatasourcesRead {
            return Err(BadScope::NoFilter(kind.name()));
        }
        Ok(Scope { kind, resource, filter })
    }

    /// `TYPE`, `TYPE:resource` or `TYPE:resource:filter`, where the type may hold a colon itself and the
    /// filter any number of them.
    pub fn parse(text: &str) -> Result<Scope, BadScope> {
        let text = text.trim();
        let mut parts = text.splitn(4, ':');
        let mut next = || parts.next();
        let first = next().unwrap_or_default();
        if let Some(kind) = ScopeKind::parse(first) {
            // ADMIN, TOKENS: what follows would be a resource that none of them has.
            return match next() {
                None => Scope::new(kind, None, None),
                Some(_) => Err(BadScope::Unknown(text.to_owned())),
            };
        }
        let unknown = || BadScope::Unknown(text.to_owned());
        let second = next().ok_or_else(unknown)?;
        let kind = ScopeKind::parse(&format!("{first}:{second}")).ok_or_else(unknown)?;
        let resource = next();
        let filter = next();
        Scope::new(kind, resource, filter)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        for part in [&self.resource, &self.filter].into_iter().flatten() {
            write!(f, ":{part}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(texts: &[&str]) -> Vec<Scope> {
        texts.iter().map(|it| Scope::parse(it).unwrap()).collect()
    }

    fn printed(scopes: &[Scope]) -> Vec<String> {
        scopes.iter().map(Scope::to_string).collect()
    }

    #[test]
    fn scopes_are_read_in_every_spelling() {
        for (text, expected) in [
            ("ADMIN", "ADMIN"),
            ("PIPES:READ:x", "PIPES:READ:x"),
            ("PIPE:READ:x", "PIPES:READ:x"),
            ("DATASOURCE:APPEND:x", "DATASOURCES:APPEND:x"),
            ("DATASOURCES:CREATE", "DATASOURCES:CREATE"),
            ("DATASOURCES:READ:x:a = '1:2'::String", "DATASOURCES:READ:x:a = '1:2'::String"),
            ("DATASOURCES:READ:x:", "DATASOURCES:READ:x"),
            ("WORKSPACE:READ_ALL", "WORKSPACE:READ_ALL"),
        ] {
            assert_eq!(Scope::parse(text).unwrap().to_string(), expected);
        }
        for text in ["", "X", "PIPES", "PIPES:READ", "PIPES:WRITE:x", "DATASOURCES:APPEND:x:a=1", "ADMIN:x"] {
            assert!(Scope::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_replacement_without_filter_keeps_the_filter() {
        let existing = scopes(&["DATASOURCES:READ:x:a=1", "DATASOURCES:READ:y:b=1", "PIPES:READ:p"]);
        let wanted = scopes(&["PIPES:READ:p", "PIPES:READ:p", "DATASOURCES:READ:x", "DATASOURCES:READ:z"]);
        assert_eq!(
            printed(&merge_scopes(&existing, wanted)),
            ["PIPES:READ:p", "DATASOURCES:READ:x:a=1", "DATASOURCES:READ:z"]
        );
        let wanted = scopes(&["DATASOURCES:READ:x:a=2", "DATASOURCES:READ:x"]);
        assert_eq!(printed(&merge_scopes(&existing, wanted)), ["DATASOURCES:READ:x:a=2"]);
    }

    #[test]
    fn an_addition_without_filter_lifts_none() {
        let existing = scopes(&["DATASOURCES:READ:x:a=1"]);
        let added = scopes(&["DATASOURCES:READ:x", "DATASOURCES:READ:x:b=1", "PIPES:READ:p"]);
        assert_eq!(
            printed(&add_scopes(&existing, added)),
            ["DATASOURCES:READ:x:a=1", "DATASOURCES:READ:x:b=1", "PIPES:READ:p"]
        );
    }
}
