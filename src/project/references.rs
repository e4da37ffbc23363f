//! What the nodes of a project read: every name in their SQL is a node, a data source or a pipe, or wrong.
//!
//! Also what must not be: pipes that read each other in a circle, views into nothing.

use super::{Datasource, Node, NodeSql, Pipe, PipeKind, Reference, ReferenceTarget};
use crate::{
    datafile::{Context, Datafile, Dialect, Foreign},
    diagnostic::{Diagnostic, Mapped, Place, Span, has_errors, nearest},
    name::ResourceName,
    project::service,
    sql::scan::{self, Position, Refused, ScanError},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

/// The names of a project, those of files that are wrong included.
#[derive(Default)]
pub(super) struct Names {
    pub(super) datasources: BTreeSet<String>,
    pub(super) pipes: BTreeSet<String>,
    /// Those that files of the project describe.
    pub(super) connections: BTreeSet<String>,
    /// What Classic calls those with a VERSION, `name__v3`, and their own names.
    pub(super) versions: BTreeMap<String, String>,
}

/// A name as it stands in a node.
struct Found {
    name: String,
    position: Position,
    /// It was found by reading the SQL, not by looking over a template.
    certain: bool,
    span: Span,
}

/// Resolves what the nodes of a pipe read. Whether all of it is known.
pub(super) fn resolve(
    pipe: &mut Pipe,
    file: &Datafile,
    names: &Names,
    context: &Context,
    diagnostics: &mut Vec<Diagnostic>,
) -> bool {
    // A node that is wrong is still there.
    let nodes: BTreeSet<String> = file.nodes.iter().map(|it| it.name.as_str().to_owned()).collect();
    let place = |span| file.place(span);
    // Looking for what was meant takes time for each name there is: a file with more mistakes than this gets no hints.
    let mut hints = 100usize;
    let before = diagnostics.len();
    for node in &mut pipe.nodes {
        let found = match tables(node) {
            Ok(found) => found,
            Err((span, error)) => {
                diagnostics.push(Diagnostic::error(code(error.category), error.message).at(place(span)));
                continue;
            }
        };
        for mut found in found {
            if let Some(name) = names.versions.get(&found.name).filter(|_| !nodes.contains(&found.name)) {
                found.name.clone_from(name);
            }
            let target = if nodes.contains(&found.name) {
                Some((found.name.as_str(), ReferenceTarget::Node))
            } else if names.datasources.contains(&found.name) {
                Some((found.name.as_str(), ReferenceTarget::Datasource))
            } else if names.pipes.contains(&found.name) {
                Some((found.name.as_str(), ReferenceTarget::Pipe))
            } else {
                // What a data source refused is read like a data source of its own.
                let quarantined = found.name.strip_suffix("_quarantine").filter(|it| names.datasources.contains(*it));
                quarantined.map(|it| (it, ReferenceTarget::Datasource))
            };
            match target.and_then(|(name, target)| Some((ResourceName::new(name).ok()?, target))) {
                Some((name, target)) => {
                    node.reads.push(Reference { name, target, certain: found.certain, place: place(found.span) });
                }
                // After IN it may be a column.
                None if found.position == Position::In => (),
                // Every workspace has it, and no push changes it.
                None if service().contains_key(found.name.as_str()) => (),
                None if found.name.contains('.') => {
                    let may_be_shared = context.foreign == Foreign::Shared && !found.name.starts_with("tinybird.");
                    if let Some(name) = ResourceName::of_shared(&found.name).filter(|_| may_be_shared) {
                        let (target, certain) = (ReferenceTarget::Datasource, found.certain);
                        node.reads.push(Reference { name, target, certain, place: place(found.span) });
                        continue;
                    }
                    diagnostics.push(foreign(&found.name, &context.foreign).at(place(found.span)));
                }
                None => {
                    let message = format!("there is no node, data source or pipe called `{}`", found.name);
                    let diagnostic = Diagnostic::error("unknown_table", message).at(place(found.span));
                    let all = nodes.iter().chain(&names.datasources).chain(&names.pipes);
                    hints = hints.saturating_sub(1);
                    let all = all.filter(|_| hints > 0);
                    diagnostics.push(match nearest(&found.name, all.map(String::as_str)) {
                        Some(meant) => diagnostic.hint(format!("did you mean `{meant}`?")),
                        None => diagnostic,
                    });
                }
            }
        }
    }
    !has_errors(&diagnostics[before..])
}

/// What is said of a table of another workspace.
fn foreign(name: &str, foreign: &Foreign) -> Diagnostic {
    let Foreign::Vendored(vendored) = foreign else {
        return Diagnostic::error("sql_database_prefix", "a table is named without its database");
    };
    if name.starts_with("tinybird.") {
        let message = format!("`{name}` is a data source of the service itself, which birdhouse does not have");
        return Diagnostic::warning("service_datasource", message)
            .hint("this node is not tried out, and a push to birdhouse refuses it");
    }
    let message = format!("`{name}` is another workspace's, so its columns are not checked");
    let hint = match (vendored.contains(name), name.split_once('.')) {
        (false, Some((workspace, name))) => {
            format!("neither is its name: there is no vendor/{workspace}/datasources/{name}.datasource")
        }
        _ => "a push takes it where that workspace shares it".to_owned(),
    };
    Diagnostic::warning("shared_datasource", message).hint(hint)
}

/// The tables that a node's text names, with their places in the file.
fn tables(node: &Node) -> Result<Vec<Found>, (Span, ScanError)> {
    let mut found = match &node.sql {
        NodeSql::Plain(_) => Vec::new(),
        NodeSql::Template { text, .. } => mentioned(text),
    };
    // A template's failure was reported when the pipe was read, if it is a mistake.
    let Some(readable) = node.readable() else { return Ok(found) };
    let scan = match scan::scan_shared(readable.sql(), readable.secrets()) {
        // Without its parameters it says nothing: it answers with `error()` then.
        Err(error) if error.message == scan::EMPTY && matches!(node.sql, NodeSql::Template { .. }) => return Ok(found),
        scan => scan.map_err(|error| (readable.span(error.span), error))?,
    };
    // What was found by looking over the template is found for certain now.
    let mut doubtful: HashMap<String, usize> =
        found.iter().enumerate().map(|(index, it)| (it.name.clone(), index)).collect();
    for table in scan.tables {
        let span = readable.span(table.span);
        let known = doubtful.remove(&table.name);
        let certain = Found { name: table.name, position: table.position, certain: true, span };
        match known {
            Some(index) => found[index] = certain,
            None => found.push(certain),
        }
    }
    Ok(found)
}

/// Names that follow FROM or JOIN anywhere in a template, also where it does not render without parameters. Some
/// may be no tables, so none of them is missed.
fn mentioned(text: &Mapped) -> Vec<Found> {
    let whole = text.text();
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut found: Vec<Found> = Vec::new();
    let mut seen: HashSet<&str> = HashSet::new();
    let mut after = false;
    let mut at = 0;
    while at < whole.len() {
        let rest = &whole[at..];
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        if length == 0 {
            let c = rest.chars().next().map_or(1, char::len_utf8);
            after &= rest.starts_with(char::is_whitespace);
            at += c;
            continue;
        }
        let word = &rest[..length];
        if after && seen.insert(word) {
            let span = text.span(Span::new(at, at + length));
            found.push(Found { name: word.to_owned(), position: Position::In, certain: false, span });
        }
        after = word.eq_ignore_ascii_case("from") || word.eq_ignore_ascii_case("join");
        at += length;
    }
    found
}

fn code(category: Refused) -> &'static str {
    match category {
        Refused::Syntax => "sql_syntax",
        Refused::NotSelect => "sql_not_select",
        Refused::MultiStatement => "sql_multi_statement",
        Refused::UnknownTable => "unknown_table",
        Refused::SystemTable => "sql_system_table",
        Refused::DatabasePrefix => "sql_database_prefix",
        Refused::TableFunction => "sql_table_function",
        Refused::Function => "sql_function",
        Refused::Settings => "sql_settings",
        Refused::Outfile => "sql_outfile",
        Refused::Format => "sql_format",
        Refused::Cycle => "cycle",
        Refused::Parameter => "sql_syntax",
    }
}

