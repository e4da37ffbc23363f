//! What has to happen so that one project becomes another: which steps, and which of them are refused.
//!
//! In: the project as it is deployed and the project as it is wanted. Out: a [`Plan`]. SQL and the engine's
//! present state are not known here.

mod datasource;
mod print;

use crate::{
    auth::{Scope, ScopeKind},
    diagnostic::Place,
    name::{ColumnName, ResourceName},
    project::{Column, Datasource, NodeSql, Permission, Pipe, PipeKind, Project, ReferenceTarget, TokenLine},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The steps from one project to another, in the order in which they are done.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub steps: Vec<Step>,
}

/// One step and the place in the files that asks for it. What is gone has its place in the file that was.
#[derive(Debug, Clone)]
pub struct Step {
    pub action: Action,
    pub place: Place,
}

#[derive(Debug, Clone)]
pub enum Action {
    /// Makes the table of a data source, and the one for what it refuses.
    CreateTable {
        datasource: Arc<Datasource>,
    },
    /// Adds a column behind the one named, or in front of all.
    AddColumn {
        datasource: Arc<Datasource>,
        column: Column,
        after: Option<ColumnName>,
    },
    /// How rows get into a data source from now on: jsonpaths, Kafka. No SQL.
    ChangeDatasource {
        datasource: Arc<Datasource>,
        what: Vec<String>,
    },
    DropView {
        pipe: Arc<Pipe>,
    },
    /// A materializing pipe begins to feed its target.
    CreateView {
        pipe: Arc<Pipe>,
        target: ResourceName,
    },
    /// The view's query is replaced; rows that are there stay as they are.
    ChangeView {
        pipe: Arc<Pipe>,
        previous: Arc<Pipe>,
        target: ResourceName,
    },
    /// A pipe without a view appears: an endpoint, or one that others read. No SQL.
    CreatePipe {
        pipe: Arc<Pipe>,
    },
    ChangePipe {
        pipe: Arc<Pipe>,
    },
    DropPipe {
        pipe: Arc<Pipe>,
    },
    /// The rows of a data source go with it: only where somebody asked for just that.
    DropTable {
        datasource: Arc<Datasource>,
    },
    /// A `.connection` file came, changed or went. No SQL.
    ChangeConnection {
        name: ResourceName,
        change: Change,
    },
    /// Only the words about a resource change. No SQL.
    Describe {
        resource: ResourceName,
    },
    /// A TOKEN line makes a token or gives it one more scope.
    GrantToken {
        token: String,
        scope: Scope,
    },
    /// Another workspace may read a data source, as its SHARED_WITH lines say. No SQL of the plan's.
    Share {
        datasource: ResourceName,
        workspace: String,
    },
    /// It may no more.
    Unshare {
        datasource: ResourceName,
        workspace: String,
    },
    /// What is not done, because rows would be lost or rewritten.
    Refused {
        resource: ResourceName,
        what: String,
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Created,
    Changed,
    Dropped,
}

/// The steps that make `wanted` of `current`.
pub fn diff(current: &Project, wanted: &Project) -> Plan {
    diff_dropping(current, wanted, &BTreeSet::new())
}

/// The same, where these data sources may go with their rows.
pub fn diff_dropping(current: &Project, wanted: &Project, drops: &BTreeSet<ResourceName>) -> Plan {
    let mut steps = Steps::default();
    datasource::diff(&mut steps, current, wanted, drops);
    views(&mut steps, current, wanted);
    pipes(&mut steps, current, wanted);
    connections(&mut steps, current, wanted);
    tokens(&mut steps, current, wanted);
    steps.in_order()
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub fn refused(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|it| matches!(it.action, Action::Refused { .. }))
    }
}

/// Steps as they are found; what must come first is decided by their kind alone.
#[derive(Default)]
struct Steps(Vec<Step>);

impl Steps {
    fn push(&mut self, action: Action, place: &Place) {
        self.0.push(Step { action, place: place.clone() });
    }

