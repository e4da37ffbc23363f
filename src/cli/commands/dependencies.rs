//! `birdhouse dependencies`: what reads and fills what.

use crate::{
    cli::{discover, fault::user, printer::Printer, settings::Settings},
    datafile::{Context, MissingSecret},
    project::{PipeKind, Project, ReferenceTarget, resolve},
};
use anyhow::Context as _;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Show what reads and fills what
///
/// An arrow leads from what is read to what reads it, and from a view or a copy
/// to the data source that it fills.
///   birdhouse dependencies
///   birdhouse dependencies --match 'events' --format mermaid
///   birdhouse dependencies --format dot | dot -Tsvg > project.svg
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Only what has this in its name, with all that hangs on it
    #[arg(long = "match", value_name = "TEXT")]
    matching: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Format {
    #[default]
    Text,
    Json,
    Dot,
    Mermaid,
}

/// Names and what they are, and the arrows between them.
#[derive(Debug, Default, PartialEq)]
struct Graph {
    nodes: BTreeMap<String, &'static str>,
    edges: BTreeSet<(String, String)>,
}

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let files = discover::project(&settings.folder).context("the project cannot be read")?;
    if files.sources.is_empty() {
        return Err(user(format!("there is no project in {}", settings.folder.display())));
    }
    let environment = files.environment.clone().into_iter().chain(settings.variables()).collect();
    let context = Context { environment, missing_secret: MissingSecret::StandIn, ..Context::default() };
    let (project, diagnostics) = resolve(&files.sources, &context);
    if crate::diagnostic::has_errors(&diagnostics) {
        printer.warning("files with errors are left out: see birdhouse check");
    }
    let graph = graph(&project);
    let graph = match &args.matching {
        Some(text) => graph.around(text),
        None => graph,
    };
    printer.line(graph.print(args.format))?;
    Ok(())
}

fn graph(project: &Project) -> Graph {
    let mut graph = Graph::default();
    for (name, datasource) in &project.datasources {
        graph.nodes.insert(name.to_string(), "data source");
        if let Some(kafka) = &datasource.kafka {
            let connection = format!("connection {}", kafka.connection);
            graph.edges.insert((connection.clone(), name.to_string()));
            graph.nodes.insert(connection, "connection");
        }
    }
    for (name, pipe) in &project.pipes {
        let (kind, target) = match &pipe.kind {
            PipeKind::Endpoint => ("endpoint", None),
            PipeKind::Materialized { target } => ("view", Some(target)),
            PipeKind::Copy { target, .. } => ("copy", Some(target)),
            PipeKind::Sink => ("sink", None),
            PipeKind::Internal => ("pipe", None),
        };
        graph.nodes.insert(name.to_string(), kind);
        for read in pipe.nodes.iter().flat_map(|it| &it.reads).filter(|it| it.target != ReferenceTarget::Node) {
            graph.edges.insert((read.name.to_string(), name.to_string()));
        }
        if let Some(target) = target {
            graph.edges.insert((name.to_string(), target.to_string()));
        }
    }
    graph
}

impl Graph {
    /// The part that hangs on the names with a text in them, in either direction.
    fn around(self, text: &str) -> Graph {
        let start: Vec<String> = self.nodes.keys().filter(|it| it.contains(text)).cloned().collect();
        let reach = |forwards: bool| {
            let mut seen: BTreeSet<String> = start.iter().cloned().collect();
            let mut todo = start.clone();
            while let Some(name) = todo.pop() {
                for (from, to) in &self.edges {
                    let (here, next) = if forwards { (from, to) } else { (to, from) };
                    if *here == name && seen.insert(next.clone()) {
                        todo.push(next.clone());
                    }
                }
            }
            seen
        };
        let kept: BTreeSet<String> = reach(true).union(&reach(false)).cloned().collect();
        Graph {
            nodes: self.nodes.into_iter().filter(|(it, _)| kept.contains(it)).collect(),
            edges: self.edges.into_iter().filter(|(from, to)| kept.contains(from) && kept.contains(to)).collect(),
        }
    }

    fn print(&self, format: Format) -> String {
        let quoted = |name: &str| format!("\"{name}\"");
        match format {
            Format::Text => {
                let mut lines = Vec::new();
                for (name, kind) in &self.nodes {
                    lines.push(format!("{name} ({kind})"));
                    lines
                        .extend(self.edges.iter().filter(|(from, _)| from == name).map(|(_, to)| format!("  -> {to}")));
                }
                lines.join("\n")
            }
            Format::Json => {
                let nodes: Vec<_> = self.nodes.iter().map(|(name, kind)| json!({"name": name, "kind": kind})).collect();
                let edges: Vec<_> = self.edges.iter().map(|(from, to)| json!({"from": from, "to": to})).collect();
                format!("{:#}", json!({"nodes": nodes, "edges": edges}))
            }
            Format::Dot => {
                let shape = |kind: &str| match kind {
                    "data source" => "cylinder",
                    "endpoint" => "ellipse",
                    _ => "box",
                };
                let nodes =
                    self.nodes.iter().map(|(name, kind)| format!("  {} [shape={}];", quoted(name), shape(kind)));
                let edges = self.edges.iter().map(|(from, to)| format!("  {} -> {};", quoted(from), quoted(to)));
                let lines: Vec<String> = nodes.chain(edges).collect();
                format!("digraph project {{\n  rankdir=LR;\n{}\n}}", lines.join("\n"))
            }
            Format::Mermaid => {
                // Some names are words of Mermaid itself.
                let id = |name: &str| match name.to_ascii_lowercase().as_str() {
                    "end" | "graph" | "flowchart" | "subgraph" | "style" | "class" | "click" | "default" => {
                        format!("{name}_")
                    }
                    _ => name.replace(' ', "_"),
                };
                let nodes = self.nodes.iter().map(|(name, kind)| match *kind {
                    "data source" => format!("  {}[({name})]", id(name)),
                    "endpoint" => format!("  {}([{name}])", id(name)),
                    _ => format!("  {}[{name}]", id(name)),
                });
                let edges = self.edges.iter().map(|(from, to)| format!("  {} --> {}", id(from), id(to)));
                let lines: Vec<String> = nodes.chain(edges).collect();
                format!("flowchart LR\n{}", lines.join("\n"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_on_a_name_is_kept() {
        let edge = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let nodes = ["a", "b", "c", "d", "e"].map(|it| (it.to_owned(), "pipe")).into();
        let graph = Graph { nodes, edges: [edge("a", "b"), edge("b", "c"), edge("d", "c"), edge("d", "e")].into() };
        let part = graph.around("b");
        assert_eq!(part.nodes.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(part.print(Format::Text), "a (pipe)\n  -> b\nb (pipe)\n  -> c\nc (pipe)");
        assert!(part.print(Format::Dot).contains("\"a\" -> \"b\";"));
        assert!(part.print(Format::Mermaid).contains("  a --> b"));
    }
}
