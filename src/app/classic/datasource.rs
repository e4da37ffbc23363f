//! Data sources by fields: created, altered, emptied, dropped.

use super::{AppError, Edit, Workspace, datasource_source, deployed, operations, resource_name};
use crate::{
    app::{DeployOptions, whole},
    datafile::{self, DatasourceDraft, EngineDraft, Kind},
    name::ResourceName,
    observe::Observation,
    project::{Pipe, PipeKind, Project},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

/// A data source as fields say it.
#[derive(Debug, Clone, Default)]
pub struct NewDatasource {
    pub name: String,
    pub description: String,
    /// The columns in one text: `` `a` Int8 `json:$.a`, `b` String ``.
    pub schema: String,
    /// `engine`, `engine_sorting_key`, ..
    pub engine: BTreeMap<String, String>,
    /// The lines of INDEXES.
    pub indexes: Option<String>,
    pub tags: Vec<String>,
    /// Commands of a `.datasource` file in lower case: `kafka_topic`, .. Others are left out.
    pub settings: BTreeMap<String, String>,
}

/// How a data source is to change. What is not given stays.
#[derive(Debug, Clone, Default)]
pub struct Altered {
    pub schema: Option<String>,
    pub description: Option<String>,
    /// `false` takes it away.
    pub ttl: Option<String>,
    /// The lines of INDEXES; `0` takes all away.
    pub indexes: Option<String>,
    /// More settings, as in [`NewDatasource`].
    pub settings: BTreeMap<String, String>,
}

/// What would break without a data source, or go with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dependents {
    /// Pipes that read it, through others too, or write to it.
    pub pipes: Vec<ResourceName>,
}

impl Workspace {
    /// Makes a data source.
    pub async fn create_datasource(self: &Arc<Self>, new: NewDatasource) -> Result<ResourceName, AppError> {
        let name = resource_name(&new.name)?;
        let made = name.clone();
        self.edit(move |project, _| {
            if project.datasource(name.as_str()).is_some() || project.pipe(name.as_str()).is_some() {
                return Err(AppError::Exists { kind: "resource", name: name.to_string() });
            }
            let path = format!("datasources/{name}.datasource");
            Ok(Edit { put: vec![datasource_source(&path, &draft(&new))], ..Edit::default() })
        })
        .await?;
        Ok(made)
    }

    /// Changes a data source, or with `dry` says what would be done: an operation a text. Nothing to do is an
    /// error, in the words that clients look for.
    pub async fn alter_datasource(
        self: &Arc<Self>,
        name: &str,
        altered: Altered,
        dry: bool,
    ) -> Result<Vec<String>, AppError> {
        let name = self.existing(name)?;
        let report = self
            .edit(move |project, context| {
                let datasource = project.datasource(name.as_str()).ok_or_else(|| not_found(&name))?;
                let path = &*datasource.place.path;
                let mut draft = DatasourceDraft::of(&deployed(project, path, context)?);
                let before = draft.clone();
                alter(&mut draft, &altered);
                let put = if draft == before { vec![] } else { vec![datasource_source(path, &draft)] };
                Ok(Edit { put, options: DeployOptions { check: dry, ..DeployOptions::default() }, ..Edit::default() })
            })
            .await?;
        if report.plan.is_empty() {
            return Err(AppError::Invalid("There were no operations to perform".to_owned()));
        }
        Ok(operations(&report))
    }

    /// Every row goes; what views made of them stays.
    pub async fn truncate(self: &Arc<Self>, name: &str) -> Result<(), AppError> {
        let (workspace, name) = (self.clone(), self.existing(name)?);
        whole(async move {
            // Not while a file replaces the rows, nor in the middle of a deploy.
            let _inserting = workspace.inserting.read().await;
            let _replacing = workspace.replacing.lock().await;
            workspace.shared.running()?;
            workspace.existing(name.as_str())?;
            let begun = Instant::now();
            let truncate = workspace.shared.layout.truncate(&workspace.namespace.table(&name));
            workspace.shared.engine.command(&truncate).await?;
            let (kind, datasource, elapsed) = ("truncate", name.to_string(), begun.elapsed());
            workspace.sink.observe(Observation::Operation { kind, datasource, elapsed });
            Ok(())
        })
        .await
    }

