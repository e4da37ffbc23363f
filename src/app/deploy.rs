//! A whole project, or a part of one, becomes the deployed one: all of it or nothing.

use super::{AppError, Shared, Workspace, adopt::Found, verify, whole};
use crate::{
    ddl::Ddl,
    diagnostic::{Diagnostic, Source, has_errors, nearest},
    name::{Namespace, ResourceName},
    observe::Observation,
    plan::{self, Action, Plan},
    project::Project,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

#[derive(Debug, Clone, Default)]
pub struct DeployOptions {
    /// Only say what would happen.
    pub check: bool,
    /// Files that are not given stay as they are; otherwise what is absent is dropped.
    pub partial: bool,
    /// Fixtures follow: new consumers wait for [`Workspace::release_consumers`].
    pub hold_consumers: bool,
    /// Data sources that may go with their rows when they are not among the files any more.
    pub drops: BTreeSet<ResourceName>,
    /// The workspaces that SHARED_WITH lines may name, by their names: the lines are carried out by who deploys.
    /// Nothing where that is left to somebody else.
    pub shares_with: Option<BTreeSet<String>>,
    /// One of several calls of a client that does not say which is the last: consumers wait until there was none
    /// for a while.
    pub one_of_several: bool,
}

#[derive(Debug, Clone, Default)]
pub struct DeployReport {
    /// Empty when the project is unchanged, or too wrong to compare.
    pub plan: Plan,
    pub diagnostics: Vec<Diagnostic>,
    /// Something was done. Never with `check`, never with an error among the diagnostics.
    pub changed: bool,
    /// The whole project's files, which the diagnostics' places are in.
    pub sources: Vec<Source>,
}

/// How often it is tried to make a view when nobody has rows half in.
const TURNS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

impl Workspace {
    /// Makes `files` the deployed project. One deploy at a time; others wait.
    ///
    /// `Err` is a failure of ours; what is wrong with the project, a statement that the engine refused
    /// included, is in the report's diagnostics.
    pub async fn deploy(
        self: &Arc<Self>,
        files: Vec<Source>,
        options: DeployOptions,
    ) -> Result<DeployReport, AppError> {
        let edit = move |current: &Project| match options.partial {
            true => Ok((merge(&current.sources, files), options)),
            false => Ok((files, options)),
        };
        self.change(edit).await
    }

    /// Makes what `edit` makes of the deployed files the deployed ones; no other deploy comes between.
    pub(super) async fn change(
        self: &Arc<Self>,
        edit: impl FnOnce(&Project) -> Result<(Vec<Source>, DeployOptions), AppError> + Send + 'static,
    ) -> Result<DeployReport, AppError> {
        let workspace = self.clone();
        whole(async move {
            let _deploying = workspace.deploying.lock().await;
            workspace.shared.running()?;
            let begun = Instant::now();
            let (sources, options) = edit(&workspace.project())?;
            let report = workspace.deploy_alone(sources, &options).await?;
            if report.changed {
                let (changed, elapsed) = (report.plan.steps.len(), begun.elapsed());
                for step in &report.plan.steps {
                    let (kind, datasource) = match &step.action {
                        Action::CreateTable { datasource } => ("create", &datasource.name),
                        Action::AddColumn { datasource, .. } => ("alter", &datasource.name),
                        Action::DropTable { datasource } => ("delete", &datasource.name),
                        _ => continue,
                    };
                    let datasource = datasource.to_string();
                    workspace.sink.observe(Observation::Operation { kind, datasource, elapsed });
                }
                workspace.sink.observe(Observation::Deployed { changed, elapsed });
            } else if let Some(error) = report.diagnostics.iter().find(|_| has_errors(&report.diagnostics)) {
                workspace.sink.observe(Observation::DeployFailed { message: error.message.clone() });
            }
            Ok(report)
        })
        .await
    }

    async fn deploy_alone(
        self: &Arc<Self>,
        sources: Vec<Source>,
        options: &DeployOptions,
    ) -> Result<DeployReport, AppError> {
        let current = self.project();
        let (wanted, diagnostics) = self.resolve(&sources);
        let mut report = DeployReport { diagnostics, sources, ..DeployReport::default() };
        report.diagnostics.extend(self.check_connections(&wanted).await?);
        if has_errors(&report.diagnostics) {
            return Ok(report);
        }
        report.plan = plan::diff_dropping(&current, &wanted, &options.drops);
        report.diagnostics.extend(report.plan.refused().map(|step| {
            Diagnostic::error("refused", step.to_string())
                .at(step.place.clone())
                .hint("a push never loses or rewrites stored rows; make a new data source for a new shape")
        }));
        if has_errors(&report.diagnostics) {
            return Ok(report);
        }
        report.diagnostics.extend(self.check_shares(&report.plan, &current, &wanted));
        let (steps, told) = self.lines_to_carry_out(&current, &wanted, options.shares_with.as_ref());
        report.plan.steps.extend(steps);
        report.diagnostics.extend(told);
        if has_errors(&report.diagnostics) {
            return Ok(report);
        }
        report.diagnostics.extend(self.shared.layout.diagnostics(&report.plan, &wanted));
        if report.plan.steps.iter().any(|it| matches!(it.action, Action::CreateTable { .. })) {
            let names = wanted.datasources.keys().cloned().collect();
            report.diagnostics.extend(self.shared.idle_choices(&names));
        }
        report.diagnostics.extend(self.in_the_way(&report.plan).await?);
        report.diagnostics.extend(verify::verify(&self.shared, &report.plan, &current, &wanted).await?);
        if has_errors(&report.diagnostics) || options.check {
            return Ok(report);
        }
        if options.hold_consumers {
            self.hold_consumers().await?;
        }
        if options.one_of_several {
            self.hold_quietly().await;
        }
        let failure = self.carry_out_in_turn(&report, &current, wanted).await;
        let done = failure.as_ref().is_ok_and(Option::is_none);
        // A push that needs no fixtures ends the hold of an earlier one that never came back; one that fails
        // ends its own, and leaves an earlier one's as it is.
        if done != options.hold_consumers && !options.one_of_several {
            self.release_consumers().await?;
        } else {
            self.start_consumers().await?;
        }
        self.extend_hold().await;
        match failure? {
            Some(diagnostic) => report.diagnostics.push(diagnostic),
            None => report.changed = !report.plan.is_empty(),
        }
        Ok(report)
    }

    /// A new view of a target that is there already would be given again what another has given it of a batch that is
    /// half in. So nobody may have one while such a view is made.
    async fn carry_out_in_turn(
        &self,
        report: &DeployReport,
        current: &Project,
        wanted: Project,
    ) -> Result<Option<Diagnostic>, AppError> {
        let targets = report.plan.steps.iter().filter_map(|step| match &step.action {
            Action::CreateView { target, .. } if current.datasources.contains_key(target) => Some((target, step)),
            _ => None,
        });
        let targets: BTreeMap<_, _> = targets.collect();
        let mut claims = Vec::new();
        let mut barred = None;
        for turn in 0..TURNS {
            if turn > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            claims.clear();
            for target in targets.keys() {
                claims.extend(self.change_rows(target).await);
            }
            if claims.len() == targets.len() {
                let names = targets.keys().map(|it| (*it).clone()).collect();
                barred = self.bar_consumers(&names).await?;
                if barred.is_some() {
                    break;
                }
            }
        }
        let Some(barred) = barred else {
            let (target, step) = targets.first_key_value().expect("without targets there is nothing in the way");
            let words = format!("rows are half in `{target}`, and a new view would give it some of them twice");
            let hint = "a view that cannot take them is mended by a push that leaves the other views as they are; \
                        then this one goes through";
            return Ok(Some(Diagnostic::error("half_in", words).at(step.place.clone()).hint(hint)));
        };
        let carried_out = self.carry_out(report, current, wanted).await;
        self.mended.notify_waiters();
        if let Err(error) = self.unbar_consumers(barred).await {
            self.shared.warn(format!("consumers could not be started: {error}"));
        }
        carried_out
    }

    /// Runs a plan's statements and keeps the new project. A statement that the engine refuses is a diagnostic,
    /// and everything before it is taken back.
    async fn carry_out(
        &self,
        report: &DeployReport,
        current: &Project,
        wanted: Project,
    ) -> Result<Option<Diagnostic>, AppError> {
        let plan = &report.plan;
        let statements = match self.shared.layout.lower(plan, current, &wanted, &self.namespace) {
            Ok(statements) => self.adopted(statements).await?,
            Err(error) => {
                let words = error.error.to_string();
                return Ok(Some(Diagnostic::error("node", words).at(error.place)));
            }
        };
        let id = self.record.id.clone();
        // Files from here on wait; inserts that are under way end first.
        let _inserting = match statements.is_empty() {
            true => None,
            false => Some(self.inserting.write().await),
        };
        if !statements.is_empty() {
            self.stop_for(plan, &wanted).await?;
            let (begun, sources) = (id.clone(), wanted.sources.clone());
            self.shared.store(move |store| store.begin_deploy(&begun, &sources)).await?;
            if let Some(failure) = run(&self.shared, &statements).await {
                if failure.taken_back {
                    self.shared.store(move |store| store.abandon_deploy(&id)).await?;
                }
                return Ok(Some(failure.diagnostic(&self.namespace)));
            }
        }
        // What is saved stays: when only the tokens cannot be read back, the tables are not taken away from it.
        let reloaded = {
            let _changing = self.changing_tokens.lock().await;
            let grants = plan.steps.iter().filter_map(|step| match &step.action {
                Action::GrantToken { token, scope } => Some((token.as_str(), scope)),
                _ => None,
            });
            let (sources, tokens) = (wanted.sources.clone(), self.granted(grants));
            let finished = self.shared.store(move |store| store.finish_deploy(&id, &sources, &tokens)).await;
            if let Err(error) = finished {
                take_back(&self.shared, &statements).await;
                return Err(error);
            }
            self.reload_tokens().await
        };
        self.renew_views(plan, &wanted).await;
        self.swap_project(wanted);
        for step in &plan.steps {
            if let Action::DropTable { datasource } = &step.action {
                self.finish_drop(&datasource.name).await;
            }
        }
        self.note_times().await?;
        reloaded?;
        Ok(None)
    }

    /// What was set aside goes for good. What is not done here is done at the next start.
    async fn finish_drop(&self, name: &ResourceName) {
        self.files.give_up(name);
        if let Some(events) = self.events.get() {
            events.give_up(name);
        }
        let (namespace, quarantine) = (&self.namespace, name.quarantine());
        let dropped = [namespace.dropped(name), namespace.dropped(&quarantine)];
        for table in dropped.into_iter().chain([namespace.gathering(name), namespace.replay(name)]) {
            if let Err(error) = self.shared.drop_table(&table).await {
                self.shared.warn(format!("the rows of `{name}` are still on the disk: {error}"));
            }
        }
        let (id, datasource) = (self.record.id.clone(), name.to_string());
        if let Err(error) = self.shared.store(move |store| store.forget_kafka_positions(&id, &datasource)).await {
            self.shared.warn(format!("the offsets of `{name}` could not be forgotten: {error}"));
        }
    }

    /// What is left to do where tables are there already.
    async fn adopted(&self, statements: Vec<Ddl>) -> Result<Vec<Ddl>, AppError> {
        if statements.iter().all(|it| it.makes.is_none()) {
            return Ok(statements);
        }
        Ok(Found::look(&self.shared, &self.namespace).await?.adopted(statements))
    }

    async fn in_the_way(&self, plan: &Plan) -> Result<Vec<Diagnostic>, AppError> {
        if !plan.steps.iter().any(|it| matches!(it.action, Action::CreateTable { .. })) {
            return Ok(vec![]);
        }
        Ok(Found::look(&self.shared, &self.namespace).await?.in_the_way(plan))
    }

    async fn check_connections(&self, wanted: &Project) -> Result<Vec<Diagnostic>, AppError> {
        let connections = self.connection_settings(wanted).await?;
        let mut res = Vec::new();
        for datasource in wanted.datasources.values() {
            let Some(kafka) = &datasource.kafka else { continue };
            let name = kafka.connection.as_str();
            let command = format!(
                "birdhouse connection create kafka --connection-name {name} --bootstrap-servers HOST:PORT --key KEY \
                 --secret SECRET (or, for a broker without a password, --security-protocol PLAINTEXT in place of key \
                 and secret)"
            );
            match connections.get(name) {
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    let words = format!("the Kafka connection `{name}` cannot be used: {error}");
                    res.push(Diagnostic::error("connection_invalid", words).at(kafka.place.clone()));
                }
                None => {
                    let hint = match nearest(name, connections.keys().map(String::as_str)) {
                        Some(near) => format!("there is one called `{near}`; to create this one: {command}"),
                        None => format!("create it: {command}"),
                    };
                    let words = format!("there is no Kafka connection `{name}`");
                    res.push(Diagnostic::error("connection_missing", words).at(kafka.place.clone()).hint(hint));
                }
            }
        }
        Ok(res)
    }
}

