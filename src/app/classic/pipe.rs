//! Pipes by fields: nodes as a client lists them, and what one of them is made to be.

use super::{AppError, Edit, Workspace, datasource_source, deployed, pipe_source, resource_name};
use crate::{
    app::verify,
    datafile::{self, DatasourceDraft, EngineDraft, Kind, NodeDraft, PipeDraft},
    engine::EngineError,
    name::ResourceName,
    project::{Pipe, PipeKind, Project},
    query::{self, OwnerMode},
};
use std::{collections::BTreeMap, sync::Arc};

/// A pipe as fields say it.
#[derive(Debug, Clone, Default)]
pub struct NewPipe {
    pub name: String,
    pub description: String,
    pub nodes: Vec<NewNode>,
}

#[derive(Debug, Clone, Default)]
pub struct NewNode {
    pub name: String,
    pub description: String,
    pub sql: String,
    /// `endpoint`, `materialized`, `copy`, `sink`; nothing or `standard` for a node that only others read.
    pub kind: String,
    /// Commands of a node in lower case: `datasource`, `target_datasource`, `copy_schedule`, `mode`, .. Those that
    /// mean nothing for its kind are left out.
    pub settings: BTreeMap<String, String>,
    /// `engine`, `engine_sorting_key`, ..: the target's, where it is made along with the pipe.
    pub engine: BTreeMap<String, String>,
}

/// What became of a pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadePipe {
    pub name: ResourceName,
    /// The data source that it writes to.
    pub target: Option<ResourceName>,
    /// The data source was made along with it.
    pub created_target: bool,
}

impl Workspace {
    /// Makes a pipe, or with `force` puts it in the place of one that is there. A pipe whose nodes are all
    /// standard is not published, unless it takes the place of an endpoint: then its last node is one at once, so
    /// that nobody who calls it finds it gone.
    pub async fn put_pipe(self: &Arc<Self>, new: NewPipe, force: bool) -> Result<MadePipe, AppError> {
        let name = resource_name(&new.name)?;
        if new.nodes.is_empty() {
            return Err(AppError::Invalid(format!("the pipe `{name}` has no nodes")));
        }
        let draft = draft(&new);
        let target = target(&draft).map(|it| resource_name(&it)).transpose()?;
        let missing = target.as_ref().filter(|it| self.project().datasource(it.as_str()).is_none());
        let made = match missing {
            Some(target) => Some((target.clone(), self.target_of(&name, &draft).await?)),
            None => None,
        };
        let created_target = made.is_some();
        let written = name.clone();
        self.edit(move |project, context| {
            let mut draft = draft;
            if project.datasource(name.as_str()).is_some() {
                return Err(AppError::Exists { kind: "data source", name: name.to_string() });
            }
            let existing = project.pipe(name.as_str());
            if existing.is_some() && !force {
                return Err(AppError::Exists { kind: "pipe", name: name.to_string() });
            }
            if let Some(existing) = existing {
                let before = PipeDraft::of(&deployed(project, &existing.place.path, context)?);
                (draft.tokens, draft.tags) = (before.tokens, before.tags);
                if existing.is_endpoint() && draft.nodes.iter().all(is_standard) {
                    publish(&mut draft, draft_last(&new));
                }
            }
            settle(&mut draft);
            let mut put = vec![pipe_source(&path(project, &name), &draft)];
            if let Some((target, draft)) = &made {
                put.push(datasource_source(&format!("datasources/{target}.datasource"), draft));
            }
            Ok(Edit { put, ..Edit::default() })
        })
        .await?;
        Ok(MadePipe { name: written, target, created_target })
    }

    pub async fn drop_pipe(self: &Arc<Self>, name: &str) -> Result<(), AppError> {
        let name = self.existing_pipe(name)?.name.clone();
        self.edit(move |project, _| {
            let pipe = project.pipe(name.as_str()).ok_or_else(|| not_found(&name))?;
            Ok(Edit { remove: vec![pipe.place.path.to_string()], ..Edit::default() })
        })
        .await?;
        Ok(())
    }