/// Whether the data source that a pipe writes to is there.
pub(super) fn target(pipe: &mut Pipe, place: &Place, names: &Names, diagnostics: &mut Vec<Diagnostic>) -> bool {
    let (PipeKind::Materialized { target } | PipeKind::Copy { target, .. }) = &mut pipe.kind else { return true };
    if let Some(name) = names.versions.get(target.as_str()).and_then(|it| ResourceName::new(it).ok()) {
        *target = name;
    }
    if names.datasources.contains(target.as_str()) {
        return true;
    }
    let message = match names.pipes.contains(target.as_str()) {
        true => format!("`{target}` is a pipe: only a data source can be written to"),
        false => format!("there is no data source called `{target}`"),
    };
    let hint = match nearest(target.as_str(), names.datasources.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("write a file {target}.datasource with the columns that this pipe gives"),
    };
    diagnostics.push(Diagnostic::error("target_missing", message).hint(hint).at(place.clone()));
    false
}

/// Connections that a file names and no file describes. They can be made by commands too, so a project without a file for
/// any of them says nothing about them.
pub(super) fn connections(file: &Datafile, names: &Names, context: &Context, diagnostics: &mut Vec<Diagnostic>) {
    const COMMANDS: &[&str] =
        &["kafka_connection_name", "import_connection_name", "pg_connection_name", "export_connection_name"];
    if context.dialect == Dialect::Classic || names.connections.is_empty() {
        return;
    }
    let nodes = file.nodes.iter().map(|it| &it.settings);
    let named = nodes.chain([&file.settings]).flat_map(|it| COMMANDS.iter().filter_map(|name| it.get(name)));
    for name in named.filter(|it| !names.connections.contains(it.as_str())) {
        let message = format!("no file of this project describes the connection `{name}`");
        let hint = match nearest(name.as_str(), names.connections.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("write connections/{name}.connection, or make it with birdhouse connection create"),
        };
        let diagnostic = Diagnostic::warning("connection_unknown", message).hint(hint);
        diagnostics.push(diagnostic.at(file.place(name.span)));
    }
}

