//! Everything that only the engine can judge, before anything is changed: are the tables' expressions right,
//! does every node read columns that there are, does every view fit its target.
//!
//! It is tried out on empty tables in a database of its own, which is dropped again, so that neither a check
//! nor a push that fails leaves a trace. What is as it was at the last deploy is not tried again.

mod places;
#[cfg(test)]
mod tests;

use super::{AppError, Shared, words};
use crate::{
    ddl,
    diagnostic::{Diagnostic, Place, Span, nearest},
    engine::{Engine, EngineError, EngineErrorKind},
    name::Namespace,
    plan::{self, Action, Plan},
    project::{
        self, Column, ColumnDefault, Datasource, EngineFamily, Node, NodeSql, Pipe, PipeKind, Project, TableEngine,
    },
    query::{self, OwnerMode, QueryError},
    sql::{ColumnType, Sql, UserSql, scan, statement},
    template::Params,
};
use futures_util::{StreamExt, stream};
use places::find_words;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub(super) async fn verify(
    shared: &Shared,
    plan: &Plan,
    current: &Project,
    wanted: &Project,
) -> Result<Vec<Diagnostic>, AppError> {
    if plan.is_empty() {
        return Ok(vec![]);
    }
    let (diagnostics, leftover) = try_out(&shared.engine, plan, current, wanted, Purpose::Deploy).await?;
    if let Some(error) = leftover {
        shared.warn(format!("a database that a check used could not be dropped: {error}"));
    }
    Ok(diagnostics)
}

/// What only the engine finds wrong with a project of which nothing is deployed: for checks without a server. The
/// engine is left as it was.
pub async fn check(engine: &Engine, project: &Project) -> Result<Vec<Diagnostic>, AppError> {
    let nothing = Project::default();
    let project = &whole_part(project);
    let (mut diagnostics, _) =
        try_out(engine, &plan::diff(&nothing, project), &nothing, project, Purpose::Check).await?;
    diagnostics.dedup();
    Ok(diagnostics)
}

/// The part of a project that reads and writes nothing that is missing, because its file is wrong.
fn whole_part(project: &Project) -> Project {
    let mut part = project.clone();
    loop {
        let is_there = |it: &project::Reference| match it.target {
            project::ReferenceTarget::Node => true,
            project::ReferenceTarget::Datasource => part.datasource(it.name.as_str()).is_some(),
            project::ReferenceTarget::Pipe => part.pipe(it.name.as_str()).is_some(),
        };
        let is_whole = |pipe: &Pipe| {
            let target = match &pipe.kind {
                PipeKind::Materialized { target } | PipeKind::Copy { target, .. } => Some(target),
                PipeKind::Endpoint | PipeKind::Sink | PipeKind::Internal => None,
            };
            target.is_none_or(|it| part.datasource(it.as_str()).is_some())
                && pipe.nodes.iter().flat_map(|it| &it.reads).all(is_there)
        };
        let broken: Vec<_> = part.pipes.iter().filter(|(_, it)| !is_whole(it)).map(|(name, _)| name.clone()).collect();
        if broken.is_empty() {
            return part;
        }
        for name in broken {
            part.pipes.remove(&name);
            part.order.retain(|it| *it != name);
        }
    }
}

/// Tries out what is new, and says also whether the database that was used could not be dropped again.
async fn try_out(
    engine: &Engine,
    plan: &Plan,
    current: &Project,
    wanted: &Project,
    purpose: Purpose,
) -> Result<(Vec<Diagnostic>, Option<EngineError>), AppError> {
    let scratch = Namespace::new(&format!("{SCRATCH}{}", words::random_letters(20)));
    let (checks, mut diagnostics) = checks(current, wanted, &scratch);
    let tables = tables(plan, wanted, &checks);
    if tables.is_empty() && checks.is_empty() {
        return Ok((diagnostics, None));
    }
    let verifier = Verifier { engine, wanted, scratch, purpose };
    engine.command(&statement::create_database(verifier.scratch.database())).await?;
    let verified = verifier.run(checks, tables).await;
    let leftover = engine.command(&ddl::drop_database(&verifier.scratch)).await.err();
    diagnostics.extend(verified?);
    Ok((diagnostics, leftover))
}

