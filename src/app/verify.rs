//! Everything that only the engine can judge, before anything is changed: are the tables' expressions right,
//! does every node read columns that there are, does every view fit its target.
//!
//! It is tried out on empty tables in a database of its own, which is dropped again, so that neither a check
//! nor a push that fails leaves a trace. What is as it was at the last deploy is not tried again.

#[cfg(test)]
mod tests;

use super::{AppError, Shared, words};
use crate::{
    ddl,
    diagnostic::{Diagnostic, Mapped, Place, Span, nearest},
    engine::{EngineError, EngineErrorKind},
    name::{Namespace, ResourceName},
    plan::{Action, Plan},
    project::{self, Column, Datasource, Node, NodeSql, Pipe, PipeKind, Project},
    query::{self, OwnerMode, QueryError},
    sql::{ColumnType, Sql, statement},
};
use std::collections::{BTreeMap, BTreeSet};

pub(super) async fn verify(
    shared: &Shared,
    plan: &Plan,
    current: &Project,
    wanted: &Project,
) -> Result<Vec<Diagnostic>, AppError> {
    if plan.is_empty() {
        return Ok(vec![]);
    }
    let scratch = Namespace::new(&format!("{SCRATCH}{}", words::random_letters(20)));
    let (checks, mut diagnostics) = checks(current, wanted, &scratch);
    let tables = tables(plan, wanted, &checks);
    if tables.is_empty() && checks.is_empty() {
        return Ok(diagnostics);
    }
    let verifier = Verifier { shared, wanted, scratch };
    shared.engine.command(&statement::create_database(verifier.scratch.database())).await?;
    let verified = verifier.run(checks, tables).await;
    if let Err(error) = shared.engine.command(&ddl::drop_database(&verifier.scratch)).await {
        shared.warn(format!("a database that a check used could not be dropped: {error}"));
    }
    diagnostics.extend(verified?);
    Ok(diagnostics)
}

/// What databases of checks are called, with random letters behind it. It is no prefix of a reader's role.
pub(super) const SCRATCH: &str = "check_";

/// A node that is new or reads something new, and its text over the empty tables.
struct Check<'a> {
    pipe: &'a Pipe,
    node: &'a Node,
    select: Sql,
}

/// The nodes to try out; those that cannot even be composed are diagnostics.
fn checks<'a>(current: &Project, wanted: &'a Project, scratch: &Namespace) -> (Vec<Check<'a>>, Vec<Diagnostic>) {
    let mut checks = Vec::new();
    let mut diagnostics = Vec::new();
    for pipe in wanted.pipes.values() {
        for node in &pipe.nodes {
            match query::compile_for_owner(wanted, scratch, pipe, node, mode(pipe, node)) {
                Ok(select) if is_deployed(current, wanted, scratch, pipe, node, &select) => {}
                Ok(select) => checks.push(Check { pipe, node, select }),
                Err(error) => {
                    let diagnostic = uncomposed(&error, node);
                    // A node that others read is composed into each of them; its fault is told once.
                    if !diagnostics.contains(&diagnostic) {
                        diagnostics.push(diagnostic);
                    }
                }
            }
        }
    }
    (checks, diagnostics)
}

/// A view runs without parameters; everything else is tried with stand-ins for them.
fn mode(pipe: &Pipe, node: &Node) -> OwnerMode {
    match &pipe.kind {
        PipeKind::Materialized { .. } if node.name == pipe.output_node().name => OwnerMode::NoParameters,
        _ => OwnerMode::Check,
    }
}

/// The same text was over the same tables when the current project was deployed.
fn is_deployed(
    current: &Project,
    wanted: &Project,
    scratch: &Namespace,
    pipe: &Pipe,
    node: &Node,
    select: &Sql,
) -> bool {
    let Some(previous) = current.pipe(pipe.name.as_str()) else { return false };
    let Some(previous_node) = previous.node(node.name.as_str()) else { return false };
    let composed = query::compile_for_owner(current, scratch, previous, previous_node, mode(previous, previous_node));
    let same_table = |name: &ResourceName| {
        let shape =
            |it: &Datasource| it.columns.iter().map(|it| (it.name.clone(), it.column_type.clone())).collect::<Vec<_>>();
        let (Some(before), Some(now)) = (current.datasource(name.as_str()), wanted.datasource(name.as_str())) else {
            return false;
        };
        shape(before) == shape(now)
    };
    previous.kind == pipe.kind
        && composed.as_ref() == Ok(select)
        && wanted.node_tables(pipe, node).iter().all(same_table)
}

