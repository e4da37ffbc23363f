//! Names that were checked once: resources and columns, and where a resource's rows really are.
//!
//! In: text. Out: [`ResourceName`], [`ColumnName`]; a [`Namespace`] turns a resource name into its
//! [`Physical`] table. Nothing here knows SQL.

use std::{fmt, sync::Arc};

/// The name of a data source, pipe, node, connection or token-bearing resource:
/// a letter or underscore, then letters, digits and underscores.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName(Arc<str>);

/// The name of a column: any text without control characters that is not empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColumnName(Arc<str>);

/// Where a table is: made by a [`Namespace`] alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Physical {
    database: Arc<str>,
    table: Arc<str>,
}

/// The database of one workspace. Its name cannot be guessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    database: Arc<str>,
    /// The data source of which only the shard's own part is meant.
    at_shard: Option<ResourceName>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    #[error("a name may not be empty")]
    Empty,
    #[error("`{0}` is not a name: names are letters, digits and underscores, and do not begin with a digit")]
    Characters(String),
    #[error("a name may have at most {MAX_LENGTH} characters")]
    TooLong,
}

const MAX_LENGTH: usize = 200;
const MERGED: &str = ":final";
const POPULATING: &str = "populate:";

impl ResourceName {
    pub fn new(text: &str) -> Result<ResourceName, BadName> {
        let first = text.chars().next().ok_or(BadName::Empty)?;
        let plain = |it: char| it.is_ascii_alphanumeric() || it == '_';
        if first.is_ascii_digit() || !text.chars().all(plain) {
            return Err(BadName::Characters(text.to_owned()));
        }
        if text.len() > MAX_LENGTH {
            return Err(BadName::TooLong);
        }
        Ok(ResourceName(text.into()))
    }

    /// What is most like a text that is no name: `Personal.tweets` becomes `Personal_tweets`.
    pub fn near(text: &str) -> Option<ResourceName> {
        let plain = |it: char| if it.is_ascii_alphanumeric() { it } else { '_' };
        let mut near: String = text.chars().map(plain).collect();
        if near.starts_with(|it: char| it.is_ascii_digit()) {
            near.insert(0, '_');
        }
        near.contains(|it: char| it.is_ascii_alphanumeric()).then(|| ResourceName::new(&near).ok())?
    }

    /// The name of a data source of the service. No project can have such a name.
    pub fn service(name: &str) -> ResourceName {
        ResourceName(format!("tinybird.{name}").into())
    }

    /// The name of a data source that another workspace shares: `workspace.name`. No project can have such a name.
    pub fn shared(workspace: &str, name: &ResourceName) -> ResourceName {
        ResourceName(format!("{workspace}.{name}").into())
    }

    /// A text as the name of a data source that another workspace shares.
    pub fn of_shared(text: &str) -> Option<ResourceName> {
        let (workspace, name) = text.split_once('.')?;
        Some(ResourceName::shared(workspace, &ResourceName::new(name).ok()?)).filter(|_| !workspace.is_empty())
    }