/// How long the engine may look at one node. The tables are empty, but a query in it that gives a constant is run.
const AT_MOST: Duration = Duration::from_secs(10);

/// What databases of checks are called, with random letters behind it. It is no prefix of a reader's role.
const SCRATCH: &str = "check_";

/// Drops what checks of a process left that ended in the middle of them.
pub(super) async fn drop_leftovers(engine: &Engine) -> Result<(), AppError> {
    let names = engine.command(&ddl::databases(SCRATCH)).await?;
    for name in rows::<Database>(&names)? {
        engine.command(&ddl::drop_database(&Namespace::new(&name.name))).await?;
    }
    Ok(())
}

#[derive(serde::Deserialize)]
struct Database {
    name: String,
}

/// A node that is new or reads something new, and its text over the empty tables.
struct Check<'a> {
    pipe: &'a Pipe,
    node: &'a Node,
    select: Sql,
    tables: BTreeSet<String>,
}

/// The nodes to try out; those that cannot even be composed are diagnostics.
fn checks<'a>(current: &Project, wanted: &'a Project, scratch: &Namespace) -> (Vec<Check<'a>>, Vec<Diagnostic>) {
    let mut checks = Vec::new();
    let mut diagnostics = Vec::new();
    for pipe in wanted.pipes.values() {
        for node in &pipe.nodes {
            match query::compile_for_owner(wanted, scratch, pipe, node, mode(pipe, node)) {
                Ok(select) if is_deployed(current, wanted, scratch, pipe, node, &select) => {}
                Ok(select) => {
                    let tables = read_tables(&select, scratch);
                    checks.push(Check { pipe, node, select, tables });
                }
                // A template that answers with `error()` when a parameter is missing has no text to judge here.
                Err(QueryError::Refused { error, .. }) if error.message == scan::EMPTY => {}
                // It reads another workspace, which was told where that is refused; there is nothing to try out.
                Err(QueryError::Refused { error, .. }) if error.category == scan::Refused::DatabasePrefix => {}
                // It was so before this push.
                Err(error @ QueryError::Denied(_)) if is_broken(current, scratch, pipe, node, &error) => {}
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

/// The deployed node fails the same way: what it reads is not shared any more.
fn is_broken(current: &Project, scratch: &Namespace, pipe: &Pipe, node: &Node, error: &QueryError) -> bool {
    let Some(previous) = current.pipe(pipe.name.as_str()) else { return false };
    let Some(node) = previous.node(node.name.as_str()) else { return false };
    query::compile_for_owner(current, scratch, previous, node, mode(previous, node)).as_ref().err() == Some(error)
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
    let same_table = |name: &String| {
        let shape =
            |it: &Datasource| it.columns.iter().map(|it| (it.name.clone(), it.column_type.clone())).collect::<Vec<_>>();
        let of = |project: &Project| {
            project.datasource(name).map(|it| shape(it)).or_else(|| quarantined(project, name).map(shape))
        };
        of(current) == of(wanted)
    };
    previous.kind == pipe.kind && composed.as_ref() == Ok(select) && read_tables(select, scratch).iter().all(same_table)
}

/// The tables that nodes to try out read, and those that are new themselves. What a node reads is taken from
/// its composed text: a template may read more with stand-ins for its parameters than without.
fn tables(plan: &Plan, wanted: &Project, checks: &[Check]) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = checks.iter().flat_map(|it| it.tables.iter().cloned()).collect();
    for step in &plan.steps {
        if let Action::CreateTable { datasource } | Action::AddColumn { datasource, .. } = &step.action {
            names.insert(datasource.name.to_string());
        }
    }
    let known = |it: &String| {
        wanted.readable(Namespace::merged_of(it).unwrap_or(it)).is_some() || quarantined(wanted, it).is_some()
    };
    names.retain(known);
    names
}

/// The data source whose quarantine has this name.
fn quarantined<'a>(project: &'a Project, table: &str) -> Option<&'a Datasource> {
    project.datasources.values().map(|it| &**it).find(|it| it.name.quarantine().as_str() == table)
}

/// The tables of the database of the check that a composed text names. Nobody else can have written its name.
fn read_tables(select: &Sql, scratch: &Namespace) -> BTreeSet<String> {
    let prefix = format!("`{}`.`", scratch.database());
    select.as_str().split(&prefix).skip(1).filter_map(|it| it.split('`').next()).map(str::to_owned).collect()
}

/// What the engine says about a node.
enum Tried<'a> {
    /// It can be run; what is wrong with it all the same.
    Good(Vec<Diagnostic>),
    Failed(&'a Check<'a>, EngineError),
}

