//! What keys and values are written in, and the registry that knows their schemas.
//!
//! In: bytes that begin with a schema's number, and the registry's address. Out: JSON text. A registry that does
//! not answer is waited for; a number that it does not know makes a bad message.

use super::avro::AvroSchema;
use crate::project::ValueFormat;
use serde::Deserialize;
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Where schemas are asked for. Its address may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistryUrl(reqwest::Url);

/// How the messages of one consumer are read.
#[derive(Debug)]
pub(super) struct Formats {
    pub(super) key: ValueFormat,
    pub(super) value: ValueFormat,
    registry: Option<Registry>,
}

#[derive(Debug)]
struct Registry {
    url: RegistryUrl,
    http: reqwest::Client,
    runtime: tokio::runtime::Handle,
    /// By number: a schema, or why there is none. A schema never changes.
    known: Mutex<HashMap<u32, Known>>,
}

type Known = Result<Arc<Form>, String>;

#[derive(Debug)]
enum Form {
    Avro(AvroSchema),
    Json,
}

/// The registry cannot be asked now, in words.
pub(super) struct Unreachable(pub(super) String);

#[derive(Deserialize)]
struct Answer {
    schema: String,
    #[serde(rename = "schemaType")]
    kind: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

/// A schema that another one builds on.
#[derive(Clone, Deserialize)]
struct Reference {
    subject: String,
    version: u32,
}

enum Found {
    Yes(Answer),
    No,
    /// It is there and of no use: why, after its name.
    Unusable(&'static str),
}

enum Step {
    Ask(Reference),
    Take(String),
}

const PATIENCE: Duration = Duration::from_secs(5);
const LARGEST_ANSWER: usize = 8 << 20;
const MOST_REFERENCES: usize = 200;

impl RegistryUrl {
    pub fn parse(text: &str) -> Option<RegistryUrl> {
        let url = reqwest::Url::parse(text).ok()?;
        (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(RegistryUrl(url))
    }
}

impl fmt::Debug for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.host_str().unwrap_or_default())
    }
}

impl Formats {
    /// Must be called inside a tokio runtime.
    pub(super) fn new((key, value): (ValueFormat, ValueFormat), url: Option<&RegistryUrl>) -> Result<Formats, String> {
        let registry = url.map(Registry::new).transpose()?;
        if registry.is_none() && (key == ValueFormat::Avro || value == ValueFormat::Avro) {
            return Err("Avro wants KAFKA_SCHEMA_REGISTRY_URL in the connection".to_owned());
        }
        Ok(Formats { key, value, registry })
    }

    /// Asks for the schemas of messages that are not known yet. Blocks.
    pub(super) fn learn<'a>(
        &self,
        messages: impl Iterator<Item = (Option<&'a [u8]>, Option<&'a [u8]>)>,
    ) -> Result<(), Unreachable> {
        let Some(registry) = &self.registry else { return Ok(()) };
        let mut last = None;
        for (key, value) in messages {
            let key = key.filter(|_| self.key == ValueFormat::Avro);
            let value = value.filter(|_| self.value == ValueFormat::Avro);
            for number in [key, value].into_iter().flatten().filter_map(numbered).map(|(number, _)| number) {
                if last.replace(number) != Some(number) {
                    registry.learn(number)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn key<'a>(&self, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
        self.text(self.key, bytes).map_err(|error| format!("the key cannot be read: {error}"))
    }

    pub(super) fn value<'a>(&self, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
        self.text(self.value, bytes)
    }

    /// The bytes as text, by schemas that were learned.
    fn text<'a>(&self, format: ValueFormat, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
        match format {
            ValueFormat::Json => Ok(Cow::Borrowed(bytes)),
            ValueFormat::JsonWithSchema => {
                let (_, rest) = numbered(bytes).ok_or("no number of a schema stands before the JSON")?;
                Ok(Cow::Borrowed(rest))
            }
            ValueFormat::Avro => {
                let (number, rest) = numbered(bytes).ok_or("no number of a schema stands before the Avro")?;
                let registry = self.registry.as_ref().ok_or("there is no schema registry")?;
                let form = registry.known().get(&number).cloned();
                match &*form.unwrap_or_else(|| Err(format!("schema {number} is not known")))? {
                    Form::Avro(schema) => {
                        let json = schema.json(rest).map_err(|it| format!("not Avro of schema {number}: {it}"))?;
                        Ok(Cow::Owned(json.into_bytes()))
                    }
                    Form::Json => Ok(Cow::Borrowed(rest)),
                }
            }
        }
    }
}