/// The deployed files with the given ones in the places of those of the same path.
pub(super) fn merge(deployed: &[Source], given: Vec<Source>) -> Vec<Source> {
    let mut res = given;
    let absent: Vec<_> = deployed.iter().filter(|it| res.iter().all(|given| given.path != it.path)).cloned().collect();
    res.extend(absent);
    res.sort_by(|a, b| a.path.cmp(&b.path));
    res
}

struct Failure {
    place: crate::diagnostic::Place,
    error: crate::engine::EngineError,
    taken_back: bool,
}

impl Failure {
    fn diagnostic(self, namespace: &Namespace) -> Diagnostic {
        let words = verify::engine_words(&self.error.message, namespace);
        let diagnostic = Diagnostic::error("engine", words).at(self.place);
        match self.taken_back {
            true => diagnostic.hint("nothing was changed"),
            false => diagnostic.hint("what was done before could not be taken back; it is tried at the next start"),
        }
    }
}

/// Runs statements until one fails; then takes back those that ran, the failed one included, since it may have
/// come to something.
async fn run(shared: &Shared, statements: &[Ddl]) -> Option<Failure> {
    for (index, statement) in statements.iter().enumerate() {
        if let Err(error) = shared.engine.command(&statement.sql).await {
            let taken_back = take_back(shared, &statements[..=index]).await;
            return Some(Failure { place: statement.place.clone(), error, taken_back });
        }
    }
    None
}

async fn take_back(shared: &Shared, statements: &[Ddl]) -> bool {
    let mut all = true;
    for statement in statements.iter().rev() {
        if let Err(error) = shared.engine.command(&statement.undo).await {
            shared.warn(format!("a step of a failed deploy could not be taken back: {error}"));
            all = false;
        }
    }
    all
}

/// After a crash in the middle of a deploy: whatever it may have done is taken back.
pub(super) async fn take_back_unfinished(shared: &Shared, namespace: &Namespace, current: &Project, wanted: &Project) {
    // Whatever went was allowed to.
    let drops = current.datasources.keys().filter(|it| !wanted.datasources.contains_key(*it)).cloned().collect();
    let plan = plan::diff_dropping(current, wanted, &drops);
    match shared.layout.lower(&plan, current, wanted, namespace) {
        Ok(statements) => match Found::look(shared, namespace).await {
            Ok(found) => _ = take_back(shared, &found.without_rows(shared, statements)).await,
            Err(error) => shared.warn(format!("an unfinished deploy could not be taken back: {error}")),
        },
        Err(error) => shared.warn(format!("an unfinished deploy could not be taken back: {}", error.error)),
    }
}