/// The tables that nodes to try out read, and those that are new themselves.
fn tables<'a>(plan: &Plan, wanted: &'a Project, checks: &[Check]) -> Vec<&'a Datasource> {
    let mut names = BTreeSet::new();
    for check in checks {
        names.extend(wanted.node_tables(check.pipe, check.node));
    }
    for step in &plan.steps {
        if let Action::CreateTable { datasource } | Action::AddColumn { datasource, .. } = &step.action {
            names.insert(datasource.name.clone());
        }
    }
    names.iter().filter_map(|it| wanted.datasource(it.as_str())).map(|it| &**it).collect()
}

struct Verifier<'a> {
    shared: &'a Shared,
    wanted: &'a Project,
    scratch: Namespace,
}

impl Verifier<'_> {
    async fn run(&self, checks: Vec<Check<'_>>, tables: Vec<&Datasource>) -> Result<Vec<Diagnostic>, AppError> {
        let mut diagnostics = Vec::new();
        let mut broken_tables = BTreeSet::new();
        for datasource in tables {
            let create = ddl::create_table(datasource, &self.scratch.table(&datasource.name));
            if let Err(error) = self.shared.engine.command(&create).await {
                broken_tables.insert(datasource.name.clone());
                diagnostics.push(self.bad_table(datasource, theirs(error)?));
            }
        }
        let mut failed = BTreeMap::new();
        for check in &checks {
            if !self.wanted.node_tables(check.pipe, check.node).is_disjoint(&broken_tables) {
                continue;
            }
            match self.shared.engine.command(&query::describe(&check.select)).await {
                Ok(described) => diagnostics.extend(self.bad_target(check, &described)?),
                Err(error) => {
                    failed.insert((&check.pipe.name, &check.node.name), (check, theirs(error)?));
                }
            }
        }
        for (check, error) in failed.values() {
            // A node that reads a failing node fails by it.
            let reads_failing = check.node.reads.iter().any(|read| match read.target {
                project::ReferenceTarget::Node => failed.contains_key(&(&check.pipe.name, &read.name)),
                project::ReferenceTarget::Pipe => self
                    .wanted
                    .pipe(read.name.as_str())
                    .is_some_and(|it| failed.contains_key(&(&it.name, &it.output_node().name))),
                project::ReferenceTarget::Datasource => false,
            });
            if !reads_failing && !may_be_the_stand_in(check.node, error) {
                diagnostics.push(self.bad_node(check.node, error));
            }
        }
        Ok(diagnostics)
    }

    fn bad_table(&self, datasource: &Datasource, error: EngineError) -> Diagnostic {
        let words = engine_words(&error.message, &self.scratch);
        // The engine names a column when an expression is about one.
        let column = quoted(&error.message)
            .into_iter()
            .find_map(|name| datasource.columns.iter().find(|it| it.name.as_str() == name));
        let place = column.map_or(&datasource.place, |it| &it.place);
        Diagnostic::error("engine", words).at(place.clone())
    }

    fn bad_node(&self, node: &Node, error: &EngineError) -> Diagnostic {
        let names = quoted(&error.message);
        let text = match &node.sql {
            NodeSql::Plain(text) | NodeSql::Template { text, .. } => text,
        };
        let found = names.iter().find_map(|name| {
            let last = name.rsplit('.').next().unwrap_or(name);
            find_word(text.text(), name).or_else(|| find_word(text.text(), last))
        });
        let found = found.or_else(|| find_excerpt(text.text(), &error.message));
        let place = match found {
            Some(span) => Place { path: node.place.path.clone(), span: text.span(span) },
            None => node.place.clone(),
        };
        let name = names.first().map(String::as_str).unwrap_or_default();
        let (code, words) = match error.code {
            UNKNOWN_IDENTIFIER => ("unknown_column", format!("there is no column `{name}` here")),
            UNKNOWN_FUNCTION => ("unknown_function", format!("there is no function `{name}`")),
            SYNTAX_ERROR => ("sql_syntax", engine_words(&error.message, &self.scratch)),
            _ => ("engine", engine_words(&error.message, &self.scratch)),
        };
        let diagnostic = Diagnostic::error(code, words).at(place);
        match maybe_meant(&error.message).or_else(|| self.near_column(node, error.code, name)) {
            Some(near) => diagnostic.hint(format!("maybe you meant `{near}`")),
            None => diagnostic,
        }
    }

    /// The engine does not look for a name's neighbour in every place; the tables that the node reads are known.
    fn near_column(&self, node: &Node, code: i32, name: &str) -> Option<String> {
        if code != UNKNOWN_IDENTIFIER {
            return None;
        }
        let tables = node.reads.iter().filter_map(|it| self.wanted.datasource(it.name.as_str()));
        let columns = tables.flat_map(|it| &it.columns).map(|it| it.name.as_str());
        nearest(name.rsplit('.').next()?, columns).map(str::to_owned)
    }

    /// A view's columns go into the target's columns of the same names.
    fn bad_target(&self, check: &Check, described: &[u8]) -> Result<Vec<Diagnostic>, AppError> {
        let PipeKind::Materialized { target } = &check.pipe.kind else { return Ok(vec![]) };
        let Some(target) = self.wanted.datasource(target.as_str()) else { return Ok(vec![]) };
        if check.node.name != check.pipe.output_node().name {
            return Ok(vec![]);
        }
        let mut res = Vec::new();
        for (name, type_text) in columns(described)? {
            let text = match &check.node.sql {
                NodeSql::Plain(text) | NodeSql::Template { text, .. } => text,
            };
            let place = place_of(text, &name, check.node);
            let Some(column) = target.columns.iter().find(|it| it.name.as_str() == name) else {
                let names = target.columns.iter().map(|it| it.name.as_str());
                let near = nearest(&name, names).map(|it| format!("maybe you meant `{it}`"));
                let words = format!("the data source `{}` has no column `{name}`", target.name);
                let diagnostic = Diagnostic::error("target_column_unknown", words).at(place);
                res.push(match near {
                    Some(near) => diagnostic.hint(near),
                    None => diagnostic.hint("a view's columns are those of its target; give this one its name with AS"),
                });
                continue;
            };
            // A type that is not known here is the engine's to judge, when the view is made.
            let Ok(from) = ColumnType::parse(&type_text) else { continue };
            if !project::fits(&from, &column.column_type) {
                res.push(unfit(target, column, &from, place));
            }
        }
        Ok(res)
    }
}

