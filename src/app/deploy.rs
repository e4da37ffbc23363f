//! A whole project, or a part of one, becomes the deployed one: all of it or nothing.

use crate::{
    app::{AppError, Workspace},
    diagnostic::{Diagnostic, Source},
    plan::Plan,
};

#[derive(Debug, Clone, Default)]
pub struct DeployOptions {
    /// Only say what would happen.
    pub check: bool,
    /// Files that are not given stay as they are; otherwise what is absent is dropped.
    pub partial: bool,
    /// Fixtures follow: new consumers wait for [`Workspace::release_consumers`].
    pub hold_consumers: bool,
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

impl Workspace {
    /// Makes `files` the deployed project. One deploy at a time; others wait.
    ///
    /// `Err` is a failure of ours; what is wrong with the project, a statement that the engine refused
    /// included, is in the report's diagnostics.
    pub async fn deploy(&self, files: Vec<Source>, options: DeployOptions) -> Result<DeployReport, AppError> {
        let _ = (files, options);
        Ok(DeployReport::default())
    }

    /// The push that held consumers back has its fixtures in: they start now.
    pub async fn release_consumers(&self) -> Result<(), AppError> {
        Ok(())
    }
}