    /// Whether another workspace has it, or the service.
    pub fn is_foreign(&self) -> bool {
        self.0.contains('.')
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the table that holds what a data source refused.
    pub fn quarantine(&self) -> ResourceName {
        ResourceName(format!("{}_quarantine", self.0).into())
    }
}

impl ColumnName {
    pub fn new(text: &str) -> Result<ColumnName, BadName> {
        if text.is_empty() {
            return Err(BadName::Empty);
        }
        if text.chars().any(char::is_control) {
            return Err(BadName::Characters(text.to_owned()));
        }
        Ok(ColumnName(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Namespace {
    /// Over a database that exists or is about to; `database` is ours, not a user's.
    pub fn new(database: &str) -> Namespace {
        Namespace { database: database.into(), at_shard: None }
    }

    pub fn database(&self) -> &str {
        &self.database
    }

    /// The table of a data source.
    pub fn table(&self, resource: &ResourceName) -> Physical {
        let whole = Physical { database: self.database.clone(), table: resource.0.clone() };
        if self.at_shard.as_ref() == Some(resource) {
            return whole.local();
        }
        whole
    }

    /// The same namespace as a shard sees it that goes through its own part of a data source.
    pub fn at_shard(&self, resource: &ResourceName) -> Namespace {
        Namespace { database: self.database.clone(), at_shard: Some(resource.clone()) }
    }

    /// What shows the rows of a shared data source as merges leave them. No data source can have such a name.
    pub fn merged(&self, resource: &ResourceName) -> Physical {
        Physical { database: self.database.clone(), table: format!("{resource}{MERGED}").into() }
    }

    /// Whether a table is one of those that [`merged`](Namespace::merged) names: of what.
    pub fn merged_of(table: &str) -> Option<&str> {
        table.strip_suffix(MERGED)
    }

    /// The view that feeds a data source from a materializing pipe. No data source can have such a name.
    pub fn view(&self, pipe: &ResourceName, node: &ResourceName) -> Physical {
        Physical { database: self.database.clone(), table: format!("mv:{pipe}:{node}").into() }
    }

    /// What a view is called for a moment after its query was changed. No data source can have such a name.
    pub fn turned(&self, view: &Physical) -> Physical {
        Physical { database: self.database.clone(), table: format!("turned:{}", view.table).into() }
    }

    /// The view of a name that [`turned`](Namespace::turned) gave.
    pub fn turned_from(&self, table: &str) -> Option<Physical> {
        Some(Physical { database: self.database.clone(), table: table.strip_prefix("turned:")?.into() })
    }

    /// The table that rows are loaded into before they take the place of a data source's. No data source can
    /// have such a name.
    pub fn side(&self, resource: &ResourceName) -> Physical {
        Physical { database: self.database.clone(), table: format!("load:{resource}").into() }
    }

    /// Where a file's rows are before they take the place of a data source's. No data source can have such a name.
    pub fn staging(&self, file: &str) -> Physical {
        Physical { database: self.database.clone(), table: format!("file:{file}").into() }
    }

    /// Where a data source's rows are changed before they take its place. No data source can have such a name.
    pub fn changed(&self, file: &str) -> Physical {
        Physical { database: self.database.clone(), table: format!("file:{file}:changed").into() }
    }

    /// Whether a table is a file's, made by [`staging`](Namespace::staging) or [`changed`](Namespace::changed): its
    /// file.
    pub fn file_of(table: &str) -> Option<&str> {
        table.strip_prefix("file:").map(|it| it.strip_suffix(":changed").unwrap_or(it))
    }

    /// Where rows of a quarantine are gathered that will be read once more. No data source can have such a name.
    pub fn gathering(&self, resource: &ResourceName) -> Physical {
        Physical { database: self.database.clone(), table: format!("gathering:{resource}").into() }
    }

    /// Where they are once they are all there: from then on they are brought in, whatever happens.
    pub fn replay(&self, resource: &ResourceName) -> Physical {
        Physical { database: self.database.clone(), table: format!("replay:{resource}").into() }
    }

    /// What shows a shard's own rows as a job brings them into a target. No data source can have such a name.
    pub fn populating(&self, job: &str) -> Physical {
        Physical { database: self.database.clone(), table: format!("{POPULATING}{job}").into() }
    }

    /// Whether a table is one of those that [`populating`](Namespace::populating) names: of which job.
    pub fn populating_of(table: &str) -> Option<&str> {
        table.strip_prefix(POPULATING)
    }

    /// Where a table waits to be dropped until nothing can call it back. No data source can have such a name.
    pub fn dropped(&self, resource: &ResourceName) -> Physical {
        Physical { database: self.database.clone(), table: format!("dropped:{resource}").into() }
    }
}

impl Physical {
    /// The part of its rows that one shard of a cluster holds. No data source can have such a name.
    pub fn local(&self) -> Physical {
        Physical { database: self.database.clone(), table: format!("local:{}", self.table).into() }
    }

    pub fn database(&self) -> &str {
        &self.database
    }

    pub fn table(&self) -> &str {
        &self.table
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ColumnName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for ResourceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}