    /// Two data sources change their rows, those in quarantine too. Views go on reading and feeding what is
    /// called as before.
    pub async fn exchange_datasources(self: &Arc<Self>, one: &str, other: &str) -> Result<(), AppError> {
        let (workspace, names) = (self.clone(), [self.existing(one)?, self.existing(other)?]);
        whole(async move {
            // No file, deploy or replacement of rows is in the middle of it.
            let _deploying = workspace.deploying.lock().await;
            let mut claims = Vec::new();
            for name in names.iter().collect::<BTreeSet<_>>() {
                let in_use = || AppError::InUse {
                    kind: "data source",
                    name: name.to_string(),
                    by: "rows that are on their way in; try again later".to_owned(),
                };
                claims.push(workspace.change_rows(name).await.ok_or_else(in_use)?);
            }
            let _inserting = workspace.inserting.write().await;
            let _replacing = workspace.replacing.lock().await;
            workspace.shared.running()?;
            let project = workspace.project();
            let mut shapes = Vec::new();
            for name in &names {
                let datasource = project.datasource(name.as_str()).ok_or_else(|| not_found(name))?;
                if datasource.kafka.is_some() {
                    let words = format!("the data source `{name}` reads from Kafka: its offsets belong to its rows");
                    return Err(AppError::Invalid(words));
                }
                let draft = DatasourceDraft::of(&deployed(
                    &project,
                    &datasource.place.path,
                    &workspace.shared.settings.context,
                )?);
                shapes.push((draft.columns, draft.engine, draft.indexes));
            }
            let [one, other] = &names;
            if one == other {
                return Err(AppError::Invalid(format!("`{one}` cannot change rows with itself")));
            }
            if shapes[0] != shapes[1] {
                let words = format!("`{one}` and `{other}` differ in their columns, engine or indexes");
                return Err(AppError::Invalid(words));
            }
            let begun = Instant::now();
            let (namespace, shared) = (&workspace.namespace, &workspace.shared);
            let (layout, engine) = (&shared.layout, &shared.engine);
            engine.command(&layout.exchange(&namespace.table(one), &namespace.table(other))).await?;
            let quarantines = [one, other].map(|it| namespace.table(&it.quarantine()));
            engine.command(&layout.exchange(&quarantines[0], &quarantines[1])).await?;
            for name in &names {
                let (kind, datasource, elapsed) = ("exchange", name.to_string(), begun.elapsed());
                workspace.sink.observe(Observation::Operation { kind, datasource, elapsed });
            }
            Ok(())
        })
        .await
    }

    /// The pipes that need a data source.
    pub fn dependents(&self, name: &str) -> Result<Dependents, AppError> {
        let name = self.existing(name)?;
        Ok(Dependents { pipes: dependents(&self.project(), &name).into_iter().collect() })
    }

    /// Drops a data source with its rows. With `force` the pipes that need it go as well; without, they keep it.
    pub async fn drop_datasource(self: &Arc<Self>, name: &str, force: bool) -> Result<Dependents, AppError> {
        let name = self.existing(name)?;
        let gone = Arc::new(std::sync::Mutex::new(Dependents::default()));
        let told = gone.clone();
        if let Some(by) = self.shared_with(&name) {
            let by = format!("{by}, with which it is shared");
            return Err(AppError::InUse { kind: "data source", name: name.to_string(), by });
        }
        self.edit(move |project, _| {
            let datasource = project.datasource(name.as_str()).ok_or_else(|| not_found(&name))?;
            let pipes = dependents(project, &name);
            if let Some(first) = pipes.iter().next().filter(|_| !force) {
                let by = match pipes.len() {
                    1 => format!("the pipe `{first}`"),
                    count => format!("{count} pipes, `{first}` among them"),
                };
                return Err(AppError::InUse { kind: "data source", name: name.to_string(), by });
            }
            let path = |it: &ResourceName| project.pipe(it.as_str()).map(|it| it.place.path.to_string());
            let mut remove: Vec<_> = pipes.iter().filter_map(path).collect();
            remove.push(datasource.place.path.to_string());
            *told.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                Dependents { pipes: pipes.into_iter().collect() };
            let options = DeployOptions { drops: BTreeSet::from([name.clone()]), ..DeployOptions::default() };
            Ok(Edit { remove, options, ..Edit::default() })
        })
        .await?;
        let gone = gone.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        Ok(gone)
    }

