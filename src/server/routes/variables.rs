//! `/v0/variables`: secrets, set and listed. Their values go in and never out.

use crate::{
    server::{
        error::{ApiError, Fault},
        extract::{Given, Name, Who},
        params::Fields,
    },
    store::{Secret, StoredSecret},
};
use axum::Json;
use serde::Serialize;
use serde_json::{Value, json};

#[derive(Serialize)]
pub(super) struct VariableWire {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    created_at: String,
    updated_at: String,
    edited_by: &'static str,
}

fn wire(it: &StoredSecret) -> VariableWire {
    VariableWire {
        name: it.name.clone(),
        kind: "secret",
        created_at: it.created_at.clone(),
        updated_at: it.updated_at.clone(),
        edited_by: "",
    }
}

pub(super) async fn list(who: Who) -> Result<Json<Value>, ApiError> {
    who.admin()?;
    let secrets = who.workspace.secrets().await?;
    Ok(Json(json!({ "variables": secrets.iter().map(wire).collect::<Vec<_>>() })))
}

pub(super) async fn show(who: Who, Name(name): Name) -> Result<Json<VariableWire>, ApiError> {
    who.admin()?;
    Ok(Json(wire(&find(&who, name).await?)))
}

pub(super) async fn create(who: Who, given: Given) -> Result<Json<VariableWire>, ApiError> {
    who.admin()?;
    let fields = given.fields()?;
    let kind = fields.text("type").unwrap_or_else(|| "secret".to_owned());
    if kind != "secret" {
        return Err(Fault::Bad { field: "type", message: format!("`{kind}` is not known: `secret` is") }.into());
    }
    let name = fields.required("name")?;
    set(&who, &name, &fields).await
}

pub(super) async fn change(who: Who, Name(name): Name, given: Given) -> Result<Json<VariableWire>, ApiError> {
    who.admin()?;
    let fields = given.fields()?;
    find(&who, name.clone()).await?;
    set(&who, &name, &fields).await
}

pub(super) async fn remove(who: Who, Name(name): Name) -> Result<Json<Value>, ApiError> {
    who.admin()?;
    who.workspace.delete_secret(&name).await?;
    Ok(Json(json!({ "ok": true })))
}

async fn set(who: &Who, name: &str, fields: &Fields) -> Result<Json<VariableWire>, ApiError> {
    let value = Secret::new(fields.required("value")?);
    Ok(Json(wire(&who.workspace.set_secret(name, value).await?)))
}

async fn find(who: &Who, name: String) -> Result<StoredSecret, ApiError> {
    let found = who.workspace.secrets().await?.into_iter().find(|it| it.name == name);
    Ok(found.ok_or(Fault::NoSuch { what: "secret", name })?)
}
