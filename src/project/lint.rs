//! What is allowed and bites all the same.
//!
//! In: a resolved project. Out: warnings; each can be silenced by a comment.

use super::{Datasource, EngineFamily, Node, NodeSql, Pipe, PipeKind, Project, ReferenceTarget, Silence};
use crate::{
    diagnostic::{Diagnostic, Place, Span},
    sql::{ColumnType, scan},
    threads::each,
};
use std::collections::BTreeSet;

/// The warnings about a project that no comment silences.
pub fn lint(project: &Project) -> Vec<Diagnostic> {
    let reads = project.pipes.values().flat_map(|it| &it.nodes).flat_map(|it| &it.reads);
    let read = reads.filter(|it| it.target == ReferenceTarget::Pipe).map(|it| it.name.as_str()).collect();
    let pipes: Vec<&Pipe> = project.pipes.values().map(|it| &**it).collect();
    let diagnostics: Vec<_> = each(&pipes, |pipe| of_pipe(project, pipe, &read)).into_iter().flatten().collect();
    if diagnostics.is_empty() { diagnostics } else { Silence::of(&project.sources).rest(diagnostics) }
}

/// `read` are the pipes that others read.
fn of_pipe(project: &Project, pipe: &Pipe, read: &BTreeSet<&str>) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    for node in &pipe.nodes {
        final_on_node(pipe, node, &mut diagnostics);
        template_traps(node, &mut diagnostics);
    }
    match &pipe.kind {
        PipeKind::Materialized { target } => {
            parameters_in_view(pipe, &mut diagnostics);
            unlimited_joins(pipe, &mut diagnostics);
            if let Some(target) = project.datasource(target.as_str()) {
                plain_aggregates(pipe.output_node(), target, &mut diagnostics);
            }
        }
        PipeKind::Endpoint if !read.contains(pipe.name.as_str()) => without_token(pipe, &mut diagnostics),
        PipeKind::Endpoint | PipeKind::Copy { .. } | PipeKind::Sink | PipeKind::Internal => (),
    }
    diagnostics
}

impl Node {
    fn place_of(&self, span: Span) -> Place {
        Place { path: self.place.path.clone(), span: self.text().span(span) }
    }
}

/// What a template renders without an error and hardly means.
fn template_traps(node: &Node, diagnostics: &mut Vec<Diagnostic>) {
    let NodeSql::Template { template, .. } = &node.sql else { return };
    for trap in template.traps() {
        diagnostics.push(Diagnostic::warning(trap.code, trap.message).hint(trap.hint).at(node.place_of(trap.span)));
    }
}

/// `FROM node FINAL`: a node is a subquery, which has no versions to merge.
fn final_on_node(pipe: &Pipe, node: &Node, diagnostics: &mut Vec<Diagnostic>) {
    let Some(readable) = node.readable() else { return };
    let is_final = |it: &str| it.eq_ignore_ascii_case("final");
    if !readable.sql().split(|it: char| !it.is_ascii_alphanumeric()).any(is_final) {
        return;
    }
    let Ok(scan) = scan::scan_shared(readable.sql(), readable.secrets()) else { return };
    for table in scan.tables {
        let Some(span) = table.final_ else { continue };
        let is_query =
            |it: &super::Reference| it.name.as_str() == table.name && it.target != ReferenceTarget::Datasource;
        if node.reads.iter().any(is_query) {
            let message = format!("`{}` is a query, and FINAL means something to a table only", table.name);
            let hint = match pipe.node(&table.name) {
                Some(_) => format!("move FINAL into the node `{}`, behind the data source it reads", table.name),
                None => format!("move FINAL into the pipe `{}`", table.name),
            };
            diagnostics.push(Diagnostic::warning("final_on_node", message).hint(hint).at(readable.place(span)));
        }
    }
}

