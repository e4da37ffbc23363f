//! A request becomes SQL: nodes composed, names resolved through the token's grants, filters spliced in.
//!
//! In: a [`Request`], the project, the namespace, an [`Access`]. Out: a [`CompiledQuery`], which cannot be
//! made in any other way. Running it is not known here.

mod audit;
mod catalog;
mod compose;
mod format;
mod names;

#[cfg(test)]
mod tests;

pub use audit::{Audit, EndpointAudit, Read, audit};
pub use catalog::{Catalog, DEFAULT_DATABASE, Described};
pub use compose::MAX_LENGTH;
pub use format::{Chunks, Format, WireFormat};
pub use names::Names;

use crate::{
    auth::{Access, Denied},
    diagnostic::Place,
    name::{Namespace, ResourceName},
    project::{Node, Pipe, Project},
    sql::{
        Sql, UserSql,
        scan::{self, ScanError, client::Dialect},
        statement,
    },
    template::{Budgets, Params, TemplateError},
};
use compose::Composer;
use indexmap::IndexMap;
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

/// What a caller wants to read.
#[derive(Debug, Clone)]
pub struct Request {
    pub target: Target,
    pub params: Params,
    /// SQL over the result of a pipe, which it calls `_` or by the pipe's name.
    pub over: Option<String>,
    pub format: Format,
    /// The workspace's secrets, by name. Their values travel as parameters, never in the text.
    pub secrets: Arc<BTreeMap<String, String>>,
    /// How far its templates may go.
    pub budgets: Budgets,
    /// What a text says that one of ClickHouse's clients sent.
    pub client: Option<Arc<Client>>,
}