fn unfit(target: &Datasource, column: &Column, from: &ColumnType, place: Place) -> Diagnostic {
    let words = format!(
        "`{}` is {from} here and {} in the data source `{}`: values could be lost",
        column.name, column.column_type, target.name
    );
    Diagnostic::error("target_type", words)
        .at(place)
        .related(column.place.clone(), format!("this column takes {}", column.column_type))
}

/// Only an error of the statement is the user's; anything else ends the check.
fn theirs(error: EngineError) -> Result<EngineError, AppError> {
    match error.kind {
        EngineErrorKind::Query | EngineErrorKind::Limit => Ok(error),
        _ => Err(error.into()),
    }
}

fn uncomposed(error: &QueryError, node: &Node) -> Diagnostic {
    let (words, place, hint) = match error {
        QueryError::Template { error, place } => (error.message.clone(), place, error.hint.clone()),
        QueryError::Refused { error, place } => (error.message.clone(), place, None),
        _ => (error.to_string(), &None, None),
    };
    let place = place.clone().unwrap_or_else(|| node.place.clone());
    Diagnostic { hint, ..Diagnostic::error("node", words).at(place) }
}

const UNKNOWN_IDENTIFIER: i32 = 47;
const UNKNOWN_FUNCTION: i32 = 46;
const SYNTAX_ERROR: i32 = 62;

/// Errors about a value or its type: with a template's stand-ins for parameters they prove nothing.
const ABOUT_VALUES: &[i32] = &[6, 27, 32, 36, 38, 41, 43, 53, 69, 70, 72, 131, 153, 158, 386, 440, 457, 467, 691];

fn may_be_the_stand_in(node: &Node, error: &EngineError) -> bool {
    matches!(node.sql, NodeSql::Template { .. }) && ABOUT_VALUES.contains(&error.code)
}