/// A view runs on every insert, when nobody gives a parameter.
fn parameters_in_view(pipe: &Pipe, diagnostics: &mut Vec<Diagnostic>) {
    for node in &pipe.nodes {
        let NodeSql::Template { text, template, .. } = &node.sql else { continue };
        let Some(param) = template.params().into_iter().next() else { continue };
        let at = text.text().find(&param.name).map_or(Span::at(0), |at| Span::new(at, at + param.name.len()));
        let message = format!("a materialized pipe runs without parameters, so `{}` never has a value", param.name);
        diagnostics.push(
            Diagnostic::warning("materialized_with_parameters", message)
                .hint("write the value that is meant, or make the pipe an endpoint")
                .at(node.place_of(at)),
        );
    }
}

/// On every insert the right side of a join is read whole.
fn unlimited_joins(pipe: &Pipe, diagnostics: &mut Vec<Diagnostic>) {
    for node in &pipe.nodes {
        let Some(readable) = node.readable() else { continue };
        let text = readable.sql();
        for join in scan::joins(text) {
            let (span, name) = match (&join.table, join.subquery) {
                (Some((span, name)), _) => {
                    let limited = |it: &Node| it.readable().is_some_and(|it| scan::is_limited(it.sql()));
                    let limited = pipe.node(name).is_some_and(limited);
                    if limited || !node.reads.iter().any(|it| it.name.as_str() == name) {
                        continue;
                    }
                    (*span, format!("`{name}`"))
                }
                (None, Some(span)) if scan::is_limited(&text[span.start..span.end]) => continue,
                (None, Some(span)) => (Span::new(span.start, span.start + 1), "this query".to_owned()),
                (None, None) => continue,
            };
            let message = format!("every insert reads all rows of {name}, which this view joins");
            let hint = "join a subquery with WHERE key IN (SELECT key FROM the view's own table), or leave it if the \
                        table is small";
            diagnostics.push(Diagnostic::warning("join_not_limited", message).hint(hint).at(readable.place(span)));
        }
    }
}

/// `sum(x) AS total` of each insert alone, in a table that merges rows of many: what it holds is one insert's sum.
fn plain_aggregates(node: &Node, target: &Datasource, diagnostics: &mut Vec<Diagnostic>) {
    let Some(readable) = node.readable() else { return };
    let sums = match target.engine.family {
        EngineFamily::AggregatingMergeTree => false,
        EngineFamily::SummingMergeTree => true,
        _ => return,
    };
    for (function, span, alias) in scan::aggregates(readable.sql()) {
        let column = target.columns.iter().find(|it| it.name.as_str() == alias);
        let Some(column) = column else { continue };
        let merges = matches!(
            column.column_type,
            ColumnType::AggregateFunction { .. } | ColumnType::SimpleAggregateFunction { .. }
        );
        let added = sums && ["sum", "count", "sumIf", "countIf"].contains(&function.as_str());
        if merges || added {
            continue;
        }
        let message = format!(
            "`{alias}` is a plain {} in `{}`, which keeps one row's value when it merges rows: results of other \
             inserts are lost",
            column.column_type, target.name
        );
        let state = format!("{function}State");
        let hint =
            format!("store {state}(..) in a column AggregateFunction({function}, ..), or use SimpleAggregateFunction");
        let place = readable.place(span);
        let related = column.place.clone();
        diagnostics
            .push(Diagnostic::warning("plain_aggregate", message).hint(hint).at(place).related(related, "the column"));
    }
}

/// Nobody but an admin can call it, unless a token is made for it by hand.
fn without_token(pipe: &Pipe, diagnostics: &mut Vec<Diagnostic>) {
    if !pipe.tokens.is_empty() {
        return;
    }
    let message = format!("no TOKEN line lets anybody call the endpoint `{}`", pipe.name);
    let hint = format!("add a line TOKEN \"{}_token\" READ", pipe.name);
    let place = pipe.output_node().place.clone();
    diagnostics.push(Diagnostic::warning("endpoint_without_token", message).hint(hint).at(place));
}