/// What a client of ClickHouse may say beyond `/v0/sql`.
#[derive(Debug, Clone, Default)]
pub struct Client {
    pub catalog: Catalog,
    /// Values of `{name:Type}`, as they came.
    pub parameters: Vec<(String, String)>,
    /// Functions that tell of the server, and what they say.
    pub constants: Vec<(&'static str, String)>,
}

#[derive(Debug, Clone)]
pub enum Target {
    /// An endpoint.
    Pipe(ResourceName),
    /// The text of `/v0/sql`, its trailing FORMAT cut off (`scan::cut_format`). It may begin with `%`.
    Sql(String),
}

/// A read that was compiled from grants. Its text holds physical names; texts that leave the server must
/// not ([`CompiledQuery::names`]).
#[derive(Debug, Clone)]
pub struct CompiledQuery {
    sql: Sql,
    parameters: Vec<(String, String)>,
    format: Format,
    settings: IndexMap<String, serde_json::Value>,
    names: Names,
    service: bool,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QueryError {
    /// `place` is in the `.pipe` file; nothing for a text that came with the request.
    #[error("{error}")]
    Template { error: Box<TemplateError>, place: Option<Place> },
    #[error("{error}")]
    Refused { error: ScanError, place: Option<Place> },
    #[error("there is no endpoint `{0}`")]
    NoSuchPipe(String),
    /// The token may not read what the query names, or it does not exist: the same words for both.
    #[error("there is no database `{0}`")]
    NoSuchDatabase(String),
    #[error("the resource `{0}` does not exist, or the token has no access to it")]
    Denied(String),
}

/// Compiles a request under a token's access.
pub fn compile(
    project: &Project,
    namespace: &Namespace,
    access: &Access,
    request: &Request,
) -> Result<CompiledQuery, QueryError> {
    let mut composer = Composer::new(project, namespace, &request.params);
    composer.options.budgets = request.budgets;
    let sql = match &request.target {
        Target::Pipe(name) => {
            let inside = access.enter(name).map_err(|Denied| QueryError::Denied(name.to_string()))?;
            let pipe = project.pipe(name.as_str()).filter(|it| it.is_endpoint());
            let pipe = pipe.ok_or_else(|| QueryError::NoSuchPipe(name.to_string()))?;
            composer.options.secrets = request.secrets.keys().cloned().collect();
            let sql = composer.pipe(pipe, &inside)?;
            match &request.over {
                Some(over) => composer.query(over, access, Some((name, &sql)))?,
                None => sql,
            }
        }
        Target::Sql(text) => {
            // Whoever writes a text could make it print a secret; pipes are written by those who may.
            if access.is_admin() {
                composer.options.secrets = request.secrets.keys().cloned().collect();
            }
            match &request.client {
                None => composer.query(text, access, None)?,
                Some(client) => {
                    composer.catalog = Some(&client.catalog);
                    let text = client.adapted(text, project)?;
                    composer.query(&text, access, None)?
                }
            }
        }
    };
    if composer.formed && request.format.shows_form() {
        return Err(QueryError::Refused { error: compose::form_is_hidden("the format Native"), place: None });
    }
    let secret = |name: &String| request.secrets.get(name).map(|value| (name.clone(), escape_parameter(value)));
    Ok(CompiledQuery {
        sql,
        parameters: composer.secrets.iter().filter_map(secret).collect(),
        format: request.format,
        names: Names::new(namespace, composer.filtered).with_shared(project).with_secrets(!composer.secrets.is_empty()),
        settings: composer.settings,
        service: composer.service,
    })
}

/// The composed SELECT of a node under the project's own access: what its view runs, and what a push checks.
/// `mode` says what a template does without parameters.
pub fn compile_for_owner(
    project: &Project,
    namespace: &Namespace,
    pipe: &Pipe,
    node: &Node,
    mode: OwnerMode,
) -> Result<Sql, QueryError> {
    let params = Params::new();
    let mut composer = Composer::new(project, namespace, &params);
    composer.owner = Some(mode);
    composer.options.test_mode = mode == OwnerMode::Check;
    composer.node(pipe, node, &Access::owner())
}

/// What a materializing node gives for the rows of `trigger` that fulfil every one of `filters`: those that a
/// populate takes.
pub fn compile_populate(
    project: &Project,
    namespace: &Namespace,
    pipe: &Pipe,
    trigger: &ResourceName,
    filters: &[String],
) -> Result<Sql, QueryError> {
    let params = Params::new();
    let mut composer = Composer::new(project, namespace, &params);
    composer.owner = Some(OwnerMode::NoParameters);
    composer.node(pipe, pipe.output_node(), &Access::owner_through(trigger, filters))
}

/// What a copy pipe gives with these parameters, as the project's own access sees it.
pub fn compile_copy(project: &Project, namespace: &Namespace, pipe: &Pipe, params: &Params) -> Result<Sql, QueryError> {
    let mut composer = Composer::new(project, namespace, params);
    composer.owner = Some(OwnerMode::NoParameters);
    composer.node(pipe, pipe.output_node(), &Access::owner())
}

/// What a text of the workspace's administrator gives. Secrets have no value in it.
pub fn compile_text(project: &Project, namespace: &Namespace, text: &str) -> Result<Sql, QueryError> {
    let params = Params::new();
    let mut composer = Composer::new(project, namespace, &params);
    composer.owner = Some(OwnerMode::NoParameters);
    composer.query(text, &Access::owner(), None)
}

/// A node as a request with these parameters would read it, under the project's own access.
pub fn compile_example(
    project: &Project,
    namespace: &Namespace,
    pipe: &Pipe,
    node: &Node,
    params: &Params,
) -> Result<Sql, QueryError> {
    let mut composer = Composer::new(project, namespace, params);
    // Secrets have no value here.
    composer.owner = Some(OwnerMode::Check);
    composer.node(pipe, node, &Access::owner())
}

/// A condition on the rows of a data source, the names in it resolved.
pub fn compile_condition(
    project: &Project,
    namespace: &Namespace,
    datasource: &ResourceName,
    text: &str,
) -> Result<Sql, QueryError> {
    crate::auth::check_filter(text).map_err(|error| QueryError::Refused { error, place: None })?;
    let params = Params::new();
    Composer::new(project, namespace, &params).filter(text, datasource.as_str())
}

/// How templates are rendered for the project itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerMode {
    /// As a request without parameters would: what a view needs.
    NoParameters,
    /// Missing parameters become placeholders, secrets an empty string: what a check needs.
    Check,
}

/// Asks the engine for the columns of a composed SELECT (`name`, `type` among them).
pub fn describe(select: &Sql) -> Sql {
    let mut sql = Sql::new("DESCRIBE TABLE (");
    sql.sql(select).push(")");
    sql
}

/// What a client asks through the API to know later whether a data source still holds the same rows: their number, and a
/// hash that any other row changes.
pub fn fingerprint(datasource: &str) -> Sql {
    let mut res = Sql::new("SELECT count() AS rows, toString(sum(cityHash64(toString(tuple(*))))) AS hash FROM ");
    res.ident(datasource).push(" FORMAT JSON");
    res
}

/// Asks the engine for its own reading of a composed SELECT, tables resolved.
pub fn explain(select: &Sql) -> Sql {
    let mut sql = Sql::new("EXPLAIN QUERY TREE passes = 1 ");
    sql.sql(select);
    sql
}

/// Asks the engine's parser what it makes of a node's own text, and how much of ours stands before that.
pub fn explain_syntax(text: &str) -> Option<(Sql, usize)> {
    let scan = scan::scan_shared(text, &[]).ok()?;
    let mut sql = Sql::new("EXPLAIN AST ");
    let prefix = sql.as_str().len();
    sql.user(&UserSql::node(text, &scan, Vec::new()));
    Some((sql, prefix))
}

impl Request {
    pub fn pipe(name: ResourceName, params: Params) -> Request {
        Request { target: Target::Pipe(name), params, ..Request::sql("") }
    }

