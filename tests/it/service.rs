//! The `tinybird.*` data sources: what happened in a workspace, read over HTTP, and by whom.

use crate::http::{ADMIN, Site, reply};
use reqwest::Method;
use serde_json::{Value, json};

/// The rows that an answer has.
async fn rows(site: &Site, token: &str, sql: &str) -> Vec<Value> {
    let reply = site.sql(token, sql).await;
    assert_eq!(reply.status, 200, "{sql}: {}", reply.text);
    reply.json()["data"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_a_row_at_once_and_holds_no_token() {
    let site = Site::with_shop().await;
    let caller = site.token("caller", &["PIPES:READ:by_item", "PIPES:READ:moods"]).await;
    let good = site.get(&format!("/v0/pipes/by_item.json?company=1&from=ui&token={caller}"), &caller).await;
    assert_eq!(good.status, 200, "{}", good.text);
    let form = site.form("/v0/pipes/by_item.json", &caller, &[("company", "2")]).await;
    assert_eq!(form.status, 200, "{}", form.text);
    assert_eq!(site.get("/v0/pipes/by_item.json?company=x", &caller).await.status, 400);
    assert_eq!(site.sql(ADMIN, "SELECT 1").await.status, 200);

    let kept = rows(
        &site,
        ADMIN,
        "SELECT pipe_name, method, url, parameters, error, status_code, token_name, result_rows, request_id \
         FROM tinybird.pipe_stats_rt WHERE pipe_name = 'by_item' ORDER BY status_code, method",
    )
    .await;
    assert_eq!(kept.len(), 3, "{kept:?}");
    assert_eq!(kept[0]["url"], "/v0/pipes/by_item.json?company=1&from=ui");
    assert_eq!(kept[0]["parameters"], json!({"company": "1", "from": "ui"}));
    assert_eq!(kept[0]["request_id"], good.header("x-request-id"));
    assert_eq!((&kept[0]["method"], &kept[0]["token_name"]), (&json!("GET"), &json!("caller")));
    assert_eq!((&kept[1]["method"], &kept[1]["parameters"]), (&json!("POST"), &json!({"company": "2"})));
    assert_eq!((&kept[2]["status_code"], &kept[2]["error"]), (&json!(400), &json!(1)));
    assert!(kept[0]["result_rows"].as_u64().unwrap() > 0);
    let all = site.sql(ADMIN, "SELECT * FROM tinybird.pipe_stats_rt FORMAT JSONEachRow").await;
    assert!(!all.text.contains(&caller) && !all.text.contains(ADMIN), "{}", all.text);

    // Questions about calls are not kept among them.
    let asked = rows(&site, ADMIN, "SELECT pipe_id FROM tinybird.pipe_stats_rt WHERE pipe_name = 'query_api'").await;
    assert_eq!(asked, [json!({"pipe_id": "query_api"})]);

    let failed = rows(&site, ADMIN, "SELECT pipe_name, status_code, error FROM tinybird.endpoint_errors").await;
    assert_eq!((failed.len(), &failed[0]["pipe_name"]), (1, &json!("by_item")));
    assert!(failed[0]["error"].as_str().unwrap().contains("company"), "{failed:?}");

    let by_day = rows(
        &site,
        ADMIN,
        "SELECT pipe_name, sum(view_count) AS views, sum(error_count) AS errors, \
         avgMerge(avg_duration_state) > 0 AS timed FROM tinybird.pipe_stats WHERE pipe_name = 'by_item' \
         GROUP BY pipe_name",
    )
    .await;
    assert_eq!(by_day, [json!({"pipe_name": "by_item", "views": 3, "errors": 1, "timed": 1})]);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_reads_what_happened() {
    let site = Site::with_shop().await;
    let seller = site.token("seller", &["DATASOURCES:READ:sales", "PIPES:READ:all_sales"]).await;
    assert_eq!(site.get("/v0/pipes/all_sales.json", &seller).await.status, 200);
    assert_eq!(site.get("/v0/pipes/all_sales.json", ADMIN).await.status, 200);
    let calls = "SELECT token_name FROM tinybird.pipe_stats_rt WHERE pipe_name = 'all_sales' ORDER BY token_name";
    for name in ["pipe_stats_rt", "pipe_stats", "jobs_log", "datasources_ops_log", "no_such_log"] {
        let reply = site.sql(&seller, &format!("SELECT count() FROM tinybird.{name}")).await;
        assert_eq!(reply.status, 403, "{name}: {}", reply.text);
    }
    // A name that is another's prefix, a system table and a quarantine that nobody has are no way in either.
    for name in
        ["tinybird.tables", "`tinybird.pipe_stats_rt`", "tinybird.pipe_stats_rt_quarantine", "TINYBIRD.jobs_log"]
    {
        let reply = site.sql(&seller, &format!("SELECT count() FROM {name}")).await;
        assert!(matches!(reply.status.as_u16(), 400 | 403), "{name}: {}", reply.text);
    }
    let watcher = site.token("watcher", &["DATASOURCES:READ:tinybird.pipe_stats_rt"]).await;
    assert_eq!(rows(&site, &watcher, calls).await.len(), 2);
    assert_eq!(site.sql(&watcher, "SELECT 1 FROM tinybird.jobs_log").await.status, 403);
    let own = site.token("own", &["DATASOURCES:READ:tinybird.pipe_stats_rt:token_name = 'seller'"]).await;
    assert_eq!(rows(&site, &own, calls).await, [json!({"token_name": "seller"})]);

    // Inside a pipe they are read like any other data source.
    let pipe = "NODE n\nSQL >\n    SELECT pipe_name, count() AS calls FROM tinybird.pipe_stats_rt \
                WHERE pipe_name = 'all_sales' GROUP BY pipe_name\n\nTYPE endpoint\n";
    let reply = site.deploy(&[("endpoints/usage.pipe", pipe)], "?partial=true").await;
    assert_eq!(reply.json()["result"], "success", "{}", reply.text);
    let reader = site.token("reader", &["PIPES:READ:usage"]).await;
    let reply = site.get("/v0/pipes/usage.json", &reader).await;
    assert_eq!(reply.json()["data"], json!([{"pipe_name": "all_sales", "calls": 2}]), "{}", reply.text);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_to_rows_and_by_jobs_is_kept() {
    let site = Site::with_shop().await;
    let events = site.request(Method::POST, "/v0/events?name=sales&wait=true").bearer_auth(ADMIN);
    let sent = reply(events.body("{\"company_id\":1,\"item\":\"e\",\"amount\":1}\nbroken\n")).await;
    assert_eq!(sent.status, 200, "{}", sent.text);
    let delete = [("delete_condition", "item = 'e'")];
    let job = site.form("/v0/datasources/sales/delete", ADMIN, &delete).await.json()["job_id"].clone();
    let path = format!("/v0/jobs/{}", job.as_str().unwrap());
    crate::kafka::until("the job has ended", async || site.get(&path, ADMIN).await.json()["status"] == "done").await;

    let done = rows(
        &site,
        ADMIN,
        "SELECT event_type, rows, rows_quarantine, result FROM tinybird.datasources_ops_log \
         WHERE datasource_name = 'sales' ORDER BY event_type",
    )
    .await;
    let kinds: Vec<_> = done.iter().map(|it| it["event_type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["append", "append-hfi", "create", "delete_data"]);
    assert_eq!((&done[0]["rows"], &done[1]["rows"], &done[1]["rows_quarantine"]), (&json!(4), &json!(1), &json!(1)));
    let jobs = rows(&site, ADMIN, "SELECT job_id, job_type, status, error FROM tinybird.jobs_log").await;
    assert_eq!(jobs, [json!({"job_id": job, "job_type": "delete_data", "status": "done", "error": null})]);
    let blocks = rows(&site, ADMIN, "SELECT sum(rows) AS rows FROM tinybird.block_log").await;
    assert_eq!(blocks[0]["rows"], 5);
    let again = reply(site.request(Method::POST, "/v1/datasources/sales/quarantine/replay").bearer_auth(ADMIN)).await;
    assert_eq!((again.status.as_u16(), &again.json()["quarantined"]), (200, &json!(1)), "{}", again.text);
    let replayed = "SELECT rows FROM tinybird.block_log WHERE source = 'quarantine'";
    assert_eq!(rows(&site, ADMIN, replayed).await, [json!({"rows": 0})]);
    let kept = async || {
        let sql = "SELECT rows FROM tinybird.datasources_storage WHERE datasource_name = 'sales'";
        !rows(&site, ADMIN, sql).await.is_empty()
    };
    crate::kafka::until("the storage is kept", kept).await;
    assert_eq!(rows(&site, ADMIN, "SELECT count() AS c FROM tinybird.kafka_ops_log").await, [json!({"c": 0})]);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_and_denials_are_kept() {
    let site = Site::with_shop().await;
    let seller = site.token("seller", &["DATASOURCES:READ:sales"]).await;
    assert_eq!(site.sql(&seller, "SELECT 1 FROM tinybird.audit_log").await.status, 403);
    // A stranger leaves no row.
    assert_eq!(site.get("/v0/datasources", "p.nobody").await.status, 403);
    assert_eq!(site.sql(ADMIN, "SELECT count() FROM sales").await.status, 200);
    let kept = rows(
        &site,
        ADMIN,
        "SELECT token_name, method, path, resource, status_code FROM tinybird.audit_log WHERE path != '/v1/deploy' \
         AND path != '/v0/datasources' ORDER BY path DESC FORMAT JSON",
    )
    .await;
    let made = json!({"token_name": "workspace admin token", "method": "POST", "path": "/v0/tokens",
        "resource": "seller", "status_code": 200});
    let denied =
        json!({"token_name": "seller", "method": "POST", "path": "/v0/sql", "resource": "", "status_code": 403});
    assert_eq!(kept, [made, denied]);
    let strangers = "SELECT count() AS c FROM tinybird.audit_log WHERE token_name = ''";
    assert_eq!(rows(&site, ADMIN, strangers).await, [json!({"c": 0})]);
    let all = site.sql(ADMIN, "SELECT * FROM tinybird.audit_log FORMAT JSONEachRow").await;
    assert!(!all.text.contains(&seller) && !all.text.contains(ADMIN), "{}", all.text);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_say_which_tags_and_which_release_they_are_of() {
    let site = Site::with_shop().await;
    let tagged = [
        (
            "datasources/eggs.datasource",
            "TAGS \"farm, daily\"\n\nSCHEMA >\n    `n` UInt64 `json:$.n`\n\nENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"n\"\n",
        ),
        ("endpoints/laid.pipe", "TAGS \"farm\"\n\nNODE n\nSQL >\n    SELECT count() AS n FROM eggs\n\nTYPE endpoint\n"),
    ];
    let deployed = site.deploy(&tagged, "?partial=true").await;
    assert_eq!(deployed.json()["result"], "success", "{}", deployed.text);
    assert_eq!(site.get("/v0/pipes/laid.json", ADMIN).await.status, 200);
    let workspace = site.app.workspace().name().to_owned();
    let released =
        site.form(&format!("/v0/workspaces/{workspace}/releases/?commit=abc123&force=true"), ADMIN, &[]).await;
    assert_eq!(released.status, 200, "{}", released.text);
    assert_eq!(site.get("/v0/pipes/laid.json?q=nonsense", ADMIN).await.status, 400);
    let sent = site.request(Method::POST, "/v0/events?name=eggs&wait=true").bearer_auth(ADMIN).body("{\"n\":1}");
    assert_eq!(sent.send().await.unwrap().status(), 200);

    let calls =
        "SELECT resource_tags, release FROM tinybird.pipe_stats_rt WHERE pipe_name = 'laid' ORDER BY status_code";
    let of = |release: &str| json!({"resource_tags": ["farm"], "release": release});
    assert_eq!(rows(&site, ADMIN, calls).await, [of(""), of("0.0.0")]);
    let done = "SELECT resource_tags, release FROM tinybird.datasources_ops_log WHERE datasource_name = 'eggs' AND \
                event_type = 'append-hfi'";
    let of_eggs = json!({"resource_tags": ["farm", "daily"], "release": "0.0.0"});
    assert_eq!(rows(&site, ADMIN, done).await, [of_eggs]);
    for name in ["pipe_stats WHERE pipe_name = 'laid'", "endpoint_errors"] {
        let tags = rows(&site, ADMIN, &format!("SELECT DISTINCT resource_tags AS tags FROM tinybird.{name}")).await;
        assert_eq!(tags, [json!({"tags": ["farm"]})], "{name}");
    }
    site.stop().await;
}