    fn refuse(&mut self, resource: &ResourceName, what: String, reason: &str, place: &Place) {
        let action = Action::Refused { resource: resource.clone(), what, reason: reason.to_owned() };
        self.push(action, place);
    }

    /// Tables before the views that need them, and after those that needed them; views in the order of their pipes; refusals last, where they
    /// are seen.
    fn in_order(mut self) -> Plan {
        self.0.sort_by_key(|step| match step.action {
            Action::CreateTable { .. } => 0,
            Action::AddColumn { .. } => 1,
            Action::ChangeDatasource { .. } => 2,
            Action::DropView { .. } => 3,
            Action::CreateView { .. } | Action::ChangeView { .. } => 4,
            Action::CreatePipe { .. } => 5,
            Action::ChangePipe { .. } => 6,
            Action::DropPipe { .. } => 7,
            Action::DropTable { .. } => 8,
            Action::ChangeConnection { .. } => 9,
            Action::Describe { .. } => 10,
            Action::GrantToken { .. } => 11,
            Action::Share { .. } | Action::Unshare { .. } => 12,
            Action::Refused { .. } => 13,
        });
        Plan { steps: self.0 }
    }
}

fn target(pipe: &Pipe) -> Option<&ResourceName> {
    match &pipe.kind {
        PipeKind::Materialized { target } => Some(target),
        _ => None,
    }
}

fn views(steps: &mut Steps, current: &Project, wanted: &Project) {
    for pipe in current.pipes.values().filter(|it| target(it).is_some()) {
        if wanted.pipe(pipe.name.as_str()).is_none_or(|it| target(it).is_none()) {
            steps.push(Action::DropView { pipe: pipe.clone() }, &pipe.place);
        }
    }
    for pipe in in_order(wanted) {
        let Some(feeds) = target(pipe) else { continue };
        let place = &pipe.output_node().place;
        let previous = current.pipe(pipe.name.as_str()).and_then(|it| Some((it, target(it)?)));
        match previous {
            None => steps.push(Action::CreateView { pipe: pipe.clone(), target: feeds.clone() }, place),
            // A node's name is part of the view's own, so a view of another node is another view.
            Some((previous, fed)) if fed != feeds || previous.output_node().name != pipe.output_node().name => {
                steps.push(Action::DropView { pipe: previous.clone() }, &previous.place);
                steps.push(Action::CreateView { pipe: pipe.clone(), target: feeds.clone() }, place);
            }
            Some((previous, _)) if meaning(current, previous) != meaning(wanted, pipe) => {
                let (pipe, previous) = (pipe.clone(), previous.clone());
                steps.push(Action::ChangeView { pipe, previous, target: feeds.clone() }, place);
            }
            Some(_) => {}
        }
    }
}

/// The texts that a pipe's output is made of, those of other pipes that it reads included.
fn meaning<'a>(project: &'a Project, pipe: &'a Pipe) -> BTreeSet<(&'a str, &'a str, &'a str)> {
    let mut texts = BTreeSet::new();
    let mut todo = vec![(pipe, pipe.output_node())];
    while let Some((pipe, node)) = todo.pop() {
        if !texts.insert((pipe.name.as_str(), node.name.as_str(), text(&node.sql))) {
            continue;
        }
        for reference in &node.reads {
            match reference.target {
                ReferenceTarget::Datasource => {}
                ReferenceTarget::Node => todo.extend(pipe.node(reference.name.as_str()).map(|it| (pipe, it))),
                ReferenceTarget::Pipe => {
                    todo.extend(project.pipe(reference.name.as_str()).map(|it| (&**it, it.output_node())));
                }
            }
        }
    }
    texts
}

fn text(sql: &NodeSql) -> &str {
    match sql {
        NodeSql::Plain(text) | NodeSql::Template { text, .. } => text.text(),
    }
}