/// Splits a message as registries number them: a zero, the schema's number, what is written in it.
fn numbered(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (head, rest) = bytes.split_at_checked(5)?;
    (head[0] == 0).then(|| (u32::from_be_bytes([head[1], head[2], head[3], head[4]]), rest))
}

impl Registry {
    fn new(url: &RegistryUrl) -> Result<Registry, String> {
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| error.to_string())?;
        let runtime = tokio::runtime::Handle::current();
        Ok(Registry { url: url.clone(), http, runtime, known: Mutex::default() })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, number: u32) -> Result<(), Unreachable> {
        if self.known().contains_key(&number) {
            return Ok(());
        }
        let found = self.runtime.block_on(self.ask(number))?;
        self.known().insert(number, found);
        Ok(())
    }

    async fn ask(&self, number: u32) -> Result<Known, Unreachable> {
        let answer = match self.get(&["schemas", "ids", &number.to_string()]).await? {
            Found::Yes(answer) => answer,
            Found::No => return Ok(Err(format!("the schema registry has no schema {number}"))),
            Found::Unusable(reason) => return Ok(Err(format!("schema {number} {reason}"))),
        };
        let form = match self.referenced(&answer).await? {
            Ok(others) => answer.form(&others),
            Err(reason) => Err(reason),
        };
        Ok(form.map(Arc::new).map_err(|error| format!("schema {number} cannot be used: {error}")))
    }

    /// The texts of all schemas that one builds on, each after those that it builds on itself.
    async fn referenced(&self, answer: &Answer) -> Result<Result<Vec<String>, String>, Unreachable> {
        let mut res = Vec::new();
        let mut met = HashSet::new();
        // The last is looked at first: a schema waits below the ones that it builds on.
        let mut todo: Vec<_> = answer.references.iter().rev().cloned().map(Step::Ask).collect();
        while let Some(step) = todo.pop() {
            let reference = match step {
                Step::Ask(reference) => reference,
                Step::Take(text) => {
                    res.push(text);
                    continue;
                }
            };
            let Reference { subject, version } = &reference;
            if !met.insert((subject.clone(), *version)) {
                continue;
            }
            if met.len() > MOST_REFERENCES {
                return Ok(Err(format!("it builds on more than {MOST_REFERENCES} others")));
            }
            match self.get(&["subjects", subject, "versions", &version.to_string()]).await? {
                Found::Yes(found) => {
                    todo.push(Step::Take(found.schema));
                    todo.extend(found.references.into_iter().rev().map(Step::Ask));
                }
                Found::No => {
                    return Ok(Err(format!("it builds on version {version} of `{subject}`, which is not there")));
                }
                Found::Unusable(reason) => return Ok(Err(format!("version {version} of `{subject}` {reason}"))),
            }
        }
        Ok(Ok(res))
    }

    async fn get(&self, path: &[&str]) -> Result<Found, Unreachable> {
        let mut url = self.url.0.clone();
        let (user, password) = (url.username().to_owned(), url.password().map(str::to_owned));
        _ = url.set_username("");
        _ = url.set_password(None);
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = self.http.get(url);
        if !user.is_empty() {
            let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
            request = request.basic_auth(decode(&user), password.as_deref().map(decode));
        }
        // The words of the client name the address, which is without its password here.
        let failed = |error: reqwest::Error| Unreachable(error.without_url().to_string());
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        if status == reqwest::StatusCode::NOT_FOUND {
            return Ok(Found::No);
        }
        if !status.is_success() {
            return Err(Unreachable(format!("it answers {status}")));
        }
        let bytes = answer.bytes().await.map_err(failed)?;
        if bytes.len() > LARGEST_ANSWER {
            return Ok(Found::Unusable("is too large"));
        }
        match serde_json::from_slice(&bytes) {
            Ok(answer) => Ok(Found::Yes(answer)),
            Err(_) => Err(Unreachable("its answer is no schema".to_owned())),
        }
    }
}

impl Answer {
    fn form(&self, others: &[String]) -> Result<Form, String> {
        match self.kind.as_deref().unwrap_or("AVRO") {
            "AVRO" => AvroSchema::parse(&self.schema, others).map(Form::Avro),
            "JSON" => Ok(Form::Json),
            other => Err(format!("it is of the kind {other}")),
        }
    }
}