fn columns(described: &[u8]) -> Result<Vec<(String, String)>, AppError> {
    #[derive(serde::Deserialize)]
    struct Row {
        name: String,
        r#type: String,
    }
    let lines = described.split(|it| *it == b'\n').filter(|it| !it.is_empty());
    let row = |line| {
        let row: Row = serde_json::from_slice(line)
            .map_err(|error| AppError::Invalid(format!("the engine's columns cannot be read: {error}")))?;
        Ok((row.name, row.r#type))
    };
    lines.map(row).collect()
}

/// The engine's words for a user: without the statement that we made of theirs, without our databases, and
/// without the name that the engine has for the error.
pub(super) fn engine_words(message: &str, namespace: &Namespace) -> String {
    let mut words = message;
    for end in [
        ". In scope ",
        ": In scope ",
        " in scope ",
        ". In query ",
        ": While ",
        ". Expected one of",
        ". Maybe you meant",
    ] {
        if let Some(at) = words.find(end) {
            words = &words[..at];
        }
    }
    if words.ends_with(')')
        && let Some(at) = words.rfind(" (")
        && words[at + 2..words.len() - 1].chars().all(|it| it.is_ascii_uppercase() || it == '_')
    {
        words = words[..at].trim_end_matches('.');
    }
    let database = namespace.database();
    words.replace(&format!("`{database}`."), "").replace(&format!("{database}."), "")
}

/// What stands in backquotes or single quotes, in order.
fn quoted(message: &str) -> Vec<String> {
    let message = message.split(" in scope ").next().unwrap_or(message);
    let message = message.split("In scope ").next().unwrap_or(message);
    let mut res = Vec::new();
    let mut rest = message;
    while let Some(start) = rest.find(['`', '\'']) {
        let quote = rest.as_bytes()[start];
        let inside = &rest[start + 1..];
        let Some(end) = inside.bytes().position(|it| it == quote) else { break };
        res.push(inside[..end].to_owned());
        rest = &inside[end + 1..];
    }
    res
}

fn maybe_meant(message: &str) -> Option<String> {
    let names = message.split("Maybe you meant: [").nth(1)?;
    quoted(names.split(']').next()?).into_iter().next()
}

/// The text after the place where the engine's parser stopped: `(z): z FROM t`. Its beginning, as long as it is
/// in the node's own text too.
fn find_excerpt(text: &str, message: &str) -> Option<Span> {
    let rest = message.split("failed at position ").nth(1)?;
    let excerpt = rest.split_once("): ")?.1.split(". Expected").next()?;
    let mut end = excerpt.len();
    while end > 0 {
        if excerpt.is_char_boundary(end)
            && let Some(at) = text.find(&excerpt[..end])
        {
            let token = excerpt.find(|it: char| !it.is_alphanumeric() && it != '_').unwrap_or(end).clamp(1, end.max(1));
            return Some(Span::new(at, at + token));
        }
        end -= 1;
    }
    None
}

fn place_of(text: &Mapped, word: &str, node: &Node) -> Place {
    // The name of a column stands last where it is given: `x AS name`.
    match find_words(text.text(), word).last() {
        Some(span) => Place { path: node.place.path.clone(), span: text.span(*span) },
        None => node.place.clone(),
    }
}

fn find_word(text: &str, word: &str) -> Option<Span> {
    find_words(text, word).first().copied()
}

/// Where a name stands in SQL, outside of strings and comments.
fn find_words(text: &str, word: &str) -> Vec<Span> {
    let mut res = Vec::new();
    if word.is_empty() {
        return res;
    }
    let bytes = text.as_bytes();
    let part = |at: Option<&u8>| at.is_some_and(|it| it.is_ascii_alphanumeric() || *it == b'_');
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if rest.starts_with(b"--") {
            at += rest.iter().position(|it| *it == b'\n').unwrap_or(rest.len());
        } else if rest.starts_with(b"/*") {
            at += rest.windows(2).position(|it| it == b"*/").map_or(rest.len(), |it| it + 2);
        } else if rest[0] == b'\'' {
            let mut end = 1;
            while end < rest.len() && rest[end] != b'\'' {
                end += if rest[end] == b'\\' { 2 } else { 1 };
            }
            at += end + 1;
        } else if rest.starts_with(word.as_bytes())
            && !part(at.checked_sub(1).and_then(|it| bytes.get(it)))
            && !part(bytes.get(at + word.len()))
        {
            res.push(Span::new(at, at + word.len()));
            at += word.len();
        } else {
            at += 1;
        }
    }
    res
}
