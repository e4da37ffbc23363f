//! Jobs that are cancelled and tried again, and copies that run by themselves.

use super::*;
use crate::engine::conformance;

const TARGET: &str =
    "SCHEMA >\n    `name` String,\n    `n` UInt64\n\nENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"name\"\n";

/// A copy pipe into `counts`.
fn copies(sql: &str, more: &str) -> String {
    format!("NODE n\nSQL >\n    {sql}\n\nTYPE copy\nTARGET_DATASOURCE counts\n{more}")
}

/// It never ends by itself.
const ENDLESS: &str = "SELECT 'endless' AS name, sum(number) AS n FROM numbers(1000000000000)";

async fn job(site: &Site, id: &str) -> Value {
    site.get(&format!("/v0/jobs/{id}"), ADMIN).await.json()
}

async fn until<T>(mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.expect("what is waited for comes")
}

async fn ended(site: &Site, id: &str, status: &str) -> Value {
    let is_end = |it: &Value| ["done", "error", "cancelled"].contains(&it["status"].as_str().unwrap());
    let job = until(async || Some(job(site, id).await).filter(is_end)).await;
    assert_eq!(job["status"], status, "{job}");
    job
}

async fn post(site: &Site, path: &str) -> Reply {
    reply(site.request(Method::POST, path).bearer_auth(ADMIN)).await
}

async fn rows(site: &Site, name: &str) -> u64 {
    let counted = site.sql(ADMIN, &format!("select count() as n from counts where name = '{name}'")).await;
    counted.json()["data"][0]["n"].as_u64().unwrap()
}

#[tokio::test]
async fn a_job_is_cancelled_while_it_runs_and_done_once_more() {
    let site = Site::start().await;
    let fails =
        copies("SELECT 'late' AS name, toUInt64(count() + throwIf(count() = 0, 'too early')) AS n FROM sales", "");
    // No other test's statement has this text.
    let endless = copies(&ENDLESS.replace("endless", "without end"), "");
    let mut files = SHOP.to_vec();
    files.extend([
        ("datasources/counts.datasource", TARGET),
        ("pipes/late.pipe", &fails),
        ("pipes/slow.pipe", &endless),
    ]);
    let deployed = site.deploy(&files, "").await;
    assert_eq!(deployed.json()["result"], "success", "{}", deployed.text);

    let begun = post(&site, "/v0/pipes/slow/copy").await.json();
    let id = begun["job"]["id"].as_str().unwrap().to_owned();
    until(async || (job(&site, &id).await["status"] == "working").then_some(())).await;
    assert_eq!(post(&site, &format!("/v0/jobs/{id}/retry")).await.status, 400);
    let cancelled = post(&site, &format!("/v0/jobs/{id}/cancel")).await;
    assert!(["cancelling", "cancelled"].contains(&cancelled.json()["status"].as_str().unwrap()), "{}", cancelled.text);
    ended(&site, &id, "cancelled").await;
    let retried = post(&site, &format!("/v0/jobs/{id}/retry")).await.json();
    let second = retried["id"].as_str().unwrap().to_owned();
    assert_ne!(second, id);
    until(async || (job(&site, &second).await["status"] == "working").then_some(())).await;
    assert_eq!(post(&site, "/v0/pipes/slow/copy/cancel").await.json()["jobs"][0]["id"], second.as_str());
    ended(&site, &second, "cancelled").await;
    assert!(post(&site, "/v0/pipes/slow/copy/cancel").await.error().contains("no copy"));
    // Their statements go as well.
    let engine = crate::engine::engine().await;
    until(async || (conformance::running(engine, "'without end'").await == 0).then_some(())).await;

    let begun = post(&site, "/v0/pipes/late/copy?_mode=replace").await.json();
    let id = begun["job"]["id"].as_str().unwrap().to_owned();
    let failed = ended(&site, &id, "error").await;
    assert!(failed["error"].as_str().unwrap().contains("too early"), "{failed}");
    assert_eq!(site.append("sales", "append", SALES).await.status, 200);
    let retried = post(&site, &format!("/v0/jobs/{id}/retry")).await.json();
    ended(&site, retried["id"].as_str().unwrap(), "done").await;
    assert_eq!(rows(&site, "late").await, 1);
    let again = post(&site, &format!("/v0/jobs/{}/retry", retried["id"].as_str().unwrap())).await;
    assert!(again.status == 400 && again.error().contains("failed or was cancelled"), "{}", again.text);
    let list = async |query: &str| {
        site.get(&format!("/v0/jobs?{query}"), ADMIN).await.json()["jobs"].as_array().unwrap().len()
    };
    assert_eq!((list("pipe_name=slow").await, list("pipe_name=late&status=done").await), (2, 1));
    assert_eq!((list("created_after=2000-01-01").await, list("created_before=2000-01-01T00:00:00Z").await), (4, 0));
    let wrong = site.get("/v0/jobs?created_after=yesterday", ADMIN).await;
    assert!(wrong.status == 400 && wrong.error().contains("`yesterday` is no time"), "{}", wrong.text);
    assert_eq!(post(&site, "/v0/jobs/none/retry").await.status, 404);
    let reader = site.token("reader", &["PIPES:READ:by_item"]).await;
    let denied = reply(site.request(Method::POST, &format!("/v0/jobs/{id}/retry")).bearer_auth(&reader)).await;
    assert_eq!(denied.status, 403);
    site.stop().await;
}