/// Nodes that the engine looks at at the same time. It has a place more for statements, which others may want.
const AT_ONCE: usize = 3;

/// What the engine is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// What is tried out will be served, to tokens that may not see all rows.
    Deploy,
    /// Somebody wants to know what is wrong; there are no rows to hide, and looking twice takes twice the time.
    Check,
}

struct Verifier<'a> {
    engine: &'a Engine,
    wanted: &'a Project,
    scratch: Namespace,
    purpose: Purpose,
}

impl Verifier<'_> {
    async fn run(&self, checks: Vec<Check<'_>>, tables: BTreeSet<String>) -> Result<Vec<Diagnostic>, AppError> {
        let mut diagnostics = Vec::new();
        let mut broken_tables = BTreeSet::new();
        let created: Vec<_> = tables.iter().map(|it| self.create(it)).collect();
        let mut created = stream::iter(created).buffered(AT_ONCE).zip(stream::iter(&tables));
        while let Some((created, name)) = created.next().await {
            if let Err((datasource, error)) = created {
                diagnostics.push(self.bad_table(datasource, theirs(error)?).await);
                broken_tables.insert(name.clone());
            }
        }
        let mut failed = BTreeMap::new();
        let whole = checks.iter().filter(|it| it.tables.is_disjoint(&broken_tables));
        // Each node is a question of its own; the answers come in the order of the nodes.
        let asked: Vec<_> = whole.map(|it| self.try_node(it)).collect();
        let mut answers = stream::iter(asked).buffered(AT_ONCE);
        while let Some(answer) = answers.next().await {
            match answer? {
                Tried::Good(found) => diagnostics.extend(found),
                Tried::Failed(check, error) => _ = failed.insert((&check.pipe.name, &check.node.name), (check, error)),
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
            if !reads_failing && !may_be_the_stand_in(check.node, error) && !self.holds_for_example(check).await {
                diagnostics.push(self.bad_node(check, error).await);
            }
        }
        Ok(diagnostics)
    }

    async fn try_node<'a>(&self, check: &'a Check<'a>) -> Result<Tried<'a>, AppError> {
        match self.engine.command_within(&query::describe(&check.select), AT_MOST).await {
            Ok(described) => {
                let mut found = self.bad_target(check, &described)?;
                if self.purpose == Purpose::Deploy {
                    found.extend(self.bad_tables(check).await?);
                }
                Ok(Tried::Good(found))
            }
            Err(error) => Ok(Tried::Failed(check, theirs(error)?)),
        }
    }

    /// Whether a node that is no template itself is right for a request with an example of each parameter. With stand-ins
    /// for parameters the pipes that it reads may take branches that give other columns.
    async fn holds_for_example(&self, check: &Check<'_>) -> bool {
        let parameters = self.wanted.parameters(check.pipe, check.node);
        if parameters.is_empty() || matches!(check.node.sql, NodeSql::Template { .. }) {
            return false;
        }
        let missing = parameters.iter().filter(|it| it.default.is_none() && it.required);
        let params: Params = missing.map(|it| (it.name.clone(), example(&it.type_name))).collect();
        match query::compile_example(self.wanted, &self.scratch, check.pipe, check.node, &params) {
            Ok(select) => self.engine.command_within(&query::describe(&select), AT_MOST).await.is_ok(),
            Err(_) => false,
        }
    }

    async fn create(&self, name: &str) -> Result<(), (&Datasource, EngineError)> {
        let (datasource, sql) = match self.wanted.readable(Namespace::merged_of(name).unwrap_or(name)) {
            Some(it) if Namespace::merged_of(name).is_some() => {
                (it, ddl::create_table(it, &self.scratch.merged(&it.name)))
            }
            Some(it) => (it, ddl::create_table(it, &self.scratch.table(&it.name))),
            None => match quarantined(self.wanted, name) {
                Some(it) => (it, ddl::create_quarantine(it, &self.scratch.table(&it.name.quarantine()))),
                None => return Ok(()),
            },
        };
        self.engine.command(&sql).await.map(drop).map_err(|error| (datasource, error))
    }

    /// The engine's own reading of the text must come to no other tables than ours did. Where it does, a name
    /// was missed, and with it the row filter of whoever will call the node.
    async fn bad_tables(&self, check: &Check<'_>) -> Result<Option<Diagnostic>, AppError> {
        let tree = match self.engine.command_within(&query::explain(&check.select), AT_MOST).await {
            Ok(tree) => tree,
            Err(error) => return Ok(Some(self.bad_node(check, &theirs(error)?).await)),
        };
        Ok(foreign_table(&tree, &self.scratch)?.map(|table| {
            let words = format!("the engine reads the table {table} here, which is not of this project");
            Diagnostic::error("table_unresolved", words).at(check.node.place.clone())
        }))
    }

    async fn bad_table(&self, datasource: &Datasource, error: EngineError) -> Diagnostic {
        let words = engine_words(&error.message, &self.scratch);
        // The engine names what it did not understand, or a column that an expression is about.
        let names = quoted(&error.message);
        let expression =
            expressions(datasource).find(|it| names.iter().any(|name| find_word(it.text(), name).is_some()));
        let column = || datasource.columns.iter().find(|it| names.iter().any(|name| it.name.as_str() == name));
        let place = match expression {
            Some(expression) => Place { path: datasource.place.path.clone(), span: expression.span() },
            None => match column() {
                Some(column) => column.place.clone(),
                None => self.bad_default(datasource, &error).await.unwrap_or_else(|| datasource.place.clone()),
            },
        };
        Diagnostic::error("engine", words).at(place)
    }

    /// The default that the engine minds, where it does not say which: a table of that column alone fails as well.
    async fn bad_default(&self, datasource: &Datasource, error: &EngineError) -> Option<Place> {
        for column in datasource.columns.iter().filter(|it| it.default.is_some()) {
            let engine = TableEngine { family: EngineFamily::Null, ..TableEngine::plain() };
            let lone = Datasource { columns: vec![column.clone()], indexes: vec![], engine, ..datasource.clone() };
            let table = self.scratch.side(&datasource.name);
            match self.engine.command(&ddl::create_table(&lone, &table)).await {
                Err(same) if same.code == error.code => {
                    let (ColumnDefault::Default(value) | ColumnDefault::Materialized(value)) =
                        column.default.as_ref()?;
                    return Some(Place { path: datasource.place.path.clone(), span: value.span() });
                }
                Err(_) => (),
                Ok(_) => _ = self.engine.command(&ddl::drop_table(&table)).await,
            }
        }
        None
    }

    async fn bad_node(&self, check: &Check<'_>, error: &EngineError) -> Diagnostic {
        let node = check.node;
        let place = self.place(check, error).await;
        let names = quoted(&error.message);
        let name = names.first().map(String::as_str).unwrap_or_default();
        let (code, words) = match error.code {
            UNKNOWN_IDENTIFIER => ("unknown_column", format!("there is no column `{name}` here")),
            UNKNOWN_FUNCTION => ("unknown_function", format!("there is no function `{name}`")),
            SYNTAX_ERROR => ("sql_syntax", syntax_words(&error.message)),
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
            let place = place_of(&name, check.node);
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

/// Everything in a data source's file that the engine evaluates.
fn expressions(datasource: &Datasource) -> impl Iterator<Item = &UserSql> {
    let columns = datasource.columns.iter().flat_map(|it| {
        let default = it.default.as_ref().map(|it| match it {
            ColumnDefault::Default(expression) | ColumnDefault::Materialized(expression) => expression,
        });
        default.into_iter().chain(&it.codec)
    });
    let indexes = datasource.indexes.iter().flat_map(|it| [&it.expression, &it.kind]);
    let engine = &datasource.engine;
    let keys = [&engine.partition_key, &engine.sorting_key, &engine.primary_key, &engine.sampling_key];
    let rest = [&engine.ttl, &engine.settings];
    columns.chain(indexes).chain(&engine.parameters).chain(keys.into_iter().chain(rest).flatten())
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
        EngineErrorKind::Query | EngineErrorKind::Limit | EngineErrorKind::Timeout | EngineErrorKind::TooMuchMemory => {
            Ok(error)
        }
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

/// A value that a parameter of this type takes.
fn example(type_name: &str) -> serde_json::Value {
    match type_name {
        it if it.starts_with("DateTime") => "2026-01-01 00:00:00".into(),
        it if it.starts_with("Date") => "2026-01-01".into(),
        it if it.contains("Int") || it.starts_with("Float") || it.starts_with("Decimal") => "1".into(),
        "Boolean" | "Bool" => "0".into(),
        "UUID" => "00000000-0000-0000-0000-000000000000".into(),
        _ => "a".into(),
    }
}

/// Tables of the engine that anybody may read.
const OPEN: &[&str] = &["system.one", "system.numbers", "system.numbers_mt", "system.zeros", "system.functions"];

/// The tables in a query tree: `TABLE id: 3, alias: __table1, table_name: db.t`.
fn tree_tables(tree: &[u8]) -> Result<Vec<String>, AppError> {
    #[derive(serde::Deserialize)]
    struct Line {
        explain: String,
    }
    let lines = rows::<Line>(tree)?.into_iter().map(|it| it.explain);
    let tables = lines.filter(|it| it.trim_start().starts_with("TABLE id:"));
    Ok(tables.filter_map(|it| Some(it.rsplit_once("table_name: ")?.1.to_owned())).collect())
}

/// A table that the engine reads and that is neither the project's nor open to all.
fn foreign_table(tree: &[u8], scratch: &Namespace) -> Result<Option<String>, AppError> {
    let inside = format!("{}.", scratch.database());
    Ok(tree_tables(tree)?.into_iter().find(|it| !it.starts_with(&inside) && !OPEN.contains(&it.as_str())))
}

/// The columns, with their types, of what was described.
pub(super) fn columns(described: &[u8]) -> Result<Vec<(String, String)>, AppError> {
    #[derive(serde::Deserialize)]
    struct Column {
        name: String,
        r#type: String,
    }
    Ok(rows::<Column>(described)?.into_iter().map(|it| (it.name, it.r#type)).collect())
}

/// An answer of the engine to one of our own statements.
pub(super) fn rows<T: serde::de::DeserializeOwned>(answer: &[u8]) -> Result<Vec<T>, AppError> {
    let lines = answer.split(|it| *it == b'\n').filter(|it| !it.is_empty());
    let bad = |error| AppError::Invalid(format!("the engine's answer cannot be read: {error}"));
    lines.map(|line| serde_json::from_slice(line).map_err(bad)).collect()
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

/// What the engine's parser minds, without its positions: they are those of a text of ours.
pub(super) fn syntax_words(message: &str) -> String {
    let token = message.split("failed at position ").nth(1).and_then(|it| it.split_once(" (")?.1.split(") (").next());
    match token.filter(|it| !it.contains('\n') && !it.is_empty() && *it != "end of query") {
        Some(token) => format!("`{}` cannot stand here", token.trim_end_matches(')').trim_end_matches(':')),
        None => "the SQL ends before it is complete".to_owned(),
    }
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

/// The name of a column stands last where it is given: `x AS name`.
fn place_of(column: &str, node: &Node) -> Place {
    let found = node.readable().and_then(|it| Some(it.place(*find_words(it.sql(), column).last()?)));
    found.unwrap_or_else(|| node.place.clone())
}

fn find_word(text: &str, word: &str) -> Option<Span> {
    find_words(text, word).first().copied()
}
