//! `/v0/connectors`: Kafka connections. A secret goes in and never comes out.

use crate::{
    app::{NewConnection, Preview},
    ingest::suggest,
    server::{
        error::{ApiError, Fault},
        extract::{Given, Name, Who},
        params::Fields,
    },
    store::{KafkaConnection, Secret},
};
use axum::{
    Json,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};

/// How many messages are shown, unless told otherwise.
const MOST_RECORDS: usize = 12;

#[derive(Serialize)]
pub(super) struct ConnectorList {
    connectors: Vec<Connector>,
}

#[derive(Serialize)]
pub(super) struct Connector {
    id: String,
    service: &'static str,
    name: String,
    settings: Settings,
    linkers: Vec<Linker>,
    sinks: Vec<()>,
    created_at: String,
}

#[derive(Serialize)]
struct Settings {
    kafka_bootstrap_servers: String,
    kafka_security_protocol: String,
    kafka_sasl_mechanism: String,
    kafka_sasl_plain_username: Option<String>,
    /// That there is a certificate, not which.
    has_ssl_ca_pem: bool,
}

/// A data source that reads through the connection.
#[derive(Serialize)]
struct Linker {
    datasource_id: String,
    settings: LinkerSettings,
}

#[derive(Serialize)]
struct LinkerSettings {
    kafka_topic: String,
    kafka_group_id: String,
}

impl Connector {
    fn of(who: &Who, connection: &KafkaConnection) -> Connector {
        let project = who.workspace.project();
        let linkers = project.datasources.values().filter_map(|datasource| {
            let kafka = datasource.kafka.as_ref().filter(|it| it.connection.as_str() == connection.name)?;
            Some(Linker {
                datasource_id: who.id_of("datasource", datasource.name.as_str()),
                settings: LinkerSettings { kafka_topic: kafka.topic.clone(), kafka_group_id: kafka.group_id.clone() },
            })
        });
        Connector {
            id: connection.id.clone(),
            service: "kafka",
            name: connection.name.clone(),
            settings: Settings {
                kafka_bootstrap_servers: connection.bootstrap_servers.clone(),
                kafka_security_protocol: connection.security_protocol.clone(),
                kafka_sasl_mechanism: connection.sasl_mechanism.clone(),
                kafka_sasl_plain_username: connection.key.clone(),
                has_ssl_ca_pem: connection.ssl_ca_pem.is_some(),
            },
            linkers: linkers.collect(),
            sinks: vec![],
            created_at: connection.created_at.clone(),
        }
    }
}

pub(super) async fn list(who: Who, uri: Uri) -> Result<Json<ConnectorList>, ApiError> {
    who.admin()?;
    let service = Fields::of_query(uri.query()).text("service");
    let connections = match service.as_deref() {
        None | Some("" | "kafka") => who.workspace.connections().await?,
        Some(_) => vec![],
    };
    Ok(Json(ConnectorList { connectors: connections.iter().map(|it| Connector::of(&who, it)).collect() }))
}

pub(super) async fn create(who: Who, given: Given) -> Result<(StatusCode, Json<Connector>), ApiError> {
    who.admin()?;
    let fields = given.fields()?;
    let service = fields.text("service").unwrap_or_else(|| "kafka".to_owned());
    if service != "kafka" {
        let message = format!("connections to `{service}` are not known here: `kafka` is");
        return Err(Fault::Bad { field: "service", message }.into());
    }
    let text = |name: &str| fields.text(name).filter(|it| !it.trim().is_empty());
    let choice = |name: &str, otherwise: &str| text(name).unwrap_or_else(|| otherwise.to_owned()).to_ascii_uppercase();
    let connection = NewConnection {
        name: fields.required("name")?,
        bootstrap_servers: fields.required("kafka_bootstrap_servers")?,
        security_protocol: choice("kafka_security_protocol", "SASL_SSL"),
        sasl_mechanism: choice("kafka_sasl_mechanism", "PLAIN"),
        key: text("kafka_sasl_plain_username"),
        secret: text("kafka_sasl_plain_password").map(Secret::new),
        ssl_ca_pem: text("kafka_ssl_ca_pem"),
        schema_registry_url: text("kafka_schema_registry_url").map(Secret::new),
        oauth_token_url: text("kafka_sasl_oauthbearer_token_url"),
        oauth_scope: text("kafka_sasl_oauthbearer_scope"),
    };
    let made = who.workspace.create_connection(connection).await?;
    Ok((StatusCode::OK, Json(Connector::of(&who, &made))))
}

/// With `.connection` behind its name as a file, in which secrets are named and not said.
pub(super) async fn show(who: Who, Name(name): Name, uri: Uri) -> Result<Response, ApiError> {
    who.admin()?;
    let missing = |name: &str| Fault::NoSuch { what: "connection", name: name.to_owned() };
    if let Some(name) = name.strip_suffix(".connection") {
        let (content, secrets) = who.workspace.connection_file(name).await?.ok_or_else(|| missing(name))?;
        if !Fields::of_query(uri.query()).flag("include_metadata") {
            return Ok(([(header::CONTENT_TYPE, "text/plain")], content).into_response());
        }
        let warnings = secrets.iter().map(|secret| {
            let message = format!("set the secret {secret} before this file is pushed: its value is not told");
            json!({ "code": "secret", "message": message, "docs_url": null })
        });
        let reply = json!({ "content": content, "warnings": warnings.collect::<Vec<_>>() });
        return Ok(Json(reply).into_response());
    }
    let connection = who.workspace.connection(&name).await?.ok_or_else(|| missing(&name))?;
    Ok(Json(Connector::of(&who, &connection)).into_response())
}