    /// How many rows fulfil a condition.
    pub async fn count_rows(&self, name: &str, condition: &str) -> Result<u64, AppError> {
        let name = self.existing(name)?;
        self.count(&name, condition, "delete_condition").await
    }

    pub(in crate::app) fn existing(&self, name: &str) -> Result<ResourceName, AppError> {
        let project = self.project();
        let found = project.datasource(name).map(|it| it.name.clone());
        found.ok_or_else(|| AppError::NotFound { kind: "data source", name: name.to_owned() })
    }
}

fn not_found(name: &ResourceName) -> AppError {
    AppError::NotFound { kind: "data source", name: name.to_string() }
}

fn draft(new: &NewDatasource) -> DatasourceDraft {
    let mut engine = EngineDraft::default();
    for (name, value) in new.engine.iter().filter(|(_, value)| !value.trim().is_empty()) {
        match name.strip_prefix("engine_") {
            Some(option) => engine.set(option, Some(value.clone())),
            None => engine.family = Some(value.clone()),
        }
    }
    let mut draft = DatasourceDraft {
        description: new.description.trim().to_owned(),
        columns: datafile::split_columns(&new.schema),
        engine,
        indexes: lines(new.indexes.as_deref().unwrap_or_default()),
        tags: new.tags.clone(),
        ..DatasourceDraft::default()
    };
    add_settings(&mut draft, &new.settings);
    draft
}

fn alter(draft: &mut DatasourceDraft, altered: &Altered) {
    if let Some(schema) = &altered.schema {
        draft.columns = datafile::split_columns(schema);
    }
    if let Some(description) = altered.description.as_ref().filter(|it| !it.trim().is_empty()) {
        draft.description = description.trim().to_owned();
    }
    match altered.ttl.as_deref().map(str::trim) {
        None => {}
        Some("false" | "") => draft.engine.set("ttl", None),
        Some(ttl) => draft.engine.set("ttl", Some(ttl.to_owned())),
    }
    match altered.indexes.as_deref().map(str::trim) {
        None => {}
        Some("0" | "") => draft.indexes.clear(),
        Some(indexes) => draft.indexes = lines(indexes),
    }
    add_settings(draft, &altered.settings);
}

fn add_settings(draft: &mut DatasourceDraft, settings: &BTreeMap<String, String>) {
    for (name, value) in settings {
        if datafile::has_command(Kind::Datasource, name) && !value.trim().is_empty() {
            draft.set(name, Some(value.clone()));
        }
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(|it| it.trim().trim_end_matches(',').to_owned()).filter(|it| !it.is_empty()).collect()
}

/// The pipes that read a data source, write to it, or read such a pipe.
pub(in crate::app) fn dependents(project: &Project, name: &ResourceName) -> BTreeSet<ResourceName> {
    let quarantine = name.quarantine();
    let needs = |pipe: &Pipe, found: &BTreeSet<ResourceName>| {
        let writes = match &pipe.kind {
            PipeKind::Materialized { target } | PipeKind::Copy { target, .. } => target == name,
            _ => false,
        };
        let mut read = pipe.nodes.iter().flat_map(|it| &it.reads).map(|it| &it.name);
        writes || read.any(|it| it == name || *it == quarantine || found.contains(it))
    };
    let mut found = BTreeSet::new();
    // Each pipe comes after those it reads.
    for pipe in project.order.iter().filter_map(|it| project.pipe(it.as_str())) {
        if needs(pipe, &found) {
            found.insert(pipe.name.clone());
        }
    }
    found
}
