//! Datafiles by themselves: some files of a project, known by their names alone.

use super::{super::AppError, Edit};
use crate::{
    app::{DeployOptions, DeployReport, Workspace},
    datafile::Kind,
    diagnostic::Source,
    project::Project,
};
use std::sync::Arc;

impl Workspace {
    /// Puts files into the deployed project, or with `check` only says what that would do. A file comes as
    /// `name.datasource` or `name.pipe`: it takes the place of the deployed one of that name, which has to be
    /// asked for (`force`) where their texts differ.
    pub async fn put_datafiles(
        self: &Arc<Self>,
        files: Vec<Source>,
        check: bool,
        force: bool,
    ) -> Result<DeployReport, AppError> {
        self.edit(move |project, _| {
            let put = files.into_iter().map(|file| placed(project, &file, force)).collect::<Result<_, _>>()?;
            Ok(Edit { put, options: DeployOptions { check, ..DeployOptions::default() }, ..Edit::default() })
        })
        .await
    }
}

fn placed(project: &Project, file: &Source, force: bool) -> Result<Source, AppError> {
    let (kind, folder) = match Kind::of(&file.path) {
        Some(Kind::Datasource) => ("data source", "datasources"),
        Some(Kind::Pipe) => ("pipe", "pipes"),
        Some(Kind::Connection) => ("connection", "connections"),
        Some(Kind::Token) => ("token", "tokens"),
        Some(Kind::Include) | None => {
            return Err(AppError::Invalid(format!(
                "`{}` is no datafile: its name would end in .datasource, .pipe, .connection or .token",
                file.path
            )));
        }
    };
    let file_name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let name = file_name(&file.path);
    match project.sources.iter().find(|it| file_name(&it.path) == name) {
        Some(deployed) if !force && deployed.text != file.text => {
            Err(AppError::Exists { kind, name: name.split('.').next().unwrap_or_default().to_owned() })
        }
        Some(deployed) => Ok(Source::new(deployed.path.to_string(), file.text.to_string())),
        None => Ok(Source::new(format!("{folder}/{name}"), file.text.to_string())),
    }
}
