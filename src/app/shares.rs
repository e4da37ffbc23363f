//! Data sources that other workspaces may read: shared, taken back, and what becomes of them when their owner changes.
//!
//! A receiving workspace has a view of each in its own database, so its readers' role still sees nothing of another
//! one. Its project knows them as `workspace.name`; that is filled in wherever a project becomes the deployed one, so no
//! request reads what is not shared any more.

use super::{
    App, AppError, DeployOptions, DeployReport, Shared, TableStatistics, Workspace, adopt::Found, classic, whole,
};
use crate::{
    datafile::{Datafile, DatasourceDraft},
    ddl,
    diagnostic::{Diagnostic, Source, nearest},
    name::ResourceName,
    plan::{Action, Plan, Step},
    project::{self, Datasource, Pipe, PipeKind, Project, ReferenceTarget},
    store::StoredShare,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, Weak},
};

/// What a workspace has to do with others.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// What it may read, under the name that it has here.
    received: BTreeMap<ResourceName, Received>,
    /// Who may read what of it.
    given: BTreeMap<ResourceName, Vec<Weak<Workspace>>>,
}

/// A data source under the name that it has at home.
#[derive(Debug, Clone)]
struct Received {
    home: Weak<Workspace>,
    name: ResourceName,
}

/// Prefixes of tables that mean something else.
const TAKEN: &[&str] = &["tinybird", "system", "information_schema", "default"];

impl App {
    /// Deploys, and carries out what SHARED_WITH lines say. `reach` are the workspaces that whoever deploys may share
    /// with. What is shared is shared when the project is the deployed one: a failure then takes nothing back.
    pub async fn deploy_and_share(
        &self,
        workspace: &Arc<Workspace>,
        files: Vec<Source>,
        options: DeployOptions,
        reach: &[Arc<Workspace>],
    ) -> Result<DeployReport, AppError> {
        let of_name = |name: &str| reach.iter().find(|it| it.main().is_none() && it.name() == name);
        let names = reach.iter().filter(|it| it.main().is_none()).map(|it| it.name().to_owned()).collect();
        let options = DeployOptions { shares_with: Some(names), ..options };
        let mut report = workspace.deploy(files, options).await?;
        if !report.changed {
            return Ok(report);
        }
        for step in &report.plan.steps {
            let (Action::Share { datasource, workspace: name } | Action::Unshare { datasource, workspace: name }) =
                &step.action
            else {
                continue;
            };
            let Some(other) = of_name(name) else { continue };
            let done = match &step.action {
                Action::Share { .. } => self.share(workspace, datasource.as_str(), other).await,
                _ => self.unshare(workspace, datasource.as_str(), other).await.map(drop),
            };
            if let Err(error) = done {
                let words = format!("everything else is deployed, but not this: {step}: {error}");
                let hint = "the next push tries it again";
                report.diagnostics.push(Diagnostic::error("share_missing", words).at(step.place.clone()).hint(hint));
            }
        }
        Ok(report)
    }

    /// Lets another workspace, and its branches, read a data source of this one.
    pub async fn share(
        &self,
        source: &Arc<Workspace>,
        name: &str,
        destination: &Arc<Workspace>,
    ) -> Result<(), AppError> {
        if source.main().is_some() || destination.main().is_some() {
            return Err(AppError::Invalid("branches share nothing, and nothing is shared with one alone".to_owned()));
        }
        if source.id() == destination.id() {
            return Err(AppError::Invalid(format!("`{name}` is in this workspace already")));
        }
        if let Ok(name) = ResourceName::new(name) {
            source.may_be_shared_from(&name).map_err(AppError::Invalid)?;
        }
        let (app, source, destination, name) = (self.clone(), source.clone(), destination.clone(), name.to_owned());
        whole(async move {
            let _changing = app.changing.lock().await;
            // It is not dropped meanwhile.
            let _deploying = source.deploying.lock().await;
            app.shared.running()?;
            let name = source.existing(&name)?;
            for receiver in app.with_branches(&destination) {
                give(&source, &name, &receiver).await?;
            }
            Ok(())
        })
        .await
    }

