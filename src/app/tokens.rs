//! Tokens of a workspace: kept in the store, looked up in memory.

use super::{AppError, Workspace, whole, words};
use crate::{
    auth::{
        self, Access, Limits, Scope, ScopeKind, Token,
        jwt::{Claims, ScopeClaim},
    },
    store::{Secret, StoredToken, TokenLookup},
};
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
};

/// The name of the token that may do everything.
pub const ADMIN_TOKEN: &str = "workspace admin token";

#[derive(Debug, Clone, Default)]
pub struct NewToken {
    pub name: String,
    pub description: String,
    pub scopes: Vec<Scope>,
    pub limits: Limits,
    /// `C` by a call, which is what nothing means; `DS` or `P` by a datafile.
    pub origin: Option<String>,
}

/// Every token, and what its value opens. Made anew whenever a token changes, so that what is not in it is
/// nobody at once.
#[derive(Debug)]
pub(super) struct TokenTable {
    tokens: Vec<Arc<StoredToken>>,
    /// By the keyed hash of the value: how long a lookup takes tells nothing about a value.
    by_hash: HashMap<[u8; 32], (Access, Arc<StoredToken>)>,
}

impl TokenTable {
    pub(super) fn new(tokens: Vec<StoredToken>, lookup: &TokenLookup) -> TokenTable {
        let tokens: Vec<_> = tokens.into_iter().map(Arc::new).collect();
        let entry = |it: &Arc<StoredToken>| (lookup.hash(it.value.reveal()), (Access::of(&it.token), it.clone()));
        TokenTable { by_hash: tokens.iter().map(entry).collect(), tokens }
    }

    fn find(&self, key: &str, lookup: &TokenLookup) -> Option<Arc<StoredToken>> {
        let named = self.tokens.iter().find(|it| it.token.id == key || it.token.name == key);
        named.or_else(|| self.by_hash.get(&lookup.hash(key)).map(|(_, token)| token)).cloned()
    }
}

impl Workspace {
    /// What the token of this hash may do.
    pub(super) fn access(&self, hash: &[u8; 32]) -> Option<Access> {
        let table = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        table.by_hash.get(hash).map(|(access, _)| access.clone())
    }

    /// What a token that carries its own scopes may do. Its key is the admin token's value, so that a new one
    /// ends them all.
    pub(super) fn verify_jwt(&self, token: &str) -> Option<Access> {
        auth::jwt::verify(token, self.admin_token().reveal(), self.id(), words::seconds()).ok()
    }

    /// Signs a token that carries its scopes itself, as applications also do with the admin token.
    pub fn sign_jwt(
        &self,
        name: &str,
        expires: u64,
        scopes: Vec<ScopeClaim>,
        limits: Option<Limits>,
    ) -> Result<Secret, AppError> {
        if expires <= words::seconds() {
            return Err(AppError::Invalid("`expiration_time` has passed already".to_owned()));
        }
        let claims = Claims {
            workspace_id: self.id().to_owned(),
            name: name.to_owned(),
            exp: expires,
            nbf: None,
            scopes,
            limits,
        };
        auth::jwt::access(&claims).map_err(|error| AppError::Invalid(error.to_string()))?;
        Ok(Secret::new(auth::jwt::sign(&claims, self.admin_token().reveal())))
    }

    /// The value of the admin token, for whoever owns the data directory.
    pub fn admin_token(&self) -> Secret {
        self.token(ADMIN_TOKEN).map(|it| it.value.clone()).expect("the admin token can be neither deleted nor renamed")
    }

