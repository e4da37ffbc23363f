//! Kafka connections of a workspace.

use super::{AppError, Workspace, whole, words};
use crate::{
    ingest::{
        kafka,
        suggest::{self, Suggested},
    },
    project::Project,
    store::{KafkaConnection, Secret},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

#[derive(Debug, Clone)]
pub struct NewConnection {
    pub name: String,
    pub bootstrap_servers: String,
    pub security_protocol: String,
    pub sasl_mechanism: String,
    pub key: Option<String>,
    pub secret: Option<Secret>,
    pub ssl_ca_pem: Option<String>,
    pub schema_registry_url: Option<Secret>,
    pub oauth_token_url: Option<String>,
    pub oauth_scope: Option<String>,
}

/// A look at a topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    pub messages: Vec<kafka::Seen>,
    pub columns: Vec<Suggested>,
}

/// How long brokers may take to show something: clients wait little longer.
const PATIENCE: Duration = Duration::from_secs(4);

impl Workspace {
    pub async fn connections(&self) -> Result<Vec<KafkaConnection>, AppError> {
        let id = self.record.id.clone();
        self.shared.store(move |store| store.kafka_connections(&id)).await
    }

    /// A connection by its id or name.
    pub async fn connection(&self, key: &str) -> Result<Option<KafkaConnection>, AppError> {
        Ok(self.connections().await?.into_iter().find(|it| it.id == key || it.name == key))
    }

    pub async fn create_connection(self: &Arc<Self>, new: NewConnection) -> Result<KafkaConnection, AppError> {
        let workspace = self.clone();
        whole(async move {
            let _changing = workspace.changing_connections.lock().await;
            if workspace.connection(&new.name).await?.is_some() {
                return Err(AppError::Exists { kind: "connection", name: new.name });
            }
            let connection = KafkaConnection {
                id: words::random_id(),
                name: new.name,
                bootstrap_servers: new.bootstrap_servers,
                security_protocol: new.security_protocol,
                sasl_mechanism: new.sasl_mechanism,
                key: new.key,
                secret: new.secret,
                ssl_ca_pem: new.ssl_ca_pem,
                schema_registry_url: new.schema_registry_url,
                oauth_token_url: new.oauth_token_url,
                oauth_scope: new.oauth_scope,
                created_at: words::now(),
            };
            settings(&connection)?;
            let (id, saved) = (workspace.record.id.clone(), connection.clone());
            workspace.shared.store(move |store| store.put_kafka_connection(&id, &saved)).await?;
            Ok(connection)
        })
        .await
    }

    async fn existing_connection(&self, key: &str) -> Result<KafkaConnection, AppError> {
        let connection = self.connection(key).await?;
        connection.ok_or_else(|| AppError::NotFound { kind: "connection", name: key.to_owned() })
    }

    /// A connection with other settings, under its name and id. What reads through it begins anew with them.
    pub async fn change_connection(
        self: &Arc<Self>,
        key: &str,
        change: impl FnOnce(KafkaConnection) -> KafkaConnection + Send + 'static,
    ) -> Result<KafkaConnection, AppError> {
        let (workspace, key) = (self.clone(), key.to_owned());
        whole(async move {
            let _deploying = workspace.deploying.lock().await;
            let _changing = workspace.changing_connections.lock().await;
            let connection = workspace.existing_connection(&key).await?;
            let changed = change(connection.clone());
            let changed = KafkaConnection {
                id: connection.id,
                name: connection.name,
                created_at: connection.created_at,
                ..changed
            };
            settings(&changed)?;
            let (id, saved) = (workspace.record.id.clone(), changed.clone());
            workspace.shared.store(move |store| store.put_kafka_connection(&id, &saved)).await?;
            workspace.start_consumers().await?;
            Ok(changed)
        })
        .await
    }

    /// A connection as a file, and the secrets that it names in the place of values: those never come out.
    pub async fn connection_file(&self, key: &str) -> Result<Option<(String, Vec<String>)>, AppError> {
        let project = self.project();
        let (name, settings) = match (self.connection(key).await?, project.connections.get(key)) {
            (Some(connection), _) => (connection.name.clone(), as_map(&connection)),
            (None, Some(file)) => (file.name.to_string(), file.settings.clone()),
            (None, None) => return Ok(None),
        };
        let mut text = "TYPE kafka\n".to_owned();
        let mut secrets = Vec::new();
        for (key, value) in &settings {
            let key = key.strip_prefix("kafka_").unwrap_or(key);
            let command = key.to_ascii_uppercase();
            if !SHOWN.contains(&key) {
                let secret = format!("{name}_{key}");
                text.push_str(&format!("KAFKA_{command} {{{{ tb_secret(\"{secret}\") }}}}\n"));
                secrets.push(secret);
            } else if value.contains('\n') {
                let lines: String = value.lines().map(|it| format!("    {it}\n")).collect();
                text.push_str(&format!("KAFKA_{command} >\n{lines}"));
            } else {
                text.push_str(&format!("KAFKA_{command} {value}\n"));
            }
        }
        Ok(Some((text, secrets)))
    }