    /// From here on it is not read there. Tells which pipes of that workspace need it: they answer with an error now.
    pub async fn unshare(
        &self,
        source: &Arc<Workspace>,
        name: &str,
        destination: &Arc<Workspace>,
    ) -> Result<Vec<ResourceName>, AppError> {
        let (app, source, destination, name) = (self.clone(), source.clone(), destination.clone(), name.to_owned());
        whole(async move {
            let _changing = app.changing.lock().await;
            app.shared.running()?;
            let name = source.existing(&name)?;
            let is_shared = source.receivers(&name).iter().any(|it| it.id() == destination.id());
            if !is_shared {
                let words = format!("`{name}` is not shared with `{}`", destination.name());
                return Err(AppError::Invalid(words));
            }
            let here = ResourceName::shared(source.name(), &name);
            let dependents = classic::dependents(&destination.project(), &here);
            for receiver in app.with_branches(&destination) {
                take(&source, &name, &receiver).await?;
            }
            Ok(dependents.into_iter().collect())
        })
        .await
    }

    /// A workspace gives up reading what another shares with it. Without `force` only where no pipe needs it.
    pub async fn decline(&self, workspace: &Arc<Workspace>, here: &ResourceName, force: bool) -> Result<(), AppError> {
        let pipes = workspace.needed_by(here);
        if let Some(first) = pipes.first().filter(|_| !force) {
            let (name, by) = (here.to_string(), format!("the pipe `{first}`"));
            return Err(AppError::InUse { kind: "data source", name, by });
        }
        match workspace.home_of(here) {
            Some((home, name)) if workspace.main().is_none() => {
                self.unshare(&home, name.as_str(), workspace).await.map(drop)
            }
            _ => Err(AppError::Invalid(format!("`{here}` is shared with the workspace that this is a branch of"))),
        }
    }

    fn with_branches(&self, workspace: &Arc<Workspace>) -> Vec<Arc<Workspace>> {
        let workspaces = self.workspaces();
        let branches = workspaces.iter().filter(|it| it.main() == Some(workspace.id())).cloned();
        [workspace.clone()].into_iter().chain(branches).collect()
    }
}

/// Brings back what was shared when the server stopped, and drops views of what is not any more.
pub(super) async fn restore(shared: &Shared, workspaces: &[Arc<Workspace>]) -> Result<(), AppError> {
    let stored = shared.store(|store| store.shares()).await?;
    for it in stored {
        let by_id = |id: &str| workspaces.iter().find(|it| it.id() == id);
        if let (Some(source), Some(destination), Ok(name)) =
            (by_id(&it.workspace), by_id(&it.destination), ResourceName::new(&it.datasource))
        {
            link(source, &name, destination);
        }
    }
    for workspace in workspaces {
        workspace.relink();
        let project = workspace.project();
        for it in project.shared.values() {
            for view in ddl::show(&shared.layout, it, &workspace.namespace) {
                shared.engine.command(&view).await?;
            }
        }
        for table in Found::look(shared, &workspace.namespace).await?.foreign() {
            let here = crate::name::Namespace::merged_of(&table).unwrap_or(&table);
            if !project.shared.contains_key(here)
                && let Some(name) = ResourceName::of_shared(here)
            {
                hide(workspace, &name).await?;
            }
        }
    }
    Ok(())
}

/// A branch reads what its workspace reads.
pub(super) async fn inherit(main: &Workspace, branch: &Arc<Workspace>) -> Result<(), AppError> {
    let received: Vec<_> = main.shares().received.values().cloned().collect();
    for Received { home, name } in received {
        if let Some(source) = home.upgrade() {
            give(&source, &name, branch).await?;
        }
    }
    Ok(())
}

/// Nobody reads what a workspace shared that goes, and it reads nothing of others.
pub(super) async fn leave(workspace: &Arc<Workspace>) -> Result<(), AppError> {
    let given: Vec<_> = workspace.shares().given.keys().cloned().collect();
    for name in given {
        for receiver in workspace.receivers(&name) {
            take(workspace, &name, &receiver).await?;
        }
    }
    let received: Vec<_> = workspace.shares().received.values().cloned().collect();
    for Received { home, name } in received {
        if let Some(source) = home.upgrade() {
            take(&source, &name, workspace).await?;
        }
    }
    Ok(())
}

