//! The columns of endpoints, asked of the engine once for every project.
//!
//! In: a caller and a text. Out: a [`Catalog`] with what the text may ask about. What it asks is not known here.

use crate::{
    project::Project,
    query::{Catalog, Described},
    server::extract::Who,
    sql::scan::client::Statement,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// By workspace: the project that was described, and how. Cheap to clone; every clone is the same.
#[derive(Clone, Default)]
pub(super) struct Descriptions {
    known: Arc<Mutex<HashMap<String, Known>>>,
}

/// A project, and how its endpoints were described.
type Known = (Arc<Project>, Arc<Described>);

impl Descriptions {
    /// The catalog with what this text can see of it; most texts ask nothing.
    pub(super) async fn complete(
        &self,
        mut catalog: Catalog,
        who: &Who,
        text: &str,
        statement: Option<&Statement>,
    ) -> Catalog {
        let mentions =
            |word: &str| text.as_bytes().windows(word.len()).any(|it| it.eq_ignore_ascii_case(word.as_bytes()));
        if statement.is_none() && !mentions("system") {
            return catalog;
        }
        let of_columns = match statement {
            None => mentions("columns") || mentions("create_table_query"),
            Some(Statement::Describe(_) | Statement::Create(_)) => true,
            Some(_) => false,
        };
        catalog.settings = super::settings::known().collect();
        let project = who.workspace.project();
        let described = if of_columns { self.described(who, &project).await } else { Arc::default() };
        catalog.with_tables(&project, &who.access, &described)
    }

    async fn described(&self, who: &Who, project: &Arc<Project>) -> Arc<Described> {
        let id = who.workspace.id();
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, described)) = known().get(id)
            && Arc::ptr_eq(of, project)
        {
            return described.clone();
        }
        let mut described = Described::default();
        for pipe in project.pipes.values().filter(|it| it.is_endpoint()) {
            // What cannot be described, as a template that refuses to render without parameters, has unknown columns.
            let columns = who.workspace.endpoint_columns(pipe).await.unwrap_or_default();
            described.insert(pipe.name.to_string(), columns);
        }
        let described = Arc::new(described);
        known().insert(id.to_owned(), (project.clone(), described.clone()));
        described
    }
}
