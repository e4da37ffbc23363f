//! The parameters of an endpoint: those of every node that its answer comes from, other pipes' nodes included.
//!
//! In: a pipe, or one of its nodes. Out: one merged list, by the rules of `template::merge`. Nodes are met in this
//! order: those of the pipe as its file has them, then those of the pipes that it reads, in the order in which they
//! are read; only nodes that the asked one reaches.

use super::{Node, NodeSql, Pipe, Project, ReferenceTarget};
use crate::{
    name::ResourceName,
    template::{Parameter, Template, merge},
};
use std::collections::BTreeSet;

/// A node that mentions a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeName {
    pub pipe: ResourceName,
    pub node: ResourceName,
}

impl Project {
    /// The parameters of a request to a node: of the output node, those of the pipe's endpoint.
    pub fn parameters(&self, pipe: &Pipe, node: &Node) -> Vec<Parameter<NodeName>> {
        let reached = self.reached(pipe, node);
        merge(reached.iter().filter_map(|(pipe, node)| {
            let NodeSql::Template { template, .. } = &node.sql else { return None };
            Some((NodeName { pipe: pipe.name.clone(), node: node.name.clone() }, &**template))
        }))
    }

    /// Every name that a request to a node may give a value: documented or not.
    pub fn parameter_names(&self, pipe: &Pipe, node: &Node) -> BTreeSet<String> {
        let reached = self.reached(pipe, node);
        let templates = reached.iter().filter_map(|(_, node)| match &node.sql {
            NodeSql::Template { template, .. } => Some(&**template),
            NodeSql::Plain(_) => None,
        });
        templates.flat_map(Template::reads).map(str::to_owned).collect()
    }

    /// The nodes whose text is part of a node's query, itself included.
    fn reached<'a>(&'a self, pipe: &'a Pipe, node: &'a Node) -> Vec<(&'a Pipe, &'a Node)> {
        let mut pipes: Vec<(&Pipe, BTreeSet<&str>)> = vec![(pipe, BTreeSet::new())];
        let mut todo = vec![(0, node)];
        while let Some((at, node)) = todo.pop() {
            let (pipe, seen) = &mut pipes[at];
            let pipe: &'a Pipe = pipe;
            if !seen.insert(node.name.as_str()) {
                continue;
            }
            for reference in node.reads.iter().rev() {
                match reference.target {
                    ReferenceTarget::Datasource => (),
                    ReferenceTarget::Node => todo.extend(pipe.node(reference.name.as_str()).map(|it| (at, it))),
                    ReferenceTarget::Pipe => {
                        let Some(read) = self.pipe(reference.name.as_str()) else { continue };
                        let known = pipes.iter().position(|(it, _)| it.name == read.name);
                        let at = known.unwrap_or_else(|| {
                            pipes.push((read, BTreeSet::new()));
                            pipes.len() - 1
                        });
                        todo.push((at, read.output_node()));
                    }
                }
            }
        }
        let of = |(pipe, seen): (&'a Pipe, BTreeSet<&str>)| {
            let nodes: Vec<_> = pipe.nodes.iter().filter(|it| seen.contains(it.name.as_str())).collect();
            nodes.into_iter().map(move |node| (pipe, node))
        };
        pipes.into_iter().flat_map(of).collect()
    }
}
