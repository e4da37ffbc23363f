//! Secrets of a workspace: kept sealed in the store, handed to queries in memory, shown to nobody.

use super::{AppError, Workspace, whole, words};
use crate::store::{Secret, StoredSecret};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

/// Values by the names that templates use.
pub(super) type Values = Arc<BTreeMap<String, String>>;

/// What `tb_secret()` finds.
pub(super) fn values(secrets: &[StoredSecret]) -> Values {
    let bare = |name: &str| name.strip_prefix("tb_secret_").unwrap_or(name).to_owned();
    Arc::new(secrets.iter().map(|it| (bare(&it.name), it.value.reveal().to_owned())).collect())
}

const MAX_NAME: usize = 128;
const MAX_VALUE: usize = 64 << 10;

impl Workspace {
    /// Every secret, by name.
    pub async fn secrets(&self) -> Result<Vec<StoredSecret>, AppError> {
        let id = self.record.id.clone();
        self.shared.store(move |store| store.secrets(&id)).await
    }

    /// Makes a secret, or gives it another value; queries see it from now on.
    pub async fn set_secret(self: &Arc<Self>, name: &str, value: Secret) -> Result<StoredSecret, AppError> {
        let word = |it: char| it == '_' || it.is_ascii_alphanumeric();
        let named = name.starts_with(|it: char| it == '_' || it.is_ascii_alphabetic()) && name.chars().all(word);
        if !named || name.len() > MAX_NAME {
            let words = "the name of a secret is letters, digits and underscores, and begins with no digit";
            return Err(AppError::Invalid(words.to_owned()));
        }
        if value.reveal().is_empty() || value.reveal().len() > MAX_VALUE {
            return Err(AppError::Invalid(format!("a secret has a value of at most {MAX_VALUE} bytes")));
        }
        let (workspace, name) = (self.clone(), name.to_owned());
        whole(async move {
            let _changing = workspace.changing_tokens.lock().await;
            let now = words::now();
            let before = workspace.secrets().await?.into_iter().find(|it| it.name == name);
            let created_at = before.map_or_else(|| now.clone(), |it| it.created_at);
            let secret = StoredSecret { name, value, created_at, updated_at: now };
            let (id, saved) = (workspace.record.id.clone(), secret.clone());
            workspace.shared.store(move |store| store.put_secret(&id, &saved)).await?;
            workspace.reload_secrets().await?;
            Ok(secret)
        })
        .await
    }

    pub async fn delete_secret(self: &Arc<Self>, name: &str) -> Result<(), AppError> {
        let (workspace, name) = (self.clone(), name.to_owned());
        whole(async move {
            let _changing = workspace.changing_tokens.lock().await;
            if !workspace.secrets().await?.iter().any(|it| it.name == name) {
                return Err(AppError::NotFound { kind: "secret", name });
            }
            let id = workspace.record.id.clone();
            workspace.shared.store(move |store| store.delete_secret(&id, &name)).await?;
            workspace.reload_secrets().await
        })
        .await
    }

    async fn reload_secrets(&self) -> Result<(), AppError> {
        let values = values(&self.secrets().await?);
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = values;
        Ok(())
    }
}