async fn give(source: &Arc<Workspace>, name: &ResourceName, receiver: &Arc<Workspace>) -> Result<(), AppError> {
    let project = source.project();
    let datasource = project
        .datasource(name.as_str())
        .ok_or_else(|| AppError::NotFound { kind: "data source", name: name.to_string() })?;
    let it = project::Shared::new(source.name(), datasource, &source.namespace);
    for view in ddl::show(&source.shared.layout, &it, &receiver.namespace) {
        source.shared.engine.command(&view).await?;
    }
    let record = record(source, name, receiver);
    source.shared.store(move |store| store.put_share(&record)).await?;
    link(source, name, receiver);
    receiver.relink();
    Ok(())
}

async fn take(source: &Arc<Workspace>, name: &ResourceName, receiver: &Arc<Workspace>) -> Result<(), AppError> {
    let record = record(source, name, receiver);
    source.shared.store(move |store| store.delete_share(&record)).await?;
    let here = ResourceName::shared(source.name(), name);
    receiver.shares_mut().received.remove(&here);
    if let Some(receivers) = source.shares_mut().given.get_mut(name) {
        receivers.retain(|it| it.upgrade().is_some_and(|it| it.id() != receiver.id()));
    }
    receiver.relink();
    hide(receiver, &here).await
}

async fn hide(receiver: &Workspace, here: &ResourceName) -> Result<(), AppError> {
    let Shared { engine, layout, .. } = &*receiver.shared;
    for view in [receiver.namespace.table(here), receiver.namespace.merged(here)] {
        engine.command(&layout.drop_whole(&view)).await?;
    }
    Ok(())
}

fn link(source: &Arc<Workspace>, name: &ResourceName, receiver: &Arc<Workspace>) {
    let received = Received { home: Arc::downgrade(source), name: name.clone() };
    receiver.shares_mut().received.insert(ResourceName::shared(source.name(), name), received);
    let mut shares = source.shares_mut();
    let receivers = shares.given.entry(name.clone()).or_default();
    if !receivers.iter().any(|it| it.ptr_eq(&Arc::downgrade(receiver))) {
        receivers.push(Arc::downgrade(receiver));
    }
}

fn record(source: &Workspace, name: &ResourceName, receiver: &Workspace) -> StoredShare {
    StoredShare {
        workspace: source.id().to_owned(),
        datasource: name.to_string(),
        destination: receiver.id().to_owned(),
    }
}

impl Workspace {
    /// The workspaces that may read a data source of this one, branches among them.
    pub fn receivers(&self, name: &ResourceName) -> Vec<Arc<Workspace>> {
        self.shares().given.get(name).into_iter().flatten().filter_map(Weak::upgrade).collect()
    }

    /// Whose data source it is that is read here under this name, and what it is called there.
    pub fn home_of(&self, here: &ResourceName) -> Option<(Arc<Workspace>, ResourceName)> {
        let received = self.shares().received.get(here).cloned()?;
        Some((received.home.upgrade()?, received.name))
    }

    /// The file of a data source that another workspace shares: what readers need of it, and no tokens or connections.
    pub fn vendored(&self, here: &ResourceName) -> Option<String> {
        let (home, name) = self.home_of(here)?;
        let project = home.project();
        let path = &project.datasource(name.as_str())?.place.path;
        let file = project::datafile(&project.sources, path, &self.shared.settings.context)?;
        let DatasourceDraft { description, columns, engine, indexes, .. } = DatasourceDraft::of(&file);
        Some(DatasourceDraft { description, columns, engine, indexes, ..DatasourceDraft::default() }.to_string())
    }

    /// The SHARED_WITH lines that the file of a data source has not.
    pub fn unwritten_shares(&self, datasource: &Datasource) -> String {
        let project = self.project();
        let file = project::datafile(&project.sources, &datasource.place.path, &self.shared.settings.context);
        let written: BTreeSet<_> = file.iter().flat_map(|it| &it.shared_with).map(|it| it.as_str()).collect();
        let receivers = self.receivers(&datasource.name);
        let missing = receivers.iter().filter(|it| it.main().is_none() && !written.contains(it.name()));
        let lines: String = missing.map(|it| format!("    {}\n", it.name())).collect();
        if lines.is_empty() { lines } else { format!("SHARED_WITH >\n{lines}") }
    }

