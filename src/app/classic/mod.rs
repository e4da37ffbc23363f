//! The classic door: one resource a call, its parts as fields. What comes is printed as a datafile and becomes a
//! part of the deployed project like any other file.

mod datafiles;
mod datasource;
mod pipe;
mod tag;

pub use datasource::{Altered, Dependents, NewDatasource};
pub use pipe::{MadePipe, NewNode, NewPipe};
pub(super) use {datasource::dependents, pipe::written};

use super::{AppError, DeployOptions, DeployReport, Workspace};
use crate::{
    datafile::{Context, Datafile, DatasourceDraft, Kind, PipeDraft},
    diagnostic::{Diagnostic, Severity, Source},
    name::ResourceName,
    plan::Action,
    project::{self, Project},
};
use std::sync::Arc;

/// What a call makes of the deployed files.
#[derive(Debug, Default)]
struct Edit {
    /// New files, or new texts of old ones.
    put: Vec<Source>,
    /// The paths of files that go.
    remove: Vec<String>,
    options: DeployOptions,
}

impl Workspace {
    /// Makes an edit the deployed state. What is wrong with it is one error in words, since the caller has no
    /// file to look into.
    async fn edit(
        self: &Arc<Self>,
        edit: impl FnOnce(&Project, &Context) -> Result<Edit, AppError> + Send + 'static,
    ) -> Result<DeployReport, AppError> {
        let workspace = self.clone();
        let report = self
            .change(move |current| {
                let Edit { put, remove, options } = edit(current, &workspace.shared.settings.context)?;
                let mut sources = super::deploy::merge(&current.sources, put);
                sources.retain(|it| !remove.contains(&it.path.to_string()));
                Ok((sources, DeployOptions { one_of_several: true, ..options }))
            })
            .await?;
        match failure(&report) {
            Some(words) => Err(AppError::Invalid(words)),
            None => Ok(report),
        }
    }
}

/// What went wrong, told without places in a file that the caller never saw.
fn failure(report: &DeployReport) -> Option<String> {
    let words = |it: &Diagnostic| {
        let place = it.place.as_ref().and_then(|place| {
            let resource = Kind::of(&place.path)?.resource_name(&place.path);
            Some(format!("{resource}: "))
        });
        let hint = it.hint.as_ref().map(|it| format!(" ({it})"));
        format!("{}{}{}", place.unwrap_or_default(), it.message, hint.unwrap_or_default())
    };
    let errors: Vec<_> = report.diagnostics.iter().filter(|it| it.severity == Severity::Error).map(words).collect();
    (!errors.is_empty()).then(|| errors.join("; "))
}

/// The file of a deployed resource, parsed.
fn deployed(project: &Project, path: &str, context: &Context) -> Result<Datafile, AppError> {
    let missing = || AppError::NotFound { kind: "file", name: path.to_owned() };
    project::datafile(&project.sources, path, context).ok_or_else(missing)
}

fn datasource_source(path: &str, draft: &DatasourceDraft) -> Source {
    Source::new(path, draft.to_string())
}

fn pipe_source(path: &str, draft: &PipeDraft) -> Source {
    Source::new(path, draft.to_string())
}

fn resource_name(name: &str) -> Result<ResourceName, AppError> {
    ResourceName::new(name.trim()).map_err(|error| AppError::Invalid(error.to_string()))
}

/// The steps of a plan that a caller would call a change, in words.
fn operations(report: &DeployReport) -> Vec<String> {
    let told = report.plan.steps.iter().filter(|it| !matches!(it.action, Action::Refused { .. }));
    told.map(|it| format!("{} {it}", it.sign())).collect()
}