    /// A node at the end of a pipe.
    pub async fn add_node(self: &Arc<Self>, pipe: &str, new: NewNode) -> Result<ResourceName, AppError> {
        let added = resource_name(&new.name)?;
        self.change_pipe(pipe, move |draft| {
            if draft.nodes.iter().any(|it| it.name == new.name) {
                return Err(AppError::Exists { kind: "node", name: new.name.clone() });
            }
            // What was published stays what is published.
            let last = draft.nodes.last().map(|it| it.name.clone());
            if let Some(last) = last.filter(|_| draft.nodes.iter().all(|it| it.kind.is_none())) {
                publish(draft, &last);
            }
            draft.nodes.push(node(&new));
            Ok(())
        })
        .await?;
        Ok(added)
    }

    /// Gives a node another text, name or description; what is not given stays.
    pub async fn change_node(
        self: &Arc<Self>,
        pipe: &str,
        node: &str,
        sql: Option<String>,
        name: Option<String>,
        description: Option<String>,
    ) -> Result<(), AppError> {
        let node = node.to_owned();
        self.change_pipe(pipe, move |draft| {
            let node = find(draft, &node)?;
            node.sql = sql.map_or(std::mem::take(&mut node.sql), |it| datafile::dedented(&it));
            node.name = name.unwrap_or(std::mem::take(&mut node.name));
            node.description = description.unwrap_or(std::mem::take(&mut node.description));
            Ok(())
        })
        .await
    }

    pub async fn drop_node(self: &Arc<Self>, pipe: &str, node: &str) -> Result<(), AppError> {
        let node = node.to_owned();
        self.change_pipe(pipe, move |draft| {
            let kind = find(draft, &node)?.kind.clone();
            if kind.is_some_and(|it| it != "standard") {
                let words = format!("the node `{node}` is the pipe's output: unlink or unpublish it first");
                return Err(AppError::Invalid(words));
            }
            draft.nodes.retain(|it| it.name != node);
            Ok(())
        })
        .await
    }

    /// Makes a node the pipe's endpoint.
    pub async fn publish(self: &Arc<Self>, pipe: &str, node: &str) -> Result<(), AppError> {
        let node = node.to_owned();
        self.change_pipe(pipe, move |draft| {
            find(draft, &node)?;
            let other = draft.nodes.iter().filter_map(|it| it.kind.as_deref()).find(|it| !is_plain(it));
            if let Some(other) = other {
                return Err(AppError::Invalid(format!("a pipe with a {other} node cannot be an endpoint as well")));
            }
            publish(draft, &node);
            Ok(())
        })
        .await
    }

    /// Nobody can call the pipe any more.
    pub async fn unpublish(self: &Arc<Self>, pipe: &str) -> Result<(), AppError> {
        self.change_pipe(pipe, |draft| {
            for node in draft.nodes.iter_mut().filter(|it| it.kind.as_deref().is_none_or(is_plain)) {
                node.kind = None;
            }
            Ok(())
        })
        .await
    }

    /// A node that writes to a data source does so no more; what it has written stays.
    pub async fn unlink(self: &Arc<Self>, pipe: &str, node: &str) -> Result<(), AppError> {
        let node = node.to_owned();
        self.change_pipe(pipe, move |draft| {
            let node = find(draft, &node)?;
            if node.kind.as_deref().is_none_or(is_plain) {
                return Err(AppError::Invalid(format!("the node `{}` writes nowhere", node.name)));
            }
            (node.kind, node.engine) = (None, EngineDraft::default());
            node.settings.clear();
            Ok(())
        })
        .await
    }

    /// Makes a node the pipe's copy, or changes its target, schedule and mode; an empty schedule takes it away.
    pub async fn set_copy(
        self: &Arc<Self>,
        pipe: &str,
        node: &str,
        target: Option<String>,
        schedule: Option<String>,
        mode: Option<String>,
    ) -> Result<(), AppError> {
        let node = node.to_owned();
        self.change_pipe(pipe, move |draft| {
            let node = find(draft, &node)?;
            node.kind = Some("copy".to_owned());
            for (name, value) in [("target_datasource", target), ("copy_schedule", schedule), ("mode", mode)] {
                let Some(value) = value else { continue };
                node.settings.retain(|(it, _)| it != name);
                if !value.is_empty() {
                    node.settings.push((name.to_owned(), value));
                }
            }
            Ok(())
        })
        .await
    }

