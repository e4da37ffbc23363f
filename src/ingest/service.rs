//! What happened becomes rows of the `tinybird.*` data sources, written in batches off the way of requests.
//!
//! In: [`Observation`]s of one workspace. Out: inserts. Who observes, and who reads the rows, is not known here.

use super::{
    Target, batch,
    decode::{Decoder, Schema},
};
use crate::{
    engine::{Engine, EngineErrorKind},
    name::{Namespace, ResourceName},
    observe::{Level, Observation, Sink},
    project::service,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

/// A row of a data source of the service, by the names of its columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Without its prefix.
    pub datasource: &'static str,
    pub values: Value,
}

/// Takes rows and writes them soon. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Message>,
    /// Rows that came faster than they could be written.
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Row(Row),
    Flush(oneshot::Sender<()>),
}

/// Rows that wait to be written; more are left out and counted, since no request may wait for them.
const WAITING: usize = 20_000;

/// Rows that are written at once, and how long the first of them waits for others.
const BATCH: usize = 5_000;
const BATCH_WITHIN: Duration = Duration::from_secs(2);

impl Recorder {
    /// Starts to write into the tables of a workspace. It ends with the last clone.
    pub fn start(engine: Engine, namespace: Namespace, sink: Sink) -> Recorder {
        let (sender, receiver) = mpsc::channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        tokio::spawn(Writer { engine, namespace, sink, lost: lost.clone() }.run(receiver));
        Recorder { sender, lost }
    }

