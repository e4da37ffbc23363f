//! What has to happen so that one project becomes another: which steps, and which of them are refused.
//!
//! In: the project as it is deployed and the project as it is wanted. Out: a [`Plan`]. SQL and the engine's
//! present state are not known here.

use crate::{
    auth::Scope,
    diagnostic::Place,
    name::ResourceName,
    project::{Column, Datasource, Pipe, Project},
};
use std::sync::Arc;

/// The steps from one project to another, in the order in which they are done.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub steps: Vec<Step>,
}

/// One step and the place in the files that asks for it.
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
        after: Option<crate::name::ColumnName>,
    },
    /// How rows get into a data source from now on: jsonpaths, Kafka. No SQL.
    ChangeDatasource {
        datasource: Arc<Datasource>,
        what: Vec<String>,
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
    DropView {
        pipe: Arc<Pipe>,
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
    /// Only the words about a resource change. No SQL.
    Describe {
        resource: ResourceName,
    },
    /// A TOKEN line makes a token or gives it one more scope.
    GrantToken {
        token: String,
        scope: Scope,
    },
    /// What is not done, because rows would be lost or rewritten, or because it is not known how.
    Refused {
        resource: ResourceName,
        what: String,
        reason: String,
    },
}

/// The steps that make `wanted` of `current`.
pub fn diff(current: &Project, wanted: &Project) -> Plan {
    let _ = (current, wanted);
    Plan::default()
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub fn refused(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|it| matches!(it.action, Action::Refused { .. }))
    }
}