    /// Rows and bytes of what other workspaces share.
    pub async fn shared_statistics(&self) -> Result<BTreeMap<ResourceName, TableStatistics>, AppError> {
        let received: Vec<_> = self.shares().received.iter().map(|(here, it)| (here.clone(), it.clone())).collect();
        let mut homes: BTreeMap<String, BTreeMap<ResourceName, TableStatistics>> = BTreeMap::new();
        let mut res = BTreeMap::new();
        for (here, Received { home, name }) in received {
            let Some(home) = home.upgrade() else { continue };
            if !homes.contains_key(home.id()) {
                homes.insert(home.id().to_owned(), home.statistics().await?);
            }
            if let Some(statistics) = homes.get(home.id()).and_then(|it| it.get(&name)) {
                // What it refused is the owner's.
                res.insert(here, TableStatistics { quarantined: 0, ..*statistics });
            }
        }
        Ok(res)
    }

    /// The pipes of this workspace that need a data source under this name, another workspace's too.
    pub fn needed_by(&self, name: &ResourceName) -> BTreeSet<ResourceName> {
        classic::dependents(&self.project(), name)
    }

    /// Files as a project of this workspace, with what it may read of others.
    pub(super) fn resolve(&self, sources: &[Source]) -> (Project, Vec<Diagnostic>) {
        let (project, diagnostics) = project::resolve(sources, &self.shared.settings.context);
        (Project { shared: self.project().shared.clone(), ..project }, diagnostics)
    }

    /// Makes the deployed project know what is shared now.
    fn relink(&self) {
        let _linking = self.shared.linking.lock().unwrap_or_else(PoisonError::into_inner);
        self.put_project((*self.project()).clone());
    }

    /// What other workspaces share as it is there now.
    pub(super) fn received(&self) -> BTreeMap<ResourceName, Arc<project::Shared>> {
        let received: Vec<_> = self.shares().received.iter().map(|(here, it)| (here.clone(), it.clone())).collect();
        let shared = received.into_iter().filter_map(|(here, it)| {
            let home = it.home.upgrade()?;
            let project = home.project();
            let datasource = project.datasource(it.name.as_str())?;
            Some((here, Arc::new(project::Shared::new(home.name(), datasource, &home.namespace))))
        });
        shared.collect()
    }

    /// Those who read of this one.
    pub(super) fn all_receivers(&self) -> Vec<Arc<Workspace>> {
        self.shares().given.values().flatten().filter_map(Weak::upgrade).collect()
    }

    /// What a deploy may not do because of what is shared.
    pub(super) fn check_shares(&self, plan: &Plan, current: &Project, wanted: &Project) -> Vec<Diagnostic> {
        let mut res = Vec::new();
        for step in &plan.steps {
            let Action::DropTable { datasource } = &step.action else { continue };
            if let Some(by) = self.shared_with(&datasource.name) {
                let words = format!("the data source `{}` is shared with {by}: it cannot go", datasource.name);
                let hint = "tb datasource unshare ends that";
                res.push(Diagnostic::error("shared", words).at(step.place.clone()).hint(hint));
            }
        }
        for pipe in wanted.pipes.values() {
            res.extend(check_reads(pipe, current, wanted));
        }
        res
    }

