//! The text of a datafile becomes a [`Datafile`]: every command in its place, every problem at once.
//!
//! In: a [`Source`], a [`Context`] (dialect, environment, secrets) and a way to find included files. Out: a
//! [`Datafile`] and diagnostics, never a failure. Other datafiles are not known here: what one file's names
//! mean in the project is `project`'s to say.

mod ast;
mod commands;
mod connectors;
mod cron;
mod draft;
mod index;
mod lexer;
mod parser;
mod print;
mod rules;
mod schema;
mod secrets;
mod test_file;
mod values;
mod written;

pub use ast::{
    ColumnLine, Datafile, EngineLines, Files, IndexLine, Kind, NodeLines, ScopeLine, Settings, Text, TokenLine,
};

pub use cron::Cron;
pub use draft::{DatasourceDraft, EngineDraft, NodeDraft, PipeDraft, dedented, has_command, split_columns};
pub use print::Layout;
pub use test_file::{QualityTest, TestFile, TestForm, is_test_file, parse_tests};

use crate::diagnostic::{Diagnostic, Source};
use std::collections::{BTreeMap, BTreeSet};

/// Which of the two generations of Tinybird's own tools is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    Classic,
    Forward,
    /// What either of them accepts, with a warning where they differ in what they do.
    #[default]
    Auto,
}

/// What a file's text may refer to outside of it.
#[derive(Debug, Clone, Default)]
pub struct Context {
    pub dialect: Dialect,
    /// What `$NAME` and `${NAME}` stand for.
    pub environment: BTreeMap<String, String>,
    /// What `tb_secret("NAME")` stands for in `.datasource` and `.connection` files.
    pub secrets: BTreeMap<String, String>,
    pub missing_secret: MissingSecret,
    pub foreign: Foreign,
}

/// What becomes of a table of another workspace, which a node names as `workspace.table`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Foreign {
    /// It is refused.
    #[default]
    Refused,
    /// It is taken as a data source that the workspace shares: whoever deploys looks whether that is so.
    Shared,
    /// It is taken as it is, for checks: these are in the project's `vendor` folder.
    Vendored(BTreeSet<String>),
}

/// What becomes of a secret that has neither a value nor a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingSecret {
    #[default]
    Error,
    /// Its name takes its place: for checks where the secrets are elsewhere.
    StandIn,
}

/// Finds an included file by its path, relative to the folder of the file that is parsed.
pub type Includes<'a> = &'a dyn Fn(&str) -> Option<Source>;

/// For files that stand alone: every INCLUDE is reported as missing.
pub fn no_includes(_: &str) -> Option<Source> {
    None
}

/// Parses a datafile. Its kind is told by the extension of its path; nothing for other files.
pub fn parse(source: &Source, context: &Context, includes: Includes<'_>) -> Option<(Datafile, Vec<Diagnostic>)> {
    let kind = Kind::of(&source.path)?;
    Some(parse_as(kind, source, context, includes))
}

/// Whether a word, in lower case, is a command of a file of this kind.
pub fn is_known(word: &str, kind: Kind, dialect: Dialect) -> bool {
    commands::is_command(word, kind, dialect)
}

/// Parses a datafile as of `kind`, whatever it is called.
pub fn parse_as(kind: Kind, source: &Source, context: &Context, includes: Includes<'_>) -> (Datafile, Vec<Diagnostic>) {
    parser::parse(kind, source, context, includes)
}

#[cfg(test)]
mod tests;