#[tokio::test]
async fn copies_run_by_themselves_one_at_a_time_until_they_are_paused() {
    // A minute of schedules is 50 ms.
    const SPEED: u32 = 1200;
    let site = Site::start().await;
    site.app.workspace().hurry_schedules(SPEED);
    let every = "COPY_SCHEDULE * * * * *\n";
    let files = [
        ("datasources/counts.datasource", TARGET.to_owned()),
        ("pipes/ticks.pipe", copies("SELECT 'tick' AS name, toUInt64(1) AS n", every)),
        ("pipes/tocks.pipe", copies("SELECT 'tock' AS name, toUInt64(1) AS n", every)),
        ("pipes/slow.pipe", copies(ENDLESS, every)),
        ("pipes/asked.pipe", copies("SELECT 'asked' AS name, toUInt64(1) AS n", "COPY_SCHEDULE @on-demand\n")),
    ];
    let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let deployed = site.deploy(&files, "").await;
    assert_eq!(deployed.json()["result"], "success", "{}", deployed.text);
    let schedule =
        async |site: &Site, pipe: &str| site.get(&format!("/v0/pipes/{pipe}"), ADMIN).await.json()["schedule"].clone();
    assert_eq!(schedule(&site, "ticks").await, json!({"cron": "* * * * *", "status": "running", "timezone": "UTC"}));
    assert_eq!(schedule(&site, "asked").await, Value::Null);
    let more = async |site: &Site, name: &str, count: u64| {
        let before = rows(site, name).await;
        until(async || (rows(site, name).await >= before + count).then_some(())).await;
    };
    more(&site, "tick", 3).await;
    // What never ends was begun once.
    let jobs = site.app.workspace().jobs();
    assert_eq!(jobs.iter().filter(|it| it.subject.pipe.as_deref() == Some("slow")).count(), 1);

    let paused = post(&site, "/v0/pipes/ticks/copy/pause").await;
    assert_eq!(paused.json()["schedule"]["status"], "paused", "{}", paused.text);
    assert_eq!(post(&site, "/v0/pipes/slow/copy/pause").await.status, 200);
    assert_eq!(post(&site, "/v0/pipes/slow/copy/cancel").await.status, 200);
    let quiet = async |site: &Site| {
        // One may have been under way.
        more(site, "tock", 1).await;
        let jobs = || site.app.workspace().jobs();
        let ticks = |it: &birdhouse::jobs::Job| it.subject.pipe.as_deref() == Some("ticks") && !it.status.is_end();
        until(async || (!jobs().iter().any(ticks)).then_some(())).await;
        let before = rows(site, "tick").await;
        more(site, "tock", 5).await;
        assert_eq!(rows(site, "tick").await, before);
    };
    quiet(&site).await;
    for (pipe, words) in [("asked", "has no schedule"), ("none", "there is no pipe `none`")] {
        let refused = post(&site, &format!("/v0/pipes/{pipe}/copy/pause")).await;
        assert!(refused.error().contains(words), "{}", refused.text);
    }
    assert_eq!(post(&site, "/v0/pipes/ticks/copy/now").await.status, 404);

    // As it was after a restart; one that was due meanwhile is not made up for.
    let site = Site::again(site.left().await).await;
    site.app.workspace().hurry_schedules(SPEED);
    assert_eq!(schedule(&site, "ticks").await["status"], "paused");
    quiet(&site).await;
    assert_eq!(post(&site, "/v0/pipes/ticks/copy/resume").await.json()["schedule"]["status"], "running");
    more(&site, "tick", 2).await;
    assert_eq!(rows(&site, "asked").await, 0);

    // Another schedule, none, and one that is none.
    let change = async |cron: &str| {
        let request = site.request(Method::PUT, "/v0/pipes/ticks/nodes/n/copy").bearer_auth(ADMIN);
        reply(request.form(&[("schedule_cron", cron)])).await
    };
    assert_eq!(change("0 0 1 1 *").await.json()["schedule"]["cron"], "0 0 1 1 *");
    quiet(&site).await;
    assert_eq!(change("None").await.json()["schedule"], Value::Null);
    let wrong = change("now and then").await;
    assert!(wrong.status == 400 && wrong.error().contains("schedule_cron"), "{}", wrong.text);
    site.stop().await;
}