    pub async fn delete_connection(self: &Arc<Self>, key: &str) -> Result<(), AppError> {
        let (workspace, key) = (self.clone(), key.to_owned());
        whole(async move {
            // A deploy must not find the connection and lose it before its consumers start.
            let _deploying = workspace.deploying.lock().await;
            let _changing = workspace.changing_connections.lock().await;
            let connection = workspace.existing_connection(&key).await?;
            let project = workspace.project();
            let used = |it: &crate::project::Datasource| {
                it.kafka.as_ref().is_some_and(|it| it.connection.as_str() == connection.name)
            };
            if let Some(datasource) = project.datasources.values().find(|it| used(it)) {
                let by = format!("the data source `{}`", datasource.name);
                return Err(AppError::InUse { kind: "connection", name: connection.name, by });
            }
            let id = workspace.record.id.clone();
            workspace.shared.store(move |store| store.delete_kafka_connection(&id, &connection.id)).await
        })
        .await
    }

    /// The topics that a connection's brokers have.
    pub async fn topics(&self, key: &str) -> Result<Vec<String>, AppError> {
        let settings = self.settings_of(key).await?;
        blocking(move || kafka::topics(&settings, PATIENCE)).await
    }

    /// The last messages of a topic, and columns that would take them.
    pub async fn preview(
        &self,
        key: &str,
        topic: String,
        group_id: Option<String>,
        most: usize,
    ) -> Result<Preview, AppError> {
        let settings = self.settings_of(key).await?;
        let messages = blocking(move || kafka::last_messages(&settings, &topic, group_id.as_deref(), most, PATIENCE));
        let messages = messages.await?;
        let columns = suggest::columns(messages.iter().filter_map(|it| it.value.as_deref()));
        Ok(Preview { messages, columns })
    }

    /// Of a connection by id or name, also one of the project's own files.
    async fn settings_of(&self, key: &str) -> Result<kafka::Settings, AppError> {
        if let Some(connection) = self.connection(key).await? {
            return Ok(settings(&connection)?);
        }
        let settings = self.connection_settings(&self.project()).await?.remove(key);
        Ok(settings.ok_or_else(|| AppError::NotFound { kind: "connection", name: key.to_owned() })??)
    }

    /// What consumers of a project connect with, by the connection's name: those that were created, then those
    /// of the project's own files.
    pub(super) async fn connection_settings(
        &self,
        project: &Project,
    ) -> Result<BTreeMap<String, Result<kafka::Settings, kafka::BadSettings>>, AppError> {
        let files = project.connections.values().filter(|it| it.kind.eq_ignore_ascii_case("kafka"));
        let mut res: BTreeMap<_, _> =
            files.map(|it| (it.name.to_string(), kafka::Settings::from_map(&it.settings))).collect();
        res.extend(self.connections().await?.iter().map(|it| (it.name.clone(), settings(it))));
        Ok(res)
    }
}

/// Asks brokers, which takes its time.
async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, kafka::BrokerError> + Send + 'static,
) -> Result<T, AppError> {
    let asked = tokio::task::spawn_blocking(ask).await.map_err(|_| AppError::Stopping)?;
    asked.map_err(|error| AppError::Invalid(error.to_string()))
}

/// Settings whose values hold no secrets. The query of an address may.
const SHOWN: &[&str] = &[
    "bootstrap_servers",
    "security_protocol",
    "sasl_mechanism",
    "sasl_mechanisms",
    "key",
    "ssl_ca_pem",
    "sasl_oauthbearer_method",
    "sasl_oauthbearer_scope",
];

fn settings(it: &KafkaConnection) -> Result<kafka::Settings, kafka::BadSettings> {
    kafka::Settings::from_map(&as_map(it))
}

fn as_map(it: &KafkaConnection) -> BTreeMap<String, String> {
    let mut map = BTreeMap::from([
        ("bootstrap_servers".to_owned(), it.bootstrap_servers.clone()),
        ("security_protocol".to_owned(), it.security_protocol.clone()),
        ("sasl_mechanism".to_owned(), it.sasl_mechanism.clone()),
    ]);
    let mut add = |key: &str, value: Option<&str>| map.extend(value.map(|it| (key.to_owned(), it.to_owned())));
    add("key", it.key.as_deref());
    add("secret", it.secret.as_ref().map(Secret::reveal));
    add("ssl_ca_pem", it.ssl_ca_pem.as_deref());
    add("schema_registry_url", it.schema_registry_url.as_ref().map(Secret::reveal));
    add("sasl_oauthbearer_token_url", it.oauth_token_url.as_deref());
    add("sasl_oauthbearer_scope", it.oauth_scope.as_deref());
    map
}