    /// Every token, in the order they were made.
    pub fn tokens(&self) -> Vec<Arc<StoredToken>> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).tokens.clone()
    }

    /// A token by its id, its name or its value.
    pub fn token(&self, key: &str) -> Option<Arc<StoredToken>> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).find(key, &self.shared.lookup)
    }

    pub async fn create_token(self: &Arc<Self>, new: NewToken) -> Result<Arc<StoredToken>, AppError> {
        let workspace = self.clone();
        whole(async move {
            let _changing = workspace.changing_tokens.lock().await;
            if new.name.trim().is_empty() {
                return Err(AppError::Invalid("a token needs a name".to_owned()));
            }
            if workspace.token_named(&new.name).is_some() {
                return Err(AppError::Exists { kind: "token", name: new.name });
            }
            let mut token = workspace.new_token(&new.name, auth::add_scopes(&[], new.scopes));
            token.token.description = new.description;
            token.token.limits = checked(new.limits)?;
            token.token.origin = new.origin.unwrap_or(token.token.origin);
            workspace.save_token(token).await
        })
        .await
    }

    /// Gives a token these scopes in place of those it has, and a description if there is one. A scope that is
    /// repeated without its filter keeps it, and so do limits: a PUT opens nothing by leaving something out.
    pub async fn change_token(
        self: &Arc<Self>,
        key: &str,
        scopes: Vec<Scope>,
        description: Option<String>,
        limits: Option<Limits>,
    ) -> Result<Arc<StoredToken>, AppError> {
        let (workspace, key) = (self.clone(), key.to_owned());
        whole(async move {
            let _changing = workspace.changing_tokens.lock().await;
            let mut token = workspace.changeable(&key)?;
            token.token.scopes = auth::merge_scopes(&token.token.scopes, scopes);
            token.token.description = description.unwrap_or(token.token.description);
            token.token.limits = checked(limits.unwrap_or(token.token.limits))?;
            token.updated_at = words::now();
            workspace.save_token(token).await
        })
        .await
    }

    /// A new value for a token; the old one is nobody's from now on.
    pub async fn refresh_token(self: &Arc<Self>, key: &str) -> Result<Arc<StoredToken>, AppError> {
        let (workspace, key) = (self.clone(), key.to_owned());
        whole(async move {
            let _changing = workspace.changing_tokens.lock().await;
            let mut token = StoredToken::clone(&*workspace.token(&key).ok_or_else(|| not_found(&key))?);
            token.value = workspace.new_value(&token.token.id);
            token.updated_at = words::now();
            workspace.save_token(token).await
        })
        .await
    }

    pub async fn delete_token(self: &Arc<Self>, key: &str) -> Result<(), AppError> {
        let (workspace, key) = (self.clone(), key.to_owned());
        whole(async move {
            let _changing = workspace.changing_tokens.lock().await;
            let token = workspace.changeable(&key)?;
            let id = workspace.record.id.clone();
            workspace.shared.store(move |store| store.delete_token(&id, &token.token.id)).await?;
            workspace.reload_tokens().await
        })
        .await
    }

    /// The tokens that TOKEN lines make or extend, as they will be. The caller holds `changing_tokens`.
    pub(super) fn granted<'a>(&self, grants: impl IntoIterator<Item = (&'a str, &'a Scope)>) -> Vec<StoredToken> {
        let mut res: Vec<StoredToken> = Vec::new();
        for (name, scope) in grants {
            let at = res.iter().position(|it| it.token.name == name).unwrap_or_else(|| {
                let token = match self.token_named(name) {
                    Some(token) => StoredToken::clone(&token),
                    None => {
                        let mut token = self.new_token(name, vec![]);
                        let origin = if scope.kind == ScopeKind::PipesRead { "P" } else { "DS" };
                        token.token.origin = origin.to_owned();
                        token
                    }
                };
                res.push(token);
                res.len() - 1
            });
            let token = &mut res[at];
            token.token.scopes = auth::add_scopes(&token.token.scopes, vec![scope.clone()]);
            token.updated_at = words::now();
        }
        res
    }

    /// Reads the tokens from the store again.
    pub(super) async fn reload_tokens(&self) -> Result<(), AppError> {
        let id = self.record.id.clone();
        let tokens = self.shared.store(move |store| store.tokens(&id)).await?;
        let table = TokenTable::new(tokens, &self.shared.lookup);
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = table;
        Ok(())
    }

    /// Makes the admin token at the first start, and gives it a value if one is wanted.
    pub(super) async fn ensure_admin_token(&self, wanted: Option<Secret>) -> Result<(), AppError> {
        let mut token = match (self.token_named(ADMIN_TOKEN), &wanted) {
            (Some(token), Some(wanted)) if token.value != *wanted => StoredToken::clone(&token),
            (Some(_), _) => return Ok(()),
            (None, _) => {
                let scope = Scope { kind: ScopeKind::Admin, resource: None, filter: None };
                self.new_token(ADMIN_TOKEN, vec![scope])
            }
        };
        token.value = wanted.unwrap_or(token.value);
        self.save_token(token).await?;
        Ok(())
    }

    async fn save_token(&self, token: StoredToken) -> Result<Arc<StoredToken>, AppError> {
        let id = self.record.id.clone();
        let saved = token.clone();
        self.shared.store(move |store| store.put_token(&id, &saved)).await?;
        self.reload_tokens().await?;
        Ok(Arc::new(token))
    }

    fn changeable(&self, key: &str) -> Result<StoredToken, AppError> {
        let token = self.token(key).ok_or_else(|| not_found(key))?;
        if token.token.name == ADMIN_TOKEN {
            let words = "the admin token can be neither changed nor deleted, only refreshed";
            return Err(AppError::Invalid(words.to_owned()));
        }
        Ok(StoredToken::clone(&token))
    }

    fn token_named(&self, name: &str) -> Option<Arc<StoredToken>> {
        self.tokens().into_iter().find(|it| it.token.name == name)
    }

    fn new_token(&self, name: &str, scopes: Vec<Scope>) -> StoredToken {
        let id = words::random_id();
        let now = words::now();
        StoredToken {
            value: self.new_value(&id),
            token: Token {
                id,
                name: name.to_owned(),
                description: String::new(),
                origin: "C".to_owned(),
                scopes,
                limits: Limits::default(),
            },
            created_at: now.clone(),
            updated_at: now,
        }
    }

    /// `p.ey..`: the form that clients know a token by and mask. What makes it hard to guess is its last part.
    fn new_value(&self, id: &str) -> Secret {
        let content = serde_json::json!({ "u": self.record.id, "id": id, "host": null }).to_string();
        Secret::new(auth::token_value(&content, rand::random()))
    }
}

fn checked(limits: Limits) -> Result<Limits, AppError> {
    match limits.without_effect() {
        Some(name) => Err(AppError::Invalid(format!("`limits.{name}` is at least 1"))),
        None => Ok(limits),
    }
}

fn not_found(key: &str) -> AppError {
    // The key may be a token's value, which no error repeats.
    let name = if key.starts_with("p.ey") { "p.ey…" } else { key };
    AppError::NotFound { kind: "token", name: name.to_owned() }
}