fn pipes(steps: &mut Steps, current: &Project, wanted: &Project) {
    for pipe in in_order(wanted) {
        match current.pipe(pipe.name.as_str()) {
            None if target(pipe).is_some() => {}
            None => steps.push(Action::CreatePipe { pipe: pipe.clone() }, &pipe.place),
            Some(previous) if published(previous) != published(pipe) && target(pipe).is_none() => {
                steps.push(Action::ChangePipe { pipe: pipe.clone() }, &pipe.place);
            }
            Some(previous) if words(previous) != words(pipe) => {
                steps.push(Action::Describe { resource: pipe.name.clone() }, &pipe.place);
            }
            Some(_) => {}
        }
    }
    for pipe in current.pipes.values().filter(|it| target(it).is_none()) {
        if wanted.pipe(pipe.name.as_str()).is_none() {
            steps.push(Action::DropPipe { pipe: pipe.clone() }, &pipe.place);
        }
    }
}

/// What a pipe's callers can tell: its nodes, which of them answers, and how it is published.
fn published(pipe: &Pipe) -> (Vec<(&str, bool, &str)>, usize, &PipeKind) {
    let node = |sql: &NodeSql| matches!(sql, NodeSql::Template { .. });
    let nodes = pipe.nodes.iter().map(|it| (it.name.as_str(), node(&it.sql), text(&it.sql)));
    (nodes.collect(), pipe.output, &pipe.kind)
}

fn words(pipe: &Pipe) -> (Option<&str>, Vec<Option<&str>>, &[String]) {
    let nodes = pipe.nodes.iter().map(|it| it.description.as_deref());
    (pipe.description.as_deref(), nodes.collect(), &pipe.tags)
}

/// The pipes so that each comes after those it reads.
fn in_order(project: &Project) -> impl Iterator<Item = &Arc<Pipe>> {
    project.order.iter().filter_map(|it| project.pipe(it.as_str()))
}

fn connections(steps: &mut Steps, current: &Project, wanted: &Project) {
    let mut change = |name: &ResourceName, change, place| {
        steps.push(Action::ChangeConnection { name: name.clone(), change }, place);
    };
    for (name, connection) in &wanted.connections {
        match current.connections.get(name) {
            None => change(name, Change::Created, &connection.place),
            Some(it) if (&it.kind, &it.settings) != (&connection.kind, &connection.settings) => {
                change(name, Change::Changed, &connection.place);
            }
            Some(_) => {}
        }
    }
    for (name, connection) in &current.connections {
        if !wanted.connections.contains_key(name) {
            change(name, Change::Dropped, &connection.place);
        }
    }
}

/// A TOKEN line that goes away revokes nothing: tokens are only made and extended here.
fn tokens(steps: &mut Steps, current: &Project, wanted: &Project) {
    let known: BTreeSet<_> = grants(current).into_keys().collect();
    for ((token, _, _), (scope, place)) in grants(wanted).into_iter().filter(|(key, _)| !known.contains(key)) {
        steps.push(Action::GrantToken { token, scope }, place);
    }
}

type Grant = (String, ResourceName, &'static str);

/// What all TOKEN lines of a project grant, each once.
fn grants(project: &Project) -> BTreeMap<Grant, (Scope, &Place)> {
    let mut res = BTreeMap::new();
    let add = |line: &'_ TokenLine, name: &ResourceName, kind, word| {
        let scope = Scope { kind, resource: Some(name.to_string()), filter: None };
        ((line.token.clone(), name.clone(), word), scope)
    };
    for datasource in project.datasources.values() {
        for line in &datasource.tokens {
            let (kind, word) = match line.permission {
                Permission::Read => (ScopeKind::DatasourcesRead, "datasource read"),
                Permission::Append => (ScopeKind::DatasourcesAppend, "datasource append"),
            };
            let (key, scope) = add(line, &datasource.name, kind, word);
            res.entry(key).or_insert((scope, &line.place));
        }
    }
    for pipe in project.pipes.values() {
        for line in &pipe.tokens {
            let (key, scope) = add(line, &pipe.name, ScopeKind::PipesRead, "pipe read");
            res.entry(key).or_insert((scope, &line.place));
        }
    }
    res
}
