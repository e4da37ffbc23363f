//! Many datafiles become one [`Project`]: names unique, references resolved, order known, cycles reported.
//!
//! In: the files of a project. Out: a [`Project`] and diagnostics. The engine's present state is not known here.

mod datasource;
mod facts;
mod fit;
mod forward;
mod jsonpath;
mod lint;
mod params;
mod pipe;
mod readable;
mod references;
mod resolve;
mod service;
mod shared;
mod silence;
mod tests_of;

#[cfg(test)]
mod tests;

pub use facts::{Verdict, facts, verdict};
pub use fit::fits;
pub use lint::lint;
pub use params::NodeName;
pub use readable::Readable;
pub use resolve::{datafile, resolve, sort};
pub use service::service;
pub use shared::Shared;
pub use silence::Silence;
pub use tests_of::{check_fixtures, check_tests};

use crate::{
    datafile::{Context, Datafile},
    diagnostic::{Diagnostic, Mapped, Place, Source},
    name::{ColumnName, ResourceName},
    sql::{ColumnType, UserSql},
    template::{Rendered, Template},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A whole project, resolved. Swapped whole; never changed.
#[derive(Debug, Clone, Default)]
pub struct Project {
    pub datasources: BTreeMap<ResourceName, Arc<Datasource>>,
    pub pipes: BTreeMap<ResourceName, Arc<Pipe>>,
    pub connections: BTreeMap<ResourceName, Arc<Connection>>,
    /// The pipes so that each comes after those it reads, and after those that fill what it reads.
    pub order: Vec<ResourceName>,
    /// What other workspaces share with the one that the project is deployed in, as `workspace.name`.
    pub shared: BTreeMap<ResourceName, Arc<Shared>>,
    /// Every file the project was made of, as it was read: the state that is stored.
    pub sources: Vec<Source>,
}

#[derive(Debug, Clone)]
pub struct Datasource {
    pub name: ResourceName,
    pub description: Option<String>,
    pub columns: Vec<Column>,
    pub indexes: Vec<Index>,
    pub engine: TableEngine,
    pub tokens: Vec<TokenLine>,
    pub tags: Vec<String>,
    pub kafka: Option<KafkaSource>,
    /// What its VERSION line says, which is a part of its name in Classic.
    pub version: Option<u64>,
    /// The `.datasource` file and the place of its first line.
    pub place: Place,
}

#[derive(Debug, Clone)]
pub struct Column {
    pub name: ColumnName,
    pub column_type: ColumnType,
    pub default: Option<ColumnDefault>,
    pub codec: Option<UserSql>,
    pub jsonpath: Option<JsonPath>,
    /// Set where the name is one of Kafka's and the column has no jsonpath.
    pub kafka_meta: Option<KafkaMeta>,
    pub place: Place,
}

#[derive(Debug, Clone)]
pub enum ColumnDefault {
    Default(UserSql),
    Materialized(UserSql),
}

/// A jsonpath, compiled: `$.a.b`, `$.['x.y']`, `$.a[:].b`, `$.a[0]`, `$`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JsonPath {
    pub text: String,
    pub steps: Vec<JsonStep>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum JsonStep {
    Key(String),
    Index(usize),
    /// `[:]`: every item; what follows is taken of each.
    Each,
}

/// The columns that come from a message itself, in the older spelling and with `__`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KafkaMeta {
    Value,
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    Headers,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Index {
    pub name: String,
    pub expression: UserSql,
    pub kind: UserSql,
    pub granularity: u64,
}

/// A table engine with its options, each a checked expression.
#[derive(Debug, Clone, PartialEq)]
pub struct TableEngine {
    pub family: EngineFamily,
    /// The positional parameters, in order: a version column, a sign, summed columns.
    pub parameters: Vec<UserSql>,
    pub partition_key: Option<UserSql>,
    pub sorting_key: Option<UserSql>,
    pub primary_key: Option<UserSql>,
    pub sampling_key: Option<UserSql>,
    pub ttl: Option<UserSql>,
    pub settings: Option<UserSql>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EngineFamily {
    MergeTree,
    ReplacingMergeTree,
    SummingMergeTree,
    AggregatingMergeTree,
    CollapsingMergeTree,
    VersionedCollapsingMergeTree,
    Null,
}

impl EngineFamily {
    pub fn name(self) -> &'static str {
        match self {
            EngineFamily::MergeTree => "MergeTree",
            EngineFamily::ReplacingMergeTree => "ReplacingMergeTree",
            EngineFamily::SummingMergeTree => "SummingMergeTree",
            EngineFamily::AggregatingMergeTree => "AggregatingMergeTree",
            EngineFamily::CollapsingMergeTree => "CollapsingMergeTree",
            EngineFamily::VersionedCollapsingMergeTree => "VersionedCollapsingMergeTree",
            EngineFamily::Null => "Null",
        }
    }
}

impl TableEngine {
    /// A MergeTree without any key.
    pub fn plain() -> TableEngine {
        TableEngine {
            family: EngineFamily::MergeTree,
            parameters: Vec::new(),
            partition_key: None,
            sorting_key: None,
            primary_key: None,
            sampling_key: None,
            ttl: None,
            settings: None,
        }
    }
}

/// `TOKEN name SCOPE` in a datafile: the token of that name is made or extended at push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenLine {
    pub token: String,
    pub permission: Permission,
    pub place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    Read,
    Append,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaSource {
    pub connection: ResourceName,
    pub topic: String,
    pub group_id: String,
    pub offset_reset: OffsetReset,
    pub store_raw_value: bool,
    pub store_headers: bool,
    pub key_format: ValueFormat,
    pub value_format: ValueFormat,
    /// The place of KAFKA_CONNECTION_NAME's value: what "no such connection" points at.
    pub place: Place,
}

/// What a message's key or value is written in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ValueFormat {
    /// As it is: JSON where columns have jsonpaths.
    #[default]
    Json,
    /// After a schema's number.
    JsonWithSchema,
    Avro,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OffsetReset {
    Earliest,
    Latest,
    /// Nowhere, until somebody has committed an offset.
    None,
}

#[derive(Debug, Clone)]
pub struct Pipe {
    pub name: ResourceName,
    pub description: Option<String>,
    pub nodes: Vec<Node>,
    pub kind: PipeKind,
    /// The index of the node whose rows are the pipe's.
    pub output: usize,
    pub tokens: Vec<TokenLine>,
    pub tags: Vec<String>,
    /// What its VERSION line says, which is a part of its name in Classic.
    pub version: Option<u64>,
    pub place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PipeKind {
    Endpoint,
    Materialized {
        target: ResourceName,
    },
    Copy {
        target: ResourceName,
        schedule: Option<String>,
        replace: bool,
    },
    Sink,
    /// Read by other pipes, not published.
    Internal,
}

#[derive(Debug, Clone)]
pub struct Node {
    pub name: ResourceName,
    pub description: Option<String>,
    pub sql: NodeSql,
    /// What its text reads, in the order of the text. A template is read as it renders without parameters.
    pub reads: Vec<Reference>,
    pub place: Place,
}

/// A name in a node's text, and what it means there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub name: ResourceName,
    pub target: ReferenceTarget,
    /// Not where it only stands in a part of a template that was not rendered: it may be a name of that part's own.
    pub certain: bool,
    pub place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReferenceTarget {
    /// A node of the same pipe: nearer than everything else.
    Node,
    Datasource,
    Pipe,
}

/// A node's text: offsets in it map back to the file.
#[derive(Debug, Clone)]
pub enum NodeSql {
    Plain(Mapped),
    /// `text` is what stands after the `%`; spans of template errors are in it.
    Template {
        text: Mapped,
        template: Arc<Template>,
        /// What it says without parameters; nothing where it answers with an error of its own.
        tried: Option<Arc<Rendered>>,
    },
}

/// A `.connection` file.
#[derive(Debug, Clone)]
pub struct Connection {
    pub name: ResourceName,
    pub kind: String,
    pub settings: BTreeMap<String, String>,
    pub place: Place,
}

/// What is wrong with the templates of a pipe's nodes.
pub fn check_templates(datafile: &Datafile, context: &Context) -> Vec<Diagnostic> {
    pipe::templates(datafile, context)
}

impl Project {
    /// The data sources that a node reads, through nodes and other pipes.
    pub fn node_tables(&self, pipe: &Pipe, node: &Node) -> BTreeSet<ResourceName> {
        let mut tables = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut todo = vec![(pipe, node)];
        while let Some((pipe, node)) = todo.pop() {
            if !seen.insert((pipe.name.clone(), node.name.clone())) {
                continue;
            }
            for reference in &node.reads {
                match reference.target {
                    ReferenceTarget::Datasource => {
                        tables.insert(reference.name.clone());
                    }
                    ReferenceTarget::Node => todo.extend(pipe.node(reference.name.as_str()).map(|it| (pipe, it))),
                    ReferenceTarget::Pipe => {
                        todo.extend(self.pipe(reference.name.as_str()).map(|it| (&**it, it.output_node())));
                    }
                }
            }
        }
        tables
    }

    /// The data source of a name, or of what Classic calls one with a VERSION: `name__v3`.
    pub fn datasource(&self, name: &str) -> Option<&Arc<Datasource>> {
        let versioned = |(name, version)| self.datasources.get(name).filter(|it| it.version == Some(version));
        self.datasources.get(name).or_else(|| unversioned(name).and_then(versioned))
    }

    /// The pipe of a name, likewise.
    pub fn pipe(&self, name: &str) -> Option<&Arc<Pipe>> {
        let versioned = |(name, version)| self.pipes.get(name).filter(|it| it.version == Some(version));
        self.pipes.get(name).or_else(|| unversioned(name).and_then(versioned))
    }
}

/// `name__v3` is version 3 of `name`.
fn unversioned(name: &str) -> Option<(&str, u64)> {
    let (name, version) = name.rsplit_once("__v")?;
    Some((name, version.parse().ok()?))
}

impl Pipe {
    pub fn is_endpoint(&self) -> bool {
        self.kind == PipeKind::Endpoint
    }

    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|it| it.name.as_str() == name)
    }

    pub fn output_node(&self) -> &Node {
        &self.nodes[self.output]
    }

    /// The data source whose rows set a view of the pipe off: the first that its output reads, through other nodes
    /// and pipes.
    pub fn source(&self, project: &Project) -> Option<ResourceName> {
        let mut seen = BTreeSet::new();
        let (mut pipe, mut node) = (self, self.output_node());
        while seen.insert((&pipe.name, &node.name)) {
            let first = node.reads.first()?;
            match first.target {
                ReferenceTarget::Datasource => return Some(first.name.clone()),
                ReferenceTarget::Node => node = pipe.node(first.name.as_str())?,
                ReferenceTarget::Pipe => {
                    pipe = project.pipe(first.name.as_str())?;
                    node = pipe.output_node();
                }
            }
        }
        None
    }
}
