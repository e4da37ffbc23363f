//! `/v0/tokens`: static tokens, listed, made, changed and removed.
//!
//! Names of tokens are looked up by name, id or value. Values are shown to whoever may manage tokens; of one that is
//! stronger than what the caller could make nothing is told, as if it were not there.

use super::scopes::{self, ScopeWire};
use crate::{
    app::{AppError, NewToken},
    auth::{Access, Limits, Scope, ScopeKind, jwt::ScopeClaim},
    name::ResourceName,
    project::{Permission, TokenLine},
    query::{self, Audit},
    server::{
        error::{ApiError, Fault},
        extract::{Given, Name, Who},
        params::Fields,
    },
    store::StoredToken,
};
use axum::Json;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Serialize)]
pub(super) struct TokenList {
    tokens: Vec<TokenInfo>,
}

#[derive(Serialize)]
pub(super) struct TokenInfo {
    id: String,
    token: String,
    scopes: Vec<ScopeWire>,
    name: String,
    description: String,
    origin: Origin,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Limits>,
    created_at: String,
    updated_at: String,
}

#[derive(Serialize)]
struct Origin {
    #[serde(rename = "type")]
    kind: String,
}

/// What making a token answers, in this order.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Made {
    Static { token: String, scopes: Vec<ScopeWire>, name: String },
    Signed { token: String },
}

impl TokenInfo {
    fn of(stored: &StoredToken) -> TokenInfo {
        let token = &stored.token;
        TokenInfo {
            id: token.id.clone(),
            token: stored.value.reveal().to_owned(),
            scopes: scopes::wire(&token.scopes),
            name: token.name.clone(),
            description: token.description.clone(),
            origin: Origin { kind: token.origin.clone() },
            limits: (token.limits != Limits::default()).then_some(token.limits),
            created_at: stored.created_at.clone(),
            updated_at: stored.updated_at.clone(),
        }
    }
}

pub(super) async fn list(who: Who) -> Result<Json<TokenList>, ApiError> {
    manages_tokens(&who)?;
    let tokens = who.workspace.tokens();
    let shown = tokens.iter().filter(|it| who.access.may_give(&it.token.scopes));
    Ok(Json(TokenList { tokens: shown.map(|it| TokenInfo::of(it)).collect() }))
}

pub(super) async fn show(who: Who, Name(name): Name) -> Result<Json<TokenInfo>, ApiError> {
    manages_tokens(&who)?;
    let token = find(&who, &name)?;
    Ok(Json(TokenInfo::of(&token)))
}

pub(super) async fn create(who: Who, given: Given) -> Result<Json<Made>, ApiError> {
    manages_tokens(&who)?;
    let fields = given.fields()?;
    let name = fields.required("name")?;
    if let Some(expires) = fields.text("expiration_time") {
        return Ok(Json(Made::Signed { token: signed(&who, &fields, &name, &expires)? }));
    }
    let token = NewToken {
        name: name.clone(),
        description: fields.text("description").unwrap_or_default(),
        scopes: givable(&who, asked_scopes(&fields)?)?,
        limits: asked_limits(&fields)?.unwrap_or_default(),
        // A client that pushes files says that one of them asks for the token.
        origin: fields.text("origin").filter(|it| matches!(it.as_str(), "DS" | "P")),
    };
    let made = who.workspace.create_token(token).await.map_err(|error| match error {
        AppError::Exists { .. } => {
            let hint = format!("PUT /v0/tokens/{name} changes it");
            ApiError::from(Fault::Exists { what: "token", name, hint })
        }
        error => error.into(),
    })?;
    Ok(Json(Made::Static {
        token: made.value.reveal().to_owned(),
        scopes: scopes::wire(&made.token.scopes),
        name: made.token.name.clone(),
    }))
}

/// A token that carries its scopes itself, and is kept nowhere.
fn signed(who: &Who, fields: &Fields, name: &str, expires: &str) -> Result<String, ApiError> {
    let bad = |field, message: String| Fault::Bad { field, message };
    let expires =
        expires.parse().map_err(|_| bad("expiration_time", "it is a number of seconds since 1970".to_owned()))?;
    let scopes = fields.all("scopes").map(|it| serde_json::from_value(it.clone()));
    let scopes: Vec<ScopeClaim> = scopes.collect::<Result<_, _>>().map_err(|error| bad("scopes", error.to_string()))?;
    // What is no scope of such a token is refused in words where it is signed.
    let known = |it: &ScopeClaim| {
        ScopeKind::parse(&it.kind).and_then(|kind| Scope::new(kind, Some(&it.resource), it.filter.as_deref()).ok())
    };
    givable(who, scopes.iter().filter_map(known).collect())?;
    Ok(who.workspace.sign_jwt(name, expires, scopes, asked_limits(fields)?)?.reveal().to_owned())
}

