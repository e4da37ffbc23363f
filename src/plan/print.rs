//! A plan in words: what `push --dry-run` shows. `+` comes, `~` changes, `-` goes, `!` is refused.

use super::{Action, Change, Plan, Step, target};
use crate::project::{Pipe, PipeKind};
use std::fmt;

impl Step {
    /// The sign in front of the words.
    pub fn sign(&self) -> char {
        match &self.action {
            Action::CreateTable { .. }
            | Action::AddColumn { .. }
            | Action::CreateView { .. }
            | Action::CreatePipe { .. }
            | Action::ChangeConnection { change: Change::Created, .. }
            | Action::GrantToken { .. }
            | Action::Share { .. } => '+',
            Action::ChangeDatasource { .. }
            | Action::ChangeView { .. }
            | Action::ChangePipe { .. }
            | Action::ChangeConnection { change: Change::Changed, .. }
            | Action::Describe { .. } => '~',
            Action::DropView { .. }
            | Action::DropPipe { .. }
            | Action::DropTable { .. }
            | Action::ChangeConnection { change: Change::Dropped, .. }
            | Action::Unshare { .. } => '-',
            Action::Refused { .. } => '!',
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.action {
            Action::CreateTable { datasource } => {
                let count = datasource.columns.len();
                let plural = if count == 1 { "" } else { "s" };
                write!(f, "data source {} with {count} column{plural}", datasource.name)?;
                match &datasource.kafka {
                    Some(kafka) => write!(f, ", fed from the Kafka topic `{}`", kafka.topic),
                    None => Ok(()),
                }
            }
            Action::AddColumn { datasource, column, .. } => {
                write!(f, "column {}.{} {}", datasource.name, column.name, column.column_type)
            }
            Action::ChangeDatasource { datasource, what } => {
                write!(f, "data source {}: {}", datasource.name, what.join("; "))
            }
            Action::CreateView { pipe, target } => {
                write!(f, "materialization {} into {target}, for rows that come from now on", pipe.name)
            }
            Action::ChangeView { pipe, target, .. } => write!(
                f,
                "materialization {} into {target} has a new query for rows that come from now on; those that are there \
                 stay as they are (no backfill)",
                pipe.name
            ),
            Action::DropView { pipe } => {
                let target = target(pipe).map(|it| it.as_str()).unwrap_or_default();
                write!(f, "materialization {} into {target}; the rows it wrote stay", pipe.name)
            }
            Action::CreatePipe { pipe } | Action::ChangePipe { pipe } | Action::DropPipe { pipe } => {
                write!(f, "{} {}", kind(pipe), pipe.name)
            }
            Action::DropTable { datasource } => write!(f, "data source {} with its rows", datasource.name),
            Action::ChangeConnection { name, .. } => write!(f, "connection {name}"),
            Action::Describe { resource } => write!(f, "description of {resource}"),
            Action::GrantToken { token, scope } => write!(f, "token {token} gets {scope}"),
            Action::Share { datasource, workspace } => write!(f, "data source {datasource} is shared with {workspace}"),
            Action::Unshare { datasource, workspace } => {
                write!(f, "data source {datasource} is shared with {workspace} no more")
            }
            Action::Refused { resource, what, reason } => write!(f, "data source {resource} {what}: {reason}"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{} {step}", step.sign())?;
        }
        Ok(())
    }
}

fn kind(pipe: &Pipe) -> &'static str {
    match pipe.kind {
        PipeKind::Endpoint => "endpoint",
        PipeKind::Materialized { .. } => "materialization",
        PipeKind::Copy { .. } => "copy pipe",
        PipeKind::Sink => "sink",
        PipeKind::Internal => "pipe",
    }
}