/// Finds circles among nodes, through all pipes, and gives the pipes that stand in one.
pub(super) fn circles(
    pipes: &BTreeMap<ResourceName, Arc<Pipe>>,
    diagnostics: &mut Vec<Diagnostic>,
) -> BTreeSet<ResourceName> {
    type Key<'a> = (&'a str, &'a str);
    let all = pipes.values().flat_map(|pipe| pipe.nodes.iter().map(move |node| (&**pipe, node)));
    let nodes: HashMap<Key<'_>, (&Pipe, &Node)> =
        all.map(|(pipe, node)| ((pipe.name.as_str(), node.name.as_str()), (pipe, node))).collect();
    let mut bad = BTreeSet::new();
    let mut done: HashSet<Key<'_>> = HashSet::new();
    for pipe in pipes.values() {
        for node in &pipe.nodes {
            // Each step of the way: where it stands, and how many of its references were followed.
            let mut way: Vec<(&Pipe, &Node, usize)> = vec![(pipe, node, 0)];
            let mut on_way: HashMap<Key<'_>, usize> = [((pipe.name.as_str(), node.name.as_str()), 0)].into();
            while let Some((pipe, node, next)) = way.last_mut() {
                let (here_pipe, here) = (*pipe, *node);
                let key = (here_pipe.name.as_str(), here.name.as_str());
                let Some(reference) = here.reads.get(*next).filter(|_| !done.contains(&key)) else {
                    done.insert(key);
                    on_way.remove(&key);
                    way.pop();
                    continue;
                };
                *next += 1;
                let step = match reference.target {
                    _ if !reference.certain => None,
                    ReferenceTarget::Node => nodes.get(&(here_pipe.name.as_str(), reference.name.as_str())).copied(),
                    ReferenceTarget::Pipe => pipes.get(&reference.name).map(|it| (&**it, it.output_node())),
                    ReferenceTarget::Datasource => None,
                };
                let Some((to_pipe, to)) = step else { continue };
                let to_key = (to_pipe.name.as_str(), to.name.as_str());
                if let Some(&start) = on_way.get(&to_key) {
                    let names: Vec<&str> = way[start..].iter().map(|(_, node, _)| node.name.as_str()).collect();
                    let message = format!("these read each other in a circle: {} → {}", names.join(" → "), to.name);
                    let mut diagnostic = Diagnostic::error("cycle", message).at(reference.place.clone());
                    for (_, node, next) in &way[start..way.len() - 1] {
                        if let Some(reference) = node.reads.get(next - 1) {
                            diagnostic = diagnostic.related(reference.place.clone(), "and here");
                        }
                    }
                    bad.extend(way[start..].iter().map(|(pipe, _, _)| pipe.name.clone()));
                    diagnostics.push(diagnostic);
                } else {
                    on_way.insert(to_key, way.len());
                    way.push((to_pipe, to, 0));
                }
            }
        }
    }
    bad
}

/// The pipes so that each comes after those it reads and after those that fill what it reads.
pub(super) fn order(
    pipes: &BTreeMap<ResourceName, Arc<Pipe>>,
    datasources: &BTreeMap<ResourceName, Arc<Datasource>>,
) -> Vec<ResourceName> {
    let mut writers: BTreeMap<&ResourceName, Vec<&ResourceName>> = BTreeMap::new();
    for (name, pipe) in pipes {
        if let PipeKind::Materialized { target } | PipeKind::Copy { target, .. } = &pipe.kind
            && datasources.contains_key(target)
        {
            writers.entry(target).or_default().push(name);
        }
    }
    let mut order = Vec::new();
    let mut seen: BTreeSet<&ResourceName> = BTreeSet::new();
    // Each pipe with whether those before it are in place already.
    let mut todo: Vec<(&ResourceName, bool)> = pipes.keys().rev().map(|it| (it, false)).collect();
    while let Some((name, ready)) = todo.pop() {
        if ready {
            order.push(name.clone());
            continue;
        }
        let Some(pipe) = pipes.get(name).filter(|_| seen.insert(name)) else { continue };
        todo.push((name, true));
        for reference in pipe.nodes.iter().flat_map(|it| &it.reads) {
            match reference.target {
                ReferenceTarget::Pipe => todo.push((&reference.name, false)),
                ReferenceTarget::Datasource => {
                    todo.extend(writers.get(&reference.name).into_iter().flatten().map(|it| (*it, false)));
                }
                ReferenceTarget::Node => (),
            }
        }
    }
    order
}