    pub fn sql(text: impl Into<String>) -> Request {
        Request {
            target: Target::Sql(text.into()),
            params: Params::new(),
            over: None,
            format: Format::Json,
            secrets: Arc::default(),
            budgets: Budgets::default(),
            client: None,
        }
    }
}

impl Client {
    /// The text as `/v0/sql` could have sent it, but for tables of `system`.
    fn adapted<'t>(&self, text: &'t str, project: &Project) -> Result<Cow<'t, str>, QueryError> {
        if text.len() > MAX_LENGTH {
            // The composer says so.
            return Ok(Cow::Borrowed(text));
        }
        if text.trim_start().starts_with('%') {
            let message = "a query of ClickHouse does not begin with %".to_owned();
            let error = ScanError { category: scan::Refused::Syntax, span: Default::default(), message };
            return Err(QueryError::Refused { error, place: None });
        }
        let own = self.catalog.database.as_str();
        // Where something is called like the workspace, a name before a dot is that.
        let is_resource = project.readable(own).is_some() || project.pipe(own).is_some();
        let databases = if is_resource { &[DEFAULT_DATABASE][..] } else { &[DEFAULT_DATABASE, own] };
        let constants: Vec<_> = self.constants.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let dialect = Dialect { parameters: &self.parameters, databases, constants: &constants };
        scan::client::adapt(text, &dialect).map_err(|error| QueryError::Refused { error, place: None })
    }
}

impl CompiledQuery {
    pub fn sql(&self) -> &Sql {
        &self.sql
    }

    /// Values of `{name: String}` in the text, escaped as the engine reads parameters.
    pub fn parameters(&self) -> &[(String, String)] {
        &self.parameters
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// The engine's plan in place of the rows, a line a row. Nothing where a secret's value could be in it.
    pub fn explained(self) -> Option<CompiledQuery> {
        let mut sql = Sql::new(statement::PLAN);
        sql.sql(&self.sql);
        (!self.names.has_secrets()).then_some(CompiledQuery { sql, format: Format::JsonEachRow, ..self })
    }

    /// For how long its templates let an answer be given again: `cache_ttl`, in seconds.
    pub fn keeps_for(&self) -> Option<u64> {
        self.settings.get("cache_ttl").and_then(|it| it.as_str()).and_then(crate::template::seconds_of_ttl)
    }

    /// What templates set: `max_threads` and the like.
    pub fn settings(&self) -> &IndexMap<String, serde_json::Value> {
        &self.settings
    }

    /// Some data source in it is read through a filter: statistics must not count hidden rows.
    pub fn is_filtered(&self) -> bool {
        self.names.is_filtered()
    }

    /// It reads what the service keeps of the workspace.
    pub fn reads_service(&self) -> bool {
        self.service
    }

    /// What makes engine texts fit to leave the server.
    pub fn names(&self) -> &Names {
        &self.names
    }
}

/// A parameter's value as the engine reads it: tab-separated, escaped.
fn escape_parameter(value: &str) -> String {
    let mut res = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => res.push_str("\\\\"),
            '\n' => res.push_str("\\n"),
            '\t' => res.push_str("\\t"),
            '\r' => res.push_str("\\r"),
            '\0' => res.push_str("\\0"),
            '\u{8}' => res.push_str("\\b"),
            c => res.push(c),
        }
    }
    res
}