/// Replaces the scopes of a token; without any, only the description and the limits.
pub(super) async fn change(who: Who, Name(name): Name, given: Given) -> Result<Json<TokenInfo>, ApiError> {
    manages_tokens(&who)?;
    let token = find(&who, &name)?;
    let fields = given.fields()?;
    let mut scopes = asked_scopes(&fields)?;
    if scopes.is_empty() {
        scopes = token.token.scopes.clone();
    }
    let scopes = givable(&who, scopes)?;
    let limits = asked_limits(&fields)?;
    // What narrows a token is lifted by who has the whole workspace.
    if limits.is_some() && !who.access.is_admin() {
        return Err(Fault::Forbidden.into());
    }
    let changed = who.workspace.change_token(&token.token.id, scopes, fields.text("description"), limits).await?;
    Ok(Json(TokenInfo::of(&changed)))
}

pub(super) async fn refresh(who: Who, Name(name): Name) -> Result<Json<TokenInfo>, ApiError> {
    manages_tokens(&who)?;
    let token = find(&who, &name)?;
    let refreshed = who.workspace.refresh_token(&token.token.id).await?;
    Ok(Json(TokenInfo::of(&refreshed)))
}

/// What the token can see in the project as it is now.
pub(super) async fn audit(who: Who, Name(name): Name) -> Result<Json<Audit>, ApiError> {
    manages_tokens(&who)?;
    let token = find(&who, &name)?;
    Ok(Json(query::audit(&who.workspace.project(), &Access::of(&token.token))))
}

pub(super) async fn remove(who: Who, Name(name): Name) -> Result<Json<Value>, ApiError> {
    manages_tokens(&who)?;
    let token = find(&who, &name)?;
    who.workspace.delete_token(&token.token.id).await?;
    Ok(Json(json!({ "ok": true })))
}

/// The TOKEN lines of a resource's file that clients have pushed as calls of this API: those of tokens that files have
/// made, for who manages tokens. What the file says itself is left out.
pub(super) fn lines(who: &Who, name: &ResourceName, words: &[(ScopeKind, Permission)], own: &[TokenLine]) -> String {
    let mut res = String::new();
    if !who.access.may_manage_tokens() {
        return res;
    }
    let fits = |it: &Arc<StoredToken>| matches!(it.token.origin.as_str(), "DS" | "P");
    let plain = |it: &str| !it.is_empty() && !it.contains(|c: char| c == '"' || c.is_control());
    for token in who.workspace.tokens().iter().filter(|it| fits(it) && plain(&it.token.name)) {
        let own = |it: Permission| own.iter().any(|line| line.token == token.token.name && line.permission == it);
        for (kind, permission) in words.iter().filter(|(_, it)| !own(*it)) {
            let scope = Scope { kind: *kind, resource: Some(name.to_string()), filter: None };
            if token.token.scopes.contains(&scope) {
                let word = if *permission == Permission::Read { "READ" } else { "APPEND" };
                res.push_str(&format!("TOKEN \"{}\" {word}\n", token.token.name));
            }
        }
    }
    res
}

fn manages_tokens(who: &Who) -> Result<(), Fault> {
    if who.access.may_manage_tokens() { Ok(()) } else { Err(Fault::Forbidden) }
}

/// Scopes that the caller may give to others.
fn givable(who: &Who, scopes: Vec<Scope>) -> Result<Vec<Scope>, Fault> {
    if who.access.may_give(&scopes) { Ok(scopes) } else { Err(Fault::Forbidden) }
}

/// A missing token is named only if the path cannot have been a token's value.
fn find(who: &Who, key: &str) -> Result<Arc<StoredToken>, Fault> {
    let token = who.workspace.token(key).filter(|it| who.access.may_give(&it.token.scopes));
    token.ok_or_else(|| Fault::NoSuch { what: "token", name: shown(key) })
}

fn shown(key: &str) -> String {
    if key.starts_with("p.") || key.len() > 64 { "…".to_owned() } else { key.to_owned() }
}

/// `limits` as an object, or as a text that is one.
fn asked_limits(fields: &Fields) -> Result<Option<Limits>, Fault> {
    let bad = |error: serde_json::Error| Fault::Bad { field: "limits", message: error.to_string() };
    let read = |value: &Value| match value {
        Value::String(text) => serde_json::from_str(text),
        value => serde_json::from_value(value.clone()),
    };
    fields.all("limits").next().map(read).transpose().map_err(bad)
}

/// `scope` once or often, and `scopes` as a JSON list of strings or objects; what stands twice counts once.
fn asked_scopes(fields: &Fields) -> Result<Vec<Scope>, Fault> {
    let mut res = Vec::new();
    for value in fields.all("scope").chain(fields.all("scopes")) {
        let scope = scopes::read(value)?;
        if !res.contains(&scope) {
            res.push(scope);
        }
    }
    Ok(res)
}