    /// What SHARED_WITH lines ask for and what is not so: a file that has some says with whom its data source is shared,
    /// and nobody else; what a file named before it had none is taken back. `reach` are the workspaces that whoever
    /// deploys may share with; nothing where somebody else does that.
    pub(super) fn lines_to_carry_out(
        &self,
        current: &Project,
        wanted: &Project,
        reach: Option<&BTreeSet<String>>,
    ) -> (Vec<Step>, Vec<Diagnostic>) {
        let (mut steps, mut told) = (Vec::new(), Vec::new());
        let (old, new) = (written_shares(current), written_shares(wanted));
        let written = |it: &Datasource, paths: &BTreeSet<&str>| paths.contains(&*it.place.path);
        // Branches share nothing.
        for datasource in wanted.datasources.values().filter(|_| self.main().is_none()) {
            let before = current.datasource(datasource.name.as_str()).filter(|it| written(it, &old));
            let file = written(datasource, &new).then(|| self.lines(datasource, wanted)).flatten();
            if before.is_none() && file.is_none() {
                continue;
            }
            let before = before.and_then(|it| self.lines(it, current));
            let receivers = self.receivers(&datasource.name);
            let receivers: BTreeSet<_> =
                receivers.iter().filter(|it| it.main().is_none()).map(|it| it.name()).collect();
            let lines = file.iter().flat_map(|it| &it.shared_with);
            let mut seen = BTreeSet::new();
            for line in lines.clone().filter(|it| !receivers.contains(it.as_str()) && seen.insert(it.as_str())) {
                let (name, place) = (line.as_str(), file.as_ref().map(|it| it.place(line.span)));
                let place = place.unwrap_or_else(|| datasource.place.clone());
                match reach.map(|reach| self.why_not_shared(datasource, name, reach)) {
                    Some(None) => {
                        let action = Action::Share { datasource: datasource.name.clone(), workspace: name.to_owned() };
                        steps.push(Step { action, place });
                    }
                    Some(Some((words, hint))) => {
                        // One that was taken before stays as it is, so that other files can be pushed.
                        let is_old = before.iter().flat_map(|it| &it.shared_with).any(|it| it.as_str() == name);
                        let it = match is_old {
                            true => Diagnostic::warning("share_missing", words),
                            false => Diagnostic::error("share_missing", words),
                        };
                        told.push(it.at(place).hint(hint));
                    }
                    None => {
                        let words = format!("the data source `{}` is not shared with `{name}` yet", datasource.name);
                        let hint =
                            format!("birdhouse push does that, or tb datasource share {} {name}", datasource.name);
                        told.push(Diagnostic::warning("share_missing", words).at(place).hint(hint));
                    }
                }
            }
            let Some(reach) = reach else { continue };
            let named: BTreeSet<_> = lines.map(|it| it.as_str()).collect();
            let was_named = |name: &str| before.iter().flat_map(|it| &it.shared_with).any(|it| it.as_str() == name);
            let goes = |name: &str| !named.contains(name) && (!named.is_empty() || was_named(name));
            for name in receivers.into_iter().filter(|it| goes(it)) {
                let (place, workspace) = (datasource.place.clone(), name.to_owned());
                if reach.contains(name) {
                    steps.push(Step {
                        action: Action::Unshare { datasource: datasource.name.clone(), workspace },
                        place,
                    });
                    continue;
                }
                let words = format!("the data source `{}` is still shared with `{name}`", datasource.name);
                let hint =
                    format!("whoever runs the server ends that: tb datasource unshare {} {name}", datasource.name);
                told.push(Diagnostic::warning("share_missing", words).at(place).hint(hint));
            }
        }
        (steps, told)
    }

    /// Why a SHARED_WITH line cannot be carried out, and what would help.
    fn why_not_shared(
        &self,
        datasource: &Datasource,
        name: &str,
        reach: &BTreeSet<String>,
    ) -> Option<(String, String)> {
        if let Err(words) = self.may_be_shared_from(&datasource.name) {
            return Some((words, "give the workspace another name".to_owned()));
        }
        if name == self.name() {
            let words = format!("`{}` is in the workspace `{name}` already", datasource.name);
            return Some((words, "name another workspace".to_owned()));
        }
        if reach.contains(name) {
            return None;
        }
        // The same words for both: whose token does not open a workspace need not know that there is one.
        let words = format!("there is no workspace `{name}`, or this token may not share with it");
        let near = nearest(name, reach.iter().map(String::as_str).filter(|it| *it != self.name()));
        let hint = match near {
            Some(near) => format!("there is `{near}`"),
            None => {
                "whoever runs the server may: with their token, or tb workspace create, tb datasource share".to_owned()
            }
        };
        Some((words, hint))
    }

