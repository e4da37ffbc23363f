//! When deployed files came, and when they last changed.

use super::{AppError, Workspace, words};
use crate::store::SourceTimes;
use std::{collections::BTreeMap, sync::PoisonError};

/// `2026-01-31 12:00:00.000000`, in UTC, as replies show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    pub created_at: String,
    pub updated_at: String,
}

/// By the path of the file.
pub(super) type Times = BTreeMap<String, Changed>;

impl Workspace {
    /// When the resource of this file was made and last changed; nothing for a file that is not deployed.
    pub fn changed(&self, path: &str) -> Option<Changed> {
        self.times.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    /// Notes what has changed among the deployed files. Those that came before times were kept came now.
    pub(super) async fn note_times(&self) -> Result<(), AppError> {
        let (id, now) = (self.id().to_owned(), words::now());
        let times = self.shared.store(move |store| store.note_times(&id, &now)).await?;
        let times = times
            .into_iter()
            .map(|SourceTimes { path, created_at, updated_at }| (path, Changed { created_at, updated_at }));
        *self.times.write().unwrap_or_else(PoisonError::into_inner) = times.collect();
        Ok(())
    }
}