    /// What a node would be as a view into a data source: the file of its target, and the pipe's own.
    pub async fn analyze_node(
        self: &Arc<Self>,
        pipe: &str,
        node: &str,
        target: Option<String>,
        engine: BTreeMap<String, String>,
    ) -> Result<(String, String), AppError> {
        let pipe = self.existing_pipe(pipe)?;
        let (project, context) = (self.project(), &self.shared.settings.context);
        let mut draft = PipeDraft::of(&deployed(&project, &pipe.place.path, context)?);
        for it in &mut draft.nodes {
            it.kind = None;
        }
        let found = find(&mut draft, node)?;
        let target = target.unwrap_or_else(|| format!("{}_mv", pipe.name));
        found.kind = Some("materialized".to_owned());
        found.settings = vec![("datasource".to_owned(), target.clone())];
        found.engine = engine_draft(&engine);
        let datasource = match project.datasource(&target) {
            Some(existing) => DatasourceDraft::of(&deployed(&project, &existing.place.path, context)?),
            None => self.target_of(&pipe.name, &draft).await?,
        };
        Ok((datasource.to_string(), draft.to_string()))
    }

    pub(in crate::app) fn existing_pipe(&self, name: &str) -> Result<Arc<Pipe>, AppError> {
        let found = self.project().pipe(name).cloned();
        found.ok_or_else(|| AppError::NotFound { kind: "pipe", name: name.to_owned() })
    }

    async fn change_pipe(
        self: &Arc<Self>,
        pipe: &str,
        change: impl FnOnce(&mut PipeDraft) -> Result<(), AppError> + Send + 'static,
    ) -> Result<(), AppError> {
        let name = self.existing_pipe(pipe)?.name.clone();
        self.edit(move |project, context| {
            let pipe = project.pipe(name.as_str()).ok_or_else(|| not_found(&name))?;
            let mut draft = PipeDraft::of(&deployed(project, &pipe.place.path, context)?);
            // Said by nothing in the file: the last node of a pipe that is nothing else is its endpoint.
            if pipe.is_endpoint() && draft.nodes.iter().all(is_standard) {
                publish(&mut draft, pipe.output_node().name.as_str());
            }
            change(&mut draft)?;
            settle(&mut draft);
            Ok(Edit { put: vec![pipe_source(&pipe.place.path, &draft)], ..Edit::default() })
        })
        .await?;
        Ok(())
    }

    /// A data source that the output of a pipe fits: its columns are those of the answer.
    async fn target_of(&self, name: &ResourceName, draft: &PipeDraft) -> Result<DatasourceDraft, AppError> {
        let project = self.project();
        let writes = |it: &&NodeDraft| it.kind.as_deref().is_some_and(|it| !is_plain(it));
        let output = draft.nodes.iter().find(writes).or(draft.nodes.last());
        let output = output.ok_or_else(|| AppError::Invalid(format!("the pipe `{name}` has no nodes")))?;
        let mut plain = draft.clone();
        for node in &mut plain.nodes {
            (node.kind, node.engine) = (Some("standard".to_owned()), EngineDraft::default());
            node.settings.clear();
        }
        let source = pipe_source(&path(&project, name), &plain);
        let sources = crate::app::deploy::merge(&project.sources, vec![source]);
        let (wanted, diagnostics) = self.resolve(&sources);
        let report = crate::app::DeployReport { diagnostics, ..Default::default() };
        if let Some(words) = super::failure(&report) {
            return Err(AppError::Invalid(words));
        }
        let pipe = wanted.pipe(name.as_str()).ok_or_else(|| not_found(name))?;
        let node = pipe.node(&output.name).ok_or_else(|| not_found(name))?;
        let select = query::compile_for_owner(&wanted, &self.namespace, pipe, node, OwnerMode::NoParameters)?;
        let described = self.shared.engine.command(&query::describe(&select)).await.map_err(|error| {
            let message = self.words(&error);
            EngineError { message, ..error }
        })?;
        let columns = verify::columns(&described)?;
        let mut engine = output.engine.clone();
        if engine.family.is_none() {
            let is_state = |kind: &str| kind.contains("AggregateFunction(");
            let merges = columns.iter().any(|(_, kind)| is_state(kind));
            engine.family = Some(if merges { "AggregatingMergeTree" } else { "MergeTree" }.to_owned());
            let keys = columns.iter().filter(|(_, kind)| merges && !is_state(kind)).map(|(name, _)| name.as_str());
            let keys = keys.collect::<Vec<_>>().join(", ");
            if !keys.is_empty() && !engine.options.iter().any(|(name, _)| name == "sorting_key") {
                engine.set("sorting_key", Some(keys));
            }
        }
        let columns = columns.into_iter().map(|(name, kind)| format!("`{name}` {kind}"));
        Ok(DatasourceDraft { columns: columns.collect(), engine, ..DatasourceDraft::default() })
    }
}