/// What is given changes, the rest stays.
pub(super) async fn change(who: Who, Name(name): Name, given: Given) -> Result<Json<Connector>, ApiError> {
    who.admin()?;
    let fields = given.fields()?;
    let connection = who.workspace.connection(&name).await?;
    let connection = connection.ok_or(Fault::NoSuch { what: "connection", name })?;
    let text = move |name: &str| fields.given(name);
    if text("name").is_some_and(|it| it != connection.name) {
        return Err(Fault::Unsupported("a connection keeps its name: data sources read through it".to_owned()).into());
    }
    let changed = who.workspace.change_connection(&connection.id, move |it| KafkaConnection {
        bootstrap_servers: text("kafka_bootstrap_servers").unwrap_or(it.bootstrap_servers),
        security_protocol: text("kafka_security_protocol").map_or(it.security_protocol, |it| it.to_ascii_uppercase()),
        sasl_mechanism: text("kafka_sasl_mechanism").map_or(it.sasl_mechanism, |it| it.to_ascii_uppercase()),
        key: text("kafka_sasl_plain_username").or(it.key),
        secret: text("kafka_sasl_plain_password").map(Secret::new).or(it.secret),
        ssl_ca_pem: text("kafka_ssl_ca_pem").or(it.ssl_ca_pem),
        schema_registry_url: text("kafka_schema_registry_url").map(Secret::new).or(it.schema_registry_url),
        oauth_token_url: text("kafka_sasl_oauthbearer_token_url").or(it.oauth_token_url),
        oauth_scope: text("kafka_sasl_oauthbearer_scope").or(it.oauth_scope),
        ..it
    });
    Ok(Json(Connector::of(&who, &changed.await?)))
}

/// The topics that there are or, of one topic, the last messages and columns that would take them.
pub(super) async fn preview(who: Who, Name(name): Name, uri: Uri) -> Result<Json<Value>, ApiError> {
    who.admin()?;
    let fields = Fields::of_query(uri.query());
    let text = |name: &str| fields.text(name).filter(|it| !it.trim().is_empty());
    let Some(topic) = text("kafka_topic") else {
        let topics = who.workspace.topics(&name).await?;
        let topics: Vec<_> = topics.iter().map(|it| json!({ "topic": it })).collect();
        return Ok(Json(json!({ "preview": topics })));
    };
    let most = text("max_records").and_then(|it| it.parse().ok()).unwrap_or(MOST_RECORDS);
    let Preview { messages, columns } =
        who.workspace.preview(&name, topic.clone(), text("kafka_group_id"), most.clamp(1, 10 * MOST_RECORDS)).await?;
    let analysis = columns.iter().map(
        |it| json!({ "path": it.path, "name": it.name, "recommended_type": it.column_type, "present_pct": it.present }),
    );
    let text = |it: &Option<Vec<u8>>| it.as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
    let data = messages.iter().map(|it| {
        json!({
            "__value": text(&it.value), "__topic": topic, "__partition": it.partition, "__offset": it.offset,
            "__timestamp": it.timestamp / 1000, "__key": text(&it.key),
        })
    });
    let meta = [
        ("__value", "String"),
        ("__topic", "LowCardinality(String)"),
        ("__partition", "Int16"),
        ("__offset", "Int64"),
        ("__timestamp", "DateTime"),
        ("__key", "String"),
    ];
    Ok(Json(json!({
        "preview": [{
            "analysis": { "columns": analysis.collect::<Vec<_>>(), "schema": suggest::schema(&columns) },
            "deserialized": {
                "data": data.collect::<Vec<_>>(),
                "meta": meta.map(|(name, kind)| json!({ "name": name, "type": kind })),
            },
        }],
        "earliest": messages.first().map(|it| json!({ "timestamp": it.timestamp / 1000 })).into_iter().collect::<Vec<_>>(),
    })))
}

pub(super) async fn remove(who: Who, Name(name): Name) -> Result<StatusCode, ApiError> {
    who.admin()?;
    let connection = who.workspace.connection(&name).await?;
    let connection = connection.ok_or(Fault::NoSuch { what: "connection", name })?;
    let project = who.workspace.project();
    let user = project
        .datasources
        .values()
        .find(|datasource| datasource.kafka.as_ref().is_some_and(|kafka| kafka.connection.as_str() == connection.name));
    if let Some(datasource) = user {
        let message =
            format!("the data source `{}` reads through the connection `{}`", datasource.name, connection.name);
        return Err(Fault::Conflict(message).into());
    }
    who.workspace.delete_connection(&connection.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