    fn may_be_shared_from(&self, name: &ResourceName) -> Result<(), String> {
        match TAKEN.iter().any(|it| it.eq_ignore_ascii_case(self.name())) {
            true => {
                Err(format!("`{}.{name}` would mean something else: this workspace can share nothing", self.name()))
            }
            false => Ok(()),
        }
    }

    fn lines(&self, datasource: &Datasource, project: &Project) -> Option<Datafile> {
        project::datafile(&project.sources, &datasource.place.path, &self.shared.settings.context)
    }

    /// In words, with whom a data source is shared.
    pub(super) fn shared_with(&self, name: &ResourceName) -> Option<String> {
        let receivers = self.receivers(name);
        let names: Vec<_> =
            receivers.iter().filter(|it| it.main().is_none()).map(|it| format!("`{}`", it.name())).collect();
        (!names.is_empty()).then(|| format!("the workspace {}", names.join(", ")))
    }

    /// Views of data sources that have a new column show it before anybody hears of it.
    pub(super) async fn renew_views(&self, plan: &Plan, wanted: &Project) {
        let changed = plan.steps.iter().filter_map(|step| match &step.action {
            Action::AddColumn { datasource, .. } => Some(&datasource.name),
            _ => None,
        });
        for name in changed.collect::<BTreeSet<_>>() {
            let Some(datasource) = wanted.datasource(name.as_str()) else { continue };
            let it = project::Shared::new(self.name(), datasource, &self.namespace);
            for receiver in self.receivers(name) {
                for view in ddl::show(&self.shared.layout, &it, &receiver.namespace) {
                    if let Err(error) = self.shared.engine.command(&view).await {
                        self.shared
                            .warn(format!("`{}` shows its new columns after a restart: {error}", it.datasource.name));
                    }
                }
            }
        }
    }

    fn shares(&self) -> std::sync::RwLockReadGuard<'_, Shares> {
        self.shares.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn shares_mut(&self) -> std::sync::RwLockWriteGuard<'_, Shares> {
        self.shares.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files in which SHARED_WITH stands: few, and the others need no second look.
fn written_shares(project: &Project) -> BTreeSet<&str> {
    let is_written = |it: &&Source| it.text.to_ascii_lowercase().contains("shared_with");
    project.sources.iter().filter(is_written).map(|it| &*it.path).collect()
}

/// A new pipe reads what is shared. One that reads what is not shared any more stays as it is, so that other files can
/// be pushed: it answers with an error. Rows of others set no view off.
fn check_reads(pipe: &Pipe, current: &Project, wanted: &Project) -> Vec<Diagnostic> {
    let file = |project: &Project| project.sources.iter().find(|it| it.path == pipe.place.path).cloned();
    let is_old = || current.pipe(pipe.name.as_str()).is_some() && file(current) == file(wanted);
    let mut res = Vec::new();
    let reads = pipe.nodes.iter().flat_map(|it| &it.reads);
    let foreign = reads.filter(|it| it.target == ReferenceTarget::Datasource && it.name.is_foreign());
    for read in foreign.filter(|it| !wanted.shared.contains_key(&it.name)) {
        let words = format!("the data source `{}` is not shared with this workspace", read.name);
        let (workspace, name) = read.name.as_str().split_once('.').unwrap_or_default();
        // What only stands in a part of a template may be something else.
        let it = match is_old() || !read.certain {
            true => Diagnostic::warning("not_shared", words).hint("what reads it answers with an error"),
            false => {
                let hint = format!("in `{workspace}`, tb datasource share {name} does that");
                Diagnostic::error("not_shared", words).hint(hint)
            }
        };
        res.push(it.at(read.place.clone()));
    }
    if matches!(pipe.kind, PipeKind::Materialized { .. })
        && let Some(name) = wanted.node_tables(pipe, pipe.output_node()).iter().find(|it| it.is_foreign())
    {
        let words = format!("a materialized view cannot read `{name}`, which another workspace has");
        let hint = "a copy pipe can; or materialize it there and share the result";
        res.push(Diagnostic::error("shared_view", words).at(pipe.output_node().place.clone()).hint(hint));
    }
    res
}