fn not_found(name: &ResourceName) -> AppError {
    AppError::NotFound { kind: "pipe", name: name.to_string() }
}

/// The file of a pipe, where it is or would be.
fn path(project: &Project, name: &ResourceName) -> String {
    match project.pipe(name.as_str()) {
        Some(pipe) => pipe.place.path.to_string(),
        None => format!("pipes/{name}.pipe"),
    }
}

fn draft(new: &NewPipe) -> PipeDraft {
    PipeDraft {
        description: new.description.trim().to_owned(),
        nodes: new.nodes.iter().map(node).collect(),
        ..PipeDraft::default()
    }
}

fn draft_last(new: &NewPipe) -> &str {
    new.nodes.last().map(|it| it.name.as_str()).unwrap_or_default()
}

fn node(new: &NewNode) -> NodeDraft {
    let kind = new.kind.trim().to_ascii_lowercase();
    let means = |name: &str| match kind.as_str() {
        "materialized" => name == "datasource",
        "copy" => matches!(name, "target_datasource" | "copy_schedule" | "mode"),
        "sink" | "stream" => name.starts_with("export_") || name.starts_with("kafka_"),
        _ => false,
    };
    let settings = new
        .settings
        .iter()
        .filter(|(name, value)| means(name) && !value.trim().is_empty() && datafile::has_command(Kind::Pipe, name));
    let settings = settings.map(|(name, value)| (name.clone(), value.clone())).collect();
    let writes = !is_plain(&kind);
    NodeDraft {
        name: new.name.trim().to_owned(),
        description: new.description.trim().to_owned(),
        sql: datafile::dedented(&new.sql),
        engine: if writes { engine_draft(&new.engine) } else { EngineDraft::default() },
        kind: Some(kind).filter(|it| !it.is_empty()),
        settings,
        ..NodeDraft::default()
    }
}

fn engine_draft(engine: &BTreeMap<String, String>) -> EngineDraft {
    let mut res = EngineDraft::default();
    for (name, value) in engine.iter().filter(|(_, value)| !value.trim().is_empty()) {
        match name.strip_prefix("engine_") {
            Some(option) => res.set(option, Some(value.clone())),
            None => res.family = Some(value.clone()),
        }
    }
    res
}

fn target(draft: &PipeDraft) -> Option<String> {
    let targets = draft.nodes.iter().flat_map(|it| &it.settings);
    targets.filter(|(name, _)| name == "datasource" || name == "target_datasource").map(|(_, it)| it.clone()).next()
}

fn find<'a>(draft: &'a mut PipeDraft, node: &str) -> Result<&'a mut NodeDraft, AppError> {
    let found = draft.nodes.iter_mut().find(|it| it.name == node);
    found.ok_or_else(|| AppError::NotFound { kind: "node", name: node.to_owned() })
}

fn is_plain(kind: &str) -> bool {
    matches!(kind, "" | "standard" | "endpoint")
}

fn is_standard(node: &NodeDraft) -> bool {
    node.kind.as_deref().is_none_or(|it| it.is_empty() || it == "standard")
}

fn publish(draft: &mut PipeDraft, node: &str) {
    for it in &mut draft.nodes {
        it.kind = (it.name == node).then(|| "endpoint".to_owned());
    }
}

/// Says what the pipe is, so that the file means the same wherever it goes: a pipe that nobody may call says
/// `standard` at every node, any other says only what its output is.
fn settle(draft: &mut PipeDraft) {
    let standard = draft.nodes.iter().all(is_standard);
    for node in draft.nodes.iter_mut().filter(|it| is_standard(it)) {
        node.kind = standard.then(|| "standard".to_owned());
    }
}

/// What a pipe writes to.
pub(in crate::app) fn written(pipe: &Pipe) -> Option<&ResourceName> {
    match &pipe.kind {
        PipeKind::Materialized { target } | PipeKind::Copy { target, .. } => Some(target),
        _ => None,
    }
}
