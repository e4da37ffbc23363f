//! The files of a project become a [`Project`], in one go: parse, name, build, connect.

use super::{
    Connection, Datasource, Pipe, Project,
    datasource::{Reporter, datasource, family},
    pipe::{Read, pipe},
    references::{self, Names},
    silence::Silence,
    tests_of,
};
use crate::{
    datafile::{Context, Datafile, Dialect, Kind, NodeLines, parse},
    diagnostic::{Diagnostic, Place, Severity, Source, Span, has_errors},
    name::ResourceName,
    threads::each,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

/// Parses and resolves the files of a project. What is wrong with one file does not hide what is wrong with
/// another; a resource with errors is left out of the [`Project`]. Diagnostics come in the order of the files.
pub fn resolve(sources: &[Source], context: &Context) -> (Project, Vec<Diagnostic>) {
    let by_path: BTreeMap<&str, &Source> = sources.iter().map(|it| (&*it.path, it)).collect();
    let silence = LazyLock::new(|| Silence::of(sources));
    let parsed = each(sources, |source| {
        let include = |path: &str| by_path.get(joined(&source.path, path).as_str()).map(|it| (*it).clone());
        let (file, found) = parse(source, context, &include)?;
        let found = if found.is_empty() { found } else { silence.rest(found) };
        Some((file, found))
    });
    let mut diagnostics = Vec::new();
    let mut files: Vec<(Datafile, bool)> = Vec::with_capacity(parsed.len());
    for (file, found) in parsed.into_iter().flatten() {
        files.push((file, !has_errors(&found)));
        diagnostics.extend(found);
    }

    let mut project = Project { sources: sources.to_vec(), ..Project::default() };
    let (named, names) = name(&files, &mut diagnostics);
    let built = each(&named, |(name, file, good)| {
        let mut found = Vec::new();
        let built = build(name, file, &files, &names, context, &mut found);
        (built.filter(|_| *good), found)
    });
    for ((name, ..), (built, found)) in named.into_iter().zip(built) {
        diagnostics.extend(found);
        match built {
            Some(Built::Connection(connection)) => _ = project.connections.insert(name, Arc::new(connection)),
            Some(Built::Datasource(datasource, connection)) => {
                project.datasources.insert(name, Arc::new(datasource));
                // A file of its own counts.
                if let Some(connection) = connection {
                    project.connections.entry(connection.name.clone()).or_insert_with(|| Arc::new(connection));
                }
            }
            Some(Built::Pipe(pipe)) => _ = project.pipes.insert(name, Arc::new(pipe)),
            None => (),
        }
    }
    for name in references::circles(&project.pipes, &mut diagnostics) {
        project.pipes.remove(&name);
    }
    for (file, _) in files.iter().filter(|(file, good)| file.kind == Kind::Token && *good) {
        tests_of::token(file, &names.datasources, &names.pipes, &mut diagnostics);
    }
    let mut diagnostics = if diagnostics.is_empty() { diagnostics } else { silence.rest(diagnostics) };
    project.order = references::order(&project.pipes, &project.datasources);
    sort(&mut diagnostics, sources);
    (project, diagnostics)
}

/// What a file describes.
#[expect(clippy::large_enum_variant, reason = "one for each file, and not for long")]
enum Built {
    Connection(Connection),
    /// And the connection that a Classic file describes along with it.
    Datasource(Datasource, Option<Connection>),
    Pipe(Pipe),
}

/// What a file describes; nothing where that is wrong.
fn build(
    name: &ResourceName,
    file: &Datafile,
    files: &[(Datafile, bool)],
    names: &Names,
    context: &Context,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Built> {
    references::connections(file, names, context, diagnostics);
    match file.kind {
        Kind::Connection => Some(Built::Connection(connection(name.clone(), file))),
        Kind::Datasource => {
            let (datasource, connection) = datasource(name.clone(), &mut Reporter { file, diagnostics })?;
            Some(Built::Datasource(datasource, connection))
        }
        Kind::Pipe => {
            node_names(name, file, names, context.dialect, diagnostics);
            let Read { mut pipe, whole } = pipe(name.clone(), &mut Reporter { file, diagnostics }, context);
            let known = references::resolve(&mut pipe, file, names, context, diagnostics);
            let writes = target_line(file);
            let has_target = references::target(&mut pipe, &file.place(writes), names, diagnostics);
            if has_target {
                redundant_engine(file, files, diagnostics);
            }
            (known && has_target && whole).then_some(Built::Pipe(pipe))
        }
        Kind::Token | Kind::Include => None,
    }
}

/// One file of a project, parsed, what it includes among the others.
pub fn datafile(sources: &[Source], path: &str, context: &Context) -> Option<Datafile> {
    let find = |path: &str| sources.iter().find(|it| *it.path == *path).cloned();
    let include = |included: &str| find(&joined(path, included));
    Some(parse(&find(path)?, context, &include)?.0)
}

/// By file, then by place, and each thing once.
pub fn sort(diagnostics: &mut Vec<Diagnostic>, sources: &[Source]) {
    let rank: BTreeMap<&str, usize> = sources.iter().enumerate().map(|(rank, it)| (&*it.path, rank)).collect();
    diagnostics.sort_by_key(|it| {
        let place = it.place.as_ref();
        (place.and_then(|it| rank.get(&*it.path).copied()), place.map(|it| it.span), it.severity)
    });
    // A fragment that two files include is read, and complained about, twice.
    diagnostics.dedup();
}

/// A path that is relative to the folder of a file.
fn joined(file: &str, path: &str) -> String {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => (),
            ".." if parts.last().is_some_and(|it| *it != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Files with their names, and whether each is good so far.
type Named<'a> = Vec<(ResourceName, &'a Datafile, bool)>;

/// Names every file once; data sources and pipes share their names, connections have their own.
fn name<'a>(files: &'a [(Datafile, bool)], diagnostics: &mut Vec<Diagnostic>) -> (Named<'a>, Names) {
    let mut named = Vec::new();
    let mut names = Names::default();
    let mut first: BTreeMap<(bool, ResourceName), &Datafile> = BTreeMap::new();
    for (file, good) in files {
        let names_resource = matches!(file.kind, Kind::Datasource | Kind::Pipe | Kind::Connection);
        if !names_resource {
            continue;
        }
        let place = file.place(Span::default());
        let resource = match ResourceName::new(&file.name) {
            Ok(name) => name,
            Err(error) => {
                let diagnostic = Diagnostic::error("invalid_name", format!("the name of the file: {error}"));
                let hint = match ResourceName::near(&file.name) {
                    Some(near) => format!("rename the file to {near}.{}", file.kind.extension()),
                    None => "rename the file".to_owned(),
                };
                diagnostics.push(diagnostic.hint(format!("{hint}: its name is the name of what is in it")).at(place));
                continue;
            }
        };
        let key = (file.kind == Kind::Connection, resource.clone());
        if let Some(other) = first.get(&key) {
            let message = format!("`{resource}` is the name of two files");
            let hint = "data sources and pipes share their names: rename one of them";
            let related = (other.place(Span::default()), format!("the first one, {}", other.source().path));
            diagnostics
                .push(Diagnostic::error("duplicate_name", message).hint(hint).at(place).related(related.0, related.1));
            continue;
        }
        first.insert(key, file);
        match file.kind {
            Kind::Datasource => names.datasources.insert(file.name.clone()),
            Kind::Pipe => names.pipes.insert(file.name.clone()),
            Kind::Connection => names.connections.insert(file.name.clone()),
            Kind::Token | Kind::Include => false,
        };
        if let Some(version) = file.version.filter(|_| file.kind != Kind::Connection) {
            let versioned = format!("{}__v{version}", file.name);
            names.versions.insert(versioned, file.name.clone());
        }
        named.push((resource, file, *good));
    }
    if !names.connections.is_empty() {
        // Classic describes one along with what reads from it.
        let described = files.iter().filter(|(it, _)| it.settings.has("kafka_bootstrap_servers"));
        let described = described.filter_map(|(it, _)| Some(it.settings.get("kafka_connection_name")?.to_string()));
        names.connections.extend(described);
    }
    for (resource, file, _) in &named {
        let base = resource.as_str().strip_suffix("_quarantine").filter(|it| names.datasources.contains(*it));
        if let Some(base) = base.filter(|_| file.kind != Kind::Connection) {
            let message = format!("`{resource}` is where `{base}` keeps the rows that it refused");
            let diagnostic = Diagnostic::error("name_reserved", message).hint("rename the file");
            diagnostics.push(diagnostic.at(file.place(Span::default())));
        }
    }
    (named, names)
}

/// Nodes may not be called what their pipe or a data source is called.
fn node_names(
    pipe: &ResourceName,
    file: &Datafile,
    names: &Names,
    dialect: Dialect,
    diagnostics: &mut Vec<Diagnostic>,
) {
    for node in &file.nodes {
        let name = node.name.as_str();
        let (what, severity) = if names.datasources.contains(name) {
            ("a data source", Severity::Error)
        } else if name == pipe.as_str() && dialect == Dialect::Classic {
            ("its pipe", Severity::Error)
        } else if name == pipe.as_str() {
            // Forward takes it, and nothing is hidden: a pipe cannot read itself.
            ("its pipe, which Classic refuses", Severity::Warning)
        } else {
            continue;
        };
        let words = format!("the node `{name}` is called like {what}");
        let diagnostic = Diagnostic { severity, ..Diagnostic::error("node_name_taken", words) };
        let hint = "rename the node: inside the pipe its name would hide the other";
        diagnostics.push(diagnostic.hint(hint).at(file.place(node.name.span)));
    }
}

/// The place that says where a pipe writes to.
fn target_line(file: &Datafile) -> Span {
    let line = |node: &NodeLines| {
        let target = node.settings.get("datasource").or_else(|| node.settings.get("target_datasource"));
        target.map(|it| it.span)
    };
    file.nodes.iter().find_map(line).unwrap_or_default()
}

/// ENGINE lines of a node mean nothing where the target has a file; they should at least say the same.
fn redundant_engine(file: &Datafile, files: &[(Datafile, bool)], diagnostics: &mut Vec<Diagnostic>) {
    for node in file.nodes.iter().filter(|it| !it.engine.is_empty()) {
        let Some(target) = node.settings.get("datasource").or_else(|| node.settings.get("target_datasource")) else {
            continue;
        };
        let is_target = |it: &&(Datafile, bool)| it.0.kind == Kind::Datasource && it.0.name == target.as_str();
        let Some((owner, _)) = files.iter().find(is_target) else { continue };
        let plain = |text: &str| text.chars().filter(|it| !it.is_whitespace()).collect::<String>();
        let differs = |place: Place, other: Place, what: &str| {
            Diagnostic {
                severity: Severity::Warning,
                ..Diagnostic::error(
                    "engine_differs",
                    format!("{what} is another one in the file of `{target}`, which counts"),
                )
            }
            .hint("remove the ENGINE lines from the node")
            .at(place)
            .related(other, "this one counts")
        };
        if let (Some(here), Some(there)) = (&node.engine.family, &owner.engine.family)
            && family(here.as_str()) != family(there.as_str())
        {
            diagnostics.push(differs(file.place(here.span), owner.place(there.span), "the ENGINE"));
        }
        for (option, here) in &node.engine.options {
            if let Some(there) = owner.engine.option(option)
                && plain(here.as_str()) != plain(there.as_str())
            {
                let what = format!("ENGINE_{}", option.to_uppercase());
                diagnostics.push(differs(file.place(here.span), owner.place(there.span), &what));
            }
        }
    }
}

fn connection(name: ResourceName, file: &Datafile) -> Connection {
    let settings = file.settings.iter().filter(|(key, _)| *key != "type");
    let settings = settings.map(|(key, value)| {
        let value = value.as_str();
        // A certificate keeps the indentation of its block, which is no part of it.
        let value = match key {
            "kafka_ssl_ca_pem" => value.lines().map(str::trim).collect::<Vec<_>>().join("\n"),
            _ => value.to_owned(),
        };
        (key.to_owned(), value)
    });
    let told = file.settings.get("type").map(|it| it.as_str().to_ascii_lowercase());
    let guessed = || {
        let first = file.settings.iter().next().map_or("", |(key, _)| key);
        first.split('_').next().unwrap_or_default().to_owned()
    };
    Connection {
        name,
        kind: told.unwrap_or_else(guessed),
        settings: settings.collect(),
        place: file.place(Span::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_folder() {
        assert_eq!(joined("pipes/a.pipe", "parts/x.incl"), "pipes/parts/x.incl");
        assert_eq!(joined("pipes/a.pipe", "../includes/x.incl"), "includes/x.incl");
        assert_eq!(joined("a.pipe", "./x.incl"), "x.incl");
        assert_eq!(joined("a.pipe", "../../x.incl"), "../../x.incl");
    }
}
