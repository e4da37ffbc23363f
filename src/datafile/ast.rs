//! What a datafile says, command by command, each value with its place.

use crate::{
    diagnostic::{Mapped, Place, Source, Span},
    sql::ColumnType,
};
use std::fmt;

/// A datafile, parsed. Places in it are offsets that [`Files::place`] turns into places.
#[derive(Debug, Clone)]
pub struct Datafile {
    pub kind: Kind,
    /// From the file's name: up to its first dot (a pipe) or its last one.
    pub name: String,
    pub files: Files,
    pub description: Option<Text>,
    pub version: Option<u64>,
    pub maintainer: Option<Text>,
    pub sources: Vec<Text>,
    pub tokens: Vec<TokenLine>,
    pub tags: Vec<String>,
    /// `key=value` entries of TAGS, joined by `&`.
    pub operational_tags: Vec<String>,
    pub shared_with: Vec<Text>,
    /// Nothing where there is no SCHEMA.
    pub schema: Option<Vec<ColumnLine>>,
    pub indexes: Vec<IndexLine>,
    pub engine: EngineLines,
    pub forward_query: Option<Mapped>,
    /// The other commands of a data source or connection, by their names in lower case; the last one wins.
    pub settings: Settings,
    /// The nodes of a pipe.
    pub nodes: Vec<NodeLines>,
    /// The scopes of a `.token` file.
    pub scopes: Vec<ScopeLine>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Datasource,
    Pipe,
    Connection,
    Token,
    /// A fragment: it means something only where it is included.
    Include,
}

/// The files that a datafile is made of: its own and the included ones. An offset in a datafile is an offset
/// in its own text; beyond that text it is one in an included file.
#[derive(Debug, Clone)]
pub struct Files {
    /// Each with the offset of its first byte.
    files: Vec<(usize, Source)>,
}

/// A value: its text, and where it stands, quotes included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub value: Mapped,
    pub span: Span,
}

/// Values by command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings(pub(super) Vec<(String, Text)>);

/// `TOKEN name SCOPE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenLine {
    pub name: Text,
    /// As written: `READ`, `append`.
    pub scope: Text,
}

/// A column of a SCHEMA.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnLine {
    pub name: Text,
    /// Nothing where only a default says what the column is, or where the type is wrong.
    pub column_type: Option<ColumnType>,
    /// The type as written; empty where there is none.
    pub type_text: Text,
    pub jsonpath: Option<Text>,
    pub default: Option<Text>,
    pub materialized: Option<Text>,
    /// With its word: `CODEC(ZSTD(1))`.
    pub codec: Option<Text>,
}

/// A line of INDEXES.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexLine {
    pub name: Text,
    pub expression: Text,
    pub kind: Text,
    pub granularity: Option<Text>,
}

/// ENGINE and its options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineLines {
    pub family: Option<Text>,
    /// By the part after `engine_`: `sorting_key`. As written, repeats included: the last one counts.
    pub options: Vec<(String, Text)>,
}

/// A node of a pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLines {
    pub name: Text,
    pub description: Option<Text>,
    /// Without the indentation that its lines share; from its `%` on where it is a template.
    pub sql: Option<Mapped>,
    /// In lower case in Forward, as written in Classic.
    pub node_type: Option<Text>,
    pub engine: EngineLines,
    pub settings: Settings,
    pub operational_tags: Vec<String>,
    /// The NODE line.
    pub span: Span,
}

/// A scope of a `.token` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeLine {
    /// `PIPES:READ`.
    pub scope: Text,
    pub resource: Option<Text>,
    pub filter: Option<Text>,
}

impl Datafile {
    pub(super) fn empty(kind: Kind, name: String, files: Files) -> Datafile {
        Datafile {
            kind,
            name,
            files,
            description: None,
            version: None,
            maintainer: None,
            sources: Vec::new(),
            tokens: Vec::new(),
            tags: Vec::new(),
            operational_tags: Vec::new(),
            shared_with: Vec::new(),
            schema: None,
            indexes: Vec::new(),
            engine: EngineLines::default(),
            forward_query: None,
            settings: Settings::default(),
            nodes: Vec::new(),
            scopes: Vec::new(),
        }
    }

    pub fn source(&self) -> &Source {
        self.files.own()
    }

    pub fn place(&self, span: Span) -> Place {
        self.files.place(span)
    }
}

impl Kind {
    /// The kind that the extension of a path tells.
    pub fn of(path: &str) -> Option<Kind> {
        match path.rsplit_once('.')?.1 {
            "datasource" => Some(Kind::Datasource),
            "pipe" => Some(Kind::Pipe),
            "connection" => Some(Kind::Connection),
            "token" => Some(Kind::Token),
            "incl" => Some(Kind::Include),
            _ => None,
        }
    }

    pub fn extension(self) -> &'static str {
        match self {
            Kind::Datasource => "datasource",
            Kind::Pipe => "pipe",
            Kind::Connection => "connection",
            Kind::Token => "token",
            Kind::Include => "incl",
        }
    }

    /// The name of the resource that a file of this kind describes.
    pub fn resource_name(self, path: &str) -> String {
        let file = path.rsplit('/').next().unwrap_or(path);
        let stem = match self {
            Kind::Pipe => file.split_once('.'),
            _ => file.rsplit_once('.'),
        };
        stem.map_or(file, |(stem, _)| stem).to_owned()
    }
}

impl Files {
    pub(super) fn new(source: Source) -> Files {
        Files { files: vec![(0, source)] }
    }

    /// Adds an included file; what comes back is the offset of its first byte.
    pub(super) fn add(&mut self, source: Source) -> usize {
        let base = self.files.last().map_or(0, |(base, last)| base + last.text.len() + 1);
        self.files.push((base, source));
        base
    }

    pub(super) fn count(&self) -> usize {
        self.files.len()
    }

    /// The file that is not an included one.
    pub fn own(&self) -> &Source {
        &self.files[0].1
    }

    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.files.iter().map(|(_, source)| source)
    }

    pub fn place(&self, span: Span) -> Place {
        let index = self.files.partition_point(|(base, _)| *base <= span.start).saturating_sub(1);
        let (base, source) = &self.files[index];
        let inside = |offset: usize| offset.saturating_sub(*base).min(source.text.len());
        source.place(Span::new(inside(span.start), inside(span.end)))
    }
}

impl Text {
    pub fn as_str(&self) -> &str {
        self.value.text()
    }

    pub fn is_empty(&self) -> bool {
        self.value.is_empty()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Settings {
    /// The value of a command, by its name in lower case.
    pub fn get(&self, name: &str) -> Option<&Text> {
        self.0.iter().rev().find(|(it, _)| it == name).map(|(_, value)| value)
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Text)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub(super) fn set(&mut self, name: &str, value: Text) {
        self.0.retain(|(it, _)| it != name);
        self.0.push((name.to_owned(), value));
    }
}

impl EngineLines {
    pub fn is_empty(&self) -> bool {
        self.family.is_none() && self.options.is_empty()
    }

    /// The last value of an option that is not empty: `""` means "not given".
    pub fn option(&self, name: &str) -> Option<&Text> {
        self.options.iter().rev().find(|(it, _)| it == name).map(|(_, value)| value).filter(|it| !it.is_empty())
    }
}
