//! A request becomes SQL: nodes composed, names resolved through the token's grants, filters spliced in.
//!
//! In: a [`Request`], the project, the namespace, an [`Access`]. Out: a [`CompiledQuery`], which cannot be
//! made in any other way. Running it is not known here.

use crate::{
    auth::Access,
    name::{Namespace, ResourceName},
    project::Project,
    sql::{Sql, scan::ScanError},
    template::{Params, TemplateError},
};

/// What a caller wants to read.
#[derive(Debug, Clone)]
pub struct Request {
    pub target: Target,
    pub params: Params,
    /// SQL over the result of a pipe, which it calls `_` or by the pipe's name.
    pub over: Option<String>,
    pub format: Format,
}

#[derive(Debug, Clone)]
pub enum Target {
    /// An endpoint.
    Pipe(ResourceName),
    /// The text of `/v0/sql`, its trailing FORMAT cut off. It may begin with `%`.
    Sql(String),
}

/// The output formats that callers can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    Json,
    Csv,
    CsvWithNames,
    Tsv,
    TsvWithNames,
    PrettyCompact,
    JsonEachRow,
    Parquet,
}

/// A read that was compiled from grants. Its text holds physical names; texts that leave the server must
/// not ([`CompiledQuery::public`]).
#[derive(Debug, Clone)]
pub struct CompiledQuery {
    sql: Sql,
    parameters: Vec<(String, String)>,
    format: Format,
    /// Some data source in it is read through a filter: statistics must not count hidden rows.
    filtered: bool,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QueryError {
    #[error("{0}")]
    Template(TemplateError),
    #[error("{0}")]
    Refused(ScanError),
    #[error("there is no endpoint `{0}`")]
    NoSuchPipe(String),
    /// The token may not read what the query names, or it does not exist: the same words for both.
    #[error("not found or not allowed: {0}")]
    Denied(String),
}

/// Compiles a request under a token's access.
pub fn compile(
    project: &Project,
    namespace: &Namespace,
    access: &Access,
    request: &Request,
) -> Result<CompiledQuery, QueryError> {
    let _ = (project, namespace, access, request);
    Err(QueryError::Denied(String::new()))
}

impl CompiledQuery {
    pub fn sql(&self) -> &Sql {
        &self.sql
    }

    pub fn parameters(&self) -> &[(String, String)] {
        &self.parameters
    }

    pub fn format(&self) -> Format {
        self.format
    }

    pub fn is_filtered(&self) -> bool {
        self.filtered
    }
}