    pub fn record(&self, row: Row) {
        if self.sender.try_send(Message::Row(row)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns when everything that was recorded before is written.
    pub async fn flush(&self) {
        let (written, done) = oneshot::channel();
        if self.sender.send(Message::Flush(written)).await.is_ok() {
            _ = done.await;
        }
    }
}

struct Writer {
    engine: Engine,
    namespace: Namespace,
    /// Of the app, not of the workspace: what is said of a failure here is no row again.
    sink: Sink,
    lost: Arc<AtomicU64>,
}

impl Writer {
    async fn run(self, mut messages: mpsc::Receiver<Message>) {
        while let Some(first) = messages.recv().await {
            let mut rows: BTreeMap<&'static str, Vec<Value>> = BTreeMap::new();
            let mut count = 0;
            let mut waiting = None;
            let until = Instant::now() + BATCH_WITHIN;
            let mut next = Some(first);
            while let Some(message) = next.take() {
                match message {
                    Message::Row(row) => {
                        rows.entry(row.datasource).or_default().push(row.values);
                        count += 1;
                    }
                    Message::Flush(written) => waiting = Some(written),
                }
                if waiting.is_none() && count < BATCH {
                    next = timeout_at(until, messages.recv()).await.ok().flatten();
                }
            }
            for (datasource, rows) in rows {
                self.write(datasource, &rows).await;
            }
            let lost = self.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                self.warn(format!("{lost} rows of the tinybird.* data sources came too fast and are left out"));
            }
            if let Some(written) = waiting {
                _ = written.send(());
            }
        }
    }

    async fn write(&self, datasource: &str, rows: &[Value]) {
        let name = ResourceName::service(datasource);
        let Some(datasource) = service().get(&name) else { return };
        let target = Target {
            datasource: datasource.clone(),
            table: self.namespace.table(&name),
            quarantine: self.namespace.table(&name.quarantine()),
        };
        let schema = match Schema::compile(&target.datasource) {
            Ok(schema) => Arc::new(schema),
            Err(error) => return self.warn(format!("{} rows of {name} are lost: {error}", rows.len())),
        };
        let mut decoder = Decoder::new(schema.clone());
        for row in rows {
            decoder.json(row.to_string().as_bytes(), || name.to_string());
        }
        let writer = batch::Writer::new(&self.engine, &target, &schema, &Sink::default());
        match writer.append(&decoder.finish(), None).await {
            Err(error) if error.kind == EngineErrorKind::Closed => {}
            Err(error) => self.warn(format!("{} rows of {name} are lost: {error}", rows.len())),
            Ok(_) => {}
        }
    }

    fn warn(&self, message: String) {
        self.sink.observe(Observation::Engine { level: Level::Warning, message });
    }
}

/// What a workspace knows that an observation does not say.
pub trait Facts {
    /// The id of a `datasource` or `pipe`.
    fn id_of(&self, kind: &str, name: &str) -> String;
    fn workspace(&self) -> &str;
    /// What its TAGS lines say.
    fn tags_of(&self, kind: &str, name: &str) -> Vec<String>;
    /// The version of what is deployed, where whoever deployed it gave one.
    fn release(&self) -> String;
}

/// The rows that say what was observed now.
pub fn rows(observation: &Observation, facts: &impl Facts, now: jiff::Timestamp) -> Vec<Row> {
    let ago = |elapsed: Duration| second(now.checked_sub(elapsed).unwrap_or(now));
    let operation = |kind: &str, datasource: &str, elapsed: Duration, more: Value| {
        let mut values = json!({
            "timestamp": second(now),
            "event_type": kind,
            "operation_id": id(),
            "datasource_id": facts.id_of("datasource", datasource),
            "datasource_name": datasource,
            "result": "ok",
            "elapsed_time": elapsed.as_secs_f64(),
            "request_id": "",
            "blocks_ids": [], "option_names": [], "option_values": [],
            "read_rows": 0, "read_bytes": 0, "written_rows": 0, "written_bytes": 0,
            "written_rows_quarantine": 0, "written_bytes_quarantine": 0,
            "pipe_id": "", "pipe_name": "", "release": facts.release(),
            "resource_tags": facts.tags_of("datasource", datasource),
        });
        merge(&mut values, more);
        Row { datasource: "datasources_ops_log", values }
    };
    match observation {
        Observation::Query { about_calls: true, .. } => vec![],
        Observation::Query { request_id, pipe, status, elapsed, rows_read, bytes_read, rows, error, call, .. } => {
            let pipe_name = pipe.as_deref().unwrap_or("query_api");
            let pipe_id = pipe.as_deref().map_or_else(|| pipe_name.to_owned(), |it| facts.id_of("pipe", it));
            let tags = pipe.as_deref().map(|it| facts.tags_of("pipe", it)).unwrap_or_default();
            let parameters: BTreeMap<_, _> = call.parameters.iter().map(|(name, value)| (name, value)).collect();
            let mut res = vec![Row {
                datasource: "pipe_stats_rt",
                values: json!({
                    "start_datetime": ago(*elapsed), "pipe_id": pipe_id, "pipe_name": pipe_name,
                    "duration": elapsed.as_secs_f64(), "read_bytes": bytes_read, "read_rows": rows_read,
                    "result_rows": rows, "url": call.url, "error": u8::from(*status >= 400 || error.is_some()),
                    "request_id": request_id, "token": call.token, "token_name": call.token_name,
                    "status_code": status, "method": call.method, "parameters": parameters,
                    "release": facts.release(), "user_agent": call.user_agent, "resource_tags": tags,
                    // The engine does not say how long its threads worked.
                    "cpu_time": 0,
                }),
            }];
            if let Some(error) = error {
                let params = serde_json::to_string(&parameters).unwrap_or_default();
                res.push(Row {
                    datasource: "endpoint_errors",
                    values: json!({
                        "start_datetime": ago(*elapsed), "request_id": request_id, "pipe_id": pipe_id,
                        "pipe_name": pipe_name, "params": params, "url": call.url, "status_code": status,
                        "error": error, "resource_tags": tags,
                    }),
                });
            }
            res
        }
        Observation::Inserted { datasource, rows, quarantined, elapsed, source } => {
            let kind = match *source {
                "events" => "append-hfi",
                "kafka" => "append-kafka",
                "replace" => "replace",
                _ => "append",
            };
            let block = id();
            let counts = json!({
                "rows": rows, "rows_quarantine": quarantined, "written_rows": rows,
                "written_rows_quarantine": quarantined, "blocks_ids": [block],
            });
            vec![
                operation(kind, datasource, *elapsed, counts),
                Row {
                    datasource: "block_log",
                    values: json!({
                        "timestamp": second(now), "import_id": block, "request_id": "", "source": source,
                        "block_id": block, "status": "done", "datasource_id": facts.id_of("datasource", datasource),
                        "datasource_name": datasource, "rows": rows, "processing_time": elapsed.as_secs_f64(),
                    }),
                },
            ]
        }
        Observation::InsertFailed { datasource, message, .. } => {
            let more = json!({ "result": "error", "error": message });
            vec![operation("append", datasource, Duration::ZERO, more)]
        }
        Observation::Audited { request_id, token_name, method, path, resource, status } => vec![Row {
            datasource: "audit_log",
            values: json!({
                "timestamp": second(now), "request_id": request_id, "token_name": token_name, "method": method,
                "path": path, "resource": resource, "status_code": status,
            }),
        }],
        Observation::Operation { kind, datasource, elapsed } => vec![operation(kind, datasource, *elapsed, json!({}))],
        Observation::Job(job) => {
            let pipe_id = job.pipe.as_deref().map_or_else(String::new, |it| facts.id_of("pipe", it));
            let metadata = json!({ "datasource": job.datasource, "rows": job.rows });
            let of_pipe = job.pipe.as_deref().map(|it| facts.tags_of("pipe", it));
            let of_datasource = || job.datasource.as_deref().map(|it| facts.tags_of("datasource", it));
            let tags = of_pipe.or_else(of_datasource).unwrap_or_default();
            let mut res = vec![Row {
                datasource: "jobs_log",
                values: json!({
                    "job_id": job.id, "job_type": job.kind, "workspace_id": facts.workspace(), "pipe_id": pipe_id,
                    "pipe_name": job.pipe.as_deref().unwrap_or_default(), "created_at": job.created_at,
                    "updated_at": job.updated_at, "started_at": job.started_at, "status": job.status,
                    "error": job.error, "job_metadata": metadata.to_string(), "resource_tags": tags,
                }),
            }];
            if let Some(datasource) = job.datasource.as_deref().filter(|_| job.is_end) {
                let more = json!({
                    "result": if job.status == "done" { "ok" } else { "error" }, "error": job.error, "job_id": job.id,
                    "rows": job.rows, "pipe_id": pipe_id, "pipe_name": job.pipe.as_deref().unwrap_or_default(),
                });
                res.push(operation(job.kind, datasource, job.elapsed, more));
            }
            res
        }
        Observation::Kafka { datasource, topic, partition, level, message } => vec![kafka_row(
            facts,
            now,
            (datasource, topic, partition.unwrap_or(-1)),
            json!({
                "msg": message,
                "msg_type": match level {
                    Level::Info => "info",
                    Level::Warning => "warning",
                    Level::Error => "error",
                },
            }),
        )],
        Observation::KafkaRead(it) => vec![kafka_row(
            facts,
            now,
            (&it.datasource, &it.topic, it.partition),
            json!({
                "lag": it.lag, "processed_messages": it.messages, "committed_messages": it.messages,
                "processed_bytes": it.bytes.min(i32::MAX as u64), "time_read": it.reading.as_secs_f64(),
                "time_process": it.decoding.as_secs_f64(), "time_write": it.inserting.as_secs_f64(),
            }),
        )],
        _ => vec![],
    }
}

/// What a consumer says of a data source, a topic and a partition.
fn kafka_row(facts: &impl Facts, now: jiff::Timestamp, of: (&str, &str, i32), more: Value) -> Row {
    let (datasource, topic, partition) = of;
    let mut values = json!({
        "timestamp": second(now), "datasource_id": facts.id_of("datasource", datasource), "topic": topic,
        "partition": partition, "msg_type": "info", "lag": 0, "processed_messages": 0, "processed_bytes": 0,
        "committed_messages": 0, "time_read": 0, "time_process": 0, "time_write": 0, "msg": "",
    });
    merge(&mut values, more);
    Row { datasource: "kafka_ops_log", values }
}

fn merge(values: &mut Value, more: Value) {
    if let (Some(values), Value::Object(more)) = (values.as_object_mut(), more) {
        values.extend(more);
    }
}

fn second(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn id() -> String {
    format!("{:032x}", rand::random::<u128>())
}
