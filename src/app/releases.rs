//! Which commit of a repository is deployed, as its users tell: clients push what has changed since.

use super::{AppError, Workspace, words};
use crate::store::StoredRelease;
use std::sync::PoisonError;

/// The version that the first commit is.
const FIRST: &str = "0.0.0";

/// The longest name of a commit or version, in bytes.
const LONGEST: usize = 100;

impl Workspace {
    pub fn release(&self) -> Option<StoredRelease> {
        self.release.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From here on this commit is the deployed one.
    pub async fn set_commit(&self, commit: &str) -> Result<StoredRelease, AppError> {
        let semver = self.release().map_or_else(|| FIRST.to_owned(), |it| it.semver);
        self.keep_release(StoredRelease { commit: checked(commit)?, semver, created_at: words::now() }).await
    }

    /// The release of this version is called by another.
    pub async fn rename_release(&self, semver: &str, renamed: &str) -> Result<StoredRelease, AppError> {
        let not_found = || AppError::NotFound { kind: "release", name: semver.to_owned() };
        let release = self.release().filter(|it| it.semver == semver).ok_or_else(not_found)?;
        self.keep_release(StoredRelease { semver: checked(renamed)?, ..release }).await
    }

    async fn keep_release(&self, release: StoredRelease) -> Result<StoredRelease, AppError> {
        let (id, kept) = (self.id().to_owned(), release.clone());
        self.shared.store(move |store| store.put_release(&id, &kept)).await?;
        *self.release.write().unwrap_or_else(PoisonError::into_inner) = Some(release.clone());
        Ok(release)
    }
}

fn checked(name: &str) -> Result<String, AppError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
    if name.is_empty() || name.len() > LONGEST || !name.chars().all(fits) {
        let words = format!("a commit or version has 1 to {LONGEST} letters, digits, `.`, `-`, `_` and `+`");
        return Err(AppError::Invalid(words));
    }
    Ok(name.to_owned())
}
