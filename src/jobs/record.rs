//! Jobs as they are kept. One that cannot be read is left out: it is history.

use super::{Job, JobKind, JobStatus, Subject, Taken};
use serde_json::{Value, json};

pub(super) fn print(job: &Job) -> String {
    json!({
        "id": job.id,
        "kind": job.kind.name(),
        "status": job.status.name(),
        "pipe": job.subject.pipe,
        "node": job.subject.node,
        "datasource": job.subject.datasource,
        "condition": job.subject.condition,
        "asked": job.subject.asked,
        "created_at": job.created_at,
        "updated_at": job.updated_at,
        "started_at": job.started_at,
        "error": job.error,
        "rows": job.rows,
        "taken": job.taken.map(|it| json!([it.quarantined, it.bytes, it.blocks.0, it.blocks.1])),
    })
    .to_string()
}

pub(super) fn parse(record: &str) -> Option<Job> {
    let record: Value = serde_json::from_str(record).ok()?;
    let text = |name: &str| record[name].as_str().map(str::to_owned);
    Some(Job {
        id: text("id")?,
        kind: JobKind::ALL.into_iter().find(|it| record["kind"] == it.name())?,
        status: JobStatus::ALL.into_iter().find(|it| record["status"] == it.name())?,
        subject: Subject {
            pipe: text("pipe"),
            node: text("node"),
            datasource: text("datasource"),
            condition: text("condition"),
            asked: record.get("asked").filter(|it| !it.is_null()).cloned(),
        },
        created_at: text("created_at")?,
        updated_at: text("updated_at")?,
        started_at: text("started_at"),
        error: text("error"),
        rows: record["rows"].as_u64(),
        taken: taken(&record["taken"]),
        is_firm: false,
    })
}

fn taken(record: &Value) -> Option<Taken> {
    let number = |at: usize| record.get(at)?.as_u64();
    Some(Taken { quarantined: number(0)?, bytes: number(1)?, blocks: (number(2)?, number(3)?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_comes_back() {
        let job = Job {
            id: "1".to_owned(),
            kind: JobKind::Copy,
            status: JobStatus::Error,
            subject: Subject {
                pipe: Some("p".to_owned()),
                asked: Some(json!({"copy": {"pipe": "p"}})),
                ..Subject::default()
            },
            created_at: "2026-01-31 12:00:00.000000".to_owned(),
            updated_at: "2026-01-31 12:00:01.000000".to_owned(),
            started_at: None,
            error: Some("no".to_owned()),
            rows: Some(3),
            taken: Some(Taken { quarantined: 1, bytes: 20, blocks: (1, 2) }),
            is_firm: false,
        };
        assert_eq!(parse(&print(&job)), Some(job));
        assert_eq!(parse("{}"), None);
    }
}
