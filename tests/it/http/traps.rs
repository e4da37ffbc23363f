//! The fifteen things about the API that clients fall over, each by its number in our list of what they need.

use super::*;

/// A view, a copy, an endpoint and their rows.
const FARM: &[(&str, &str)] = &[
    (
        "datasources/eggs.datasource",
        "DESCRIPTION >\n    Eggs\n\nSCHEMA >\n    `day` Date `json:$.day`,\n    `hen` String `json:$.hen` DEFAULT 'x',\n    \
         `grams` Int32 `json:$.grams`\n\nENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"hen\"\nENGINE_TTL \"day + toIntervalYear(90)\"\n\n\
         INDEXES >\n    by_grams grams TYPE minmax GRANULARITY 4\n",
    ),
    (
        "datasources/per_hen.datasource",
        "SCHEMA >\n    `hen` String,\n    `n` UInt64\n\nENGINE \"SummingMergeTree\"\nENGINE_SORTING_KEY \"hen\"\n",
    ),
    ("datasources/kept.datasource", "SCHEMA >\n    `hen` String\n\nENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"hen\"\n"),
    (
        "pipes/count_eggs.pipe",
        "NODE n\nSQL >\n    SELECT hen, count() AS n FROM eggs GROUP BY hen\n\nTYPE materialized\nDATASOURCE per_hen\n",
    ),
    ("pipes/keep.pipe", "NODE n\nSQL >\n    SELECT hen FROM eggs\n\nTYPE copy\nTARGET_DATASOURCE kept\n"),
    ("endpoints/heavy.pipe", "NODE n\nSQL >\n    SELECT count() AS n FROM eggs\n\nTYPE endpoint\n"),
];

async fn farm() -> Site {
    let site = Site::start().await;
    let reply = site.deploy(FARM, "").await;
    assert_eq!(reply.json()["result"], "success", "{}", reply.text);
    site
}

async fn call(site: &Site, method: Method, path: &str) -> Reply {
    reply(site.request(method, path).bearer_auth(ADMIN)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_1_text_is_text_plain_to_the_letter() {
    let site = farm().await;
    for path in [
        "/v0/datasources/eggs.datasource",
        "/v1/pipes/heavy.pipe",
        "/v0/pipes/heavy.pipe",
        "/examples/query.http?pipe=heavy",
        "/version",
        "/v0/sql?q=select%201%20format%20tsv",
    ] {
        assert_eq!(site.get(path, ADMIN).await.header("content-type"), "text/plain", "{path}");
    }
    assert!(site.get("/v0/sql?q=select%201%20format%20csv", ADMIN).await.header("content-type").contains("text/csv"));
    let lines = site.get("/v0/sql?q=select%201%20format%20jsoneachrow", ADMIN).await;
    assert!(lines.header("content-type").contains("ndjson"));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_2_errors_are_json_with_words_and_403_is_no() {
    let site = farm().await;
    for (path, status) in [
        ("/v0/sql?q=selec", 400),
        ("/v0/sql?q=select%20x", 400),
        ("/v0/pipes/none.json", 404),
        ("/nowhere", 404),
        ("/v0/datasources/none", 404),
    ] {
        let reply = site.get(path, ADMIN).await;
        assert_eq!(reply.status, status, "{path}");
        reply.error();
    }
    assert_eq!(site.get("/v0/workspace", "p.none").await.status, 403);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_3_what_is_absent_is_404() {
    let site = farm().await;
    for path in ["datasources", "pipes", "tokens", "variables", "environments", "jobs", "workspaces", "connectors"] {
        let reply = site.get(&format!("/v0/{path}/none"), ADMIN).await;
        assert_eq!(reply.status, 404, "{path}: {}", reply.text);
        reply.error();
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_4_a_forced_push_asks_for_past_requests_and_tries_a_checker() {
    let site = farm().await;
    assert_eq!(site.get("/v0/pipes/heavy.json", ADMIN).await.status, 200);
    let asked = site.sql(ADMIN, "select url, method, mapKeys(parameters) as p, error, status_code from tinybird.pipe_stats_rt where pipe_name = 'heavy' format JSON").await;
    assert_eq!(asked.json()["data"][0]["url"], "/v0/pipes/heavy.json", "{}", asked.text);
    // A checker's nodes are standard ones: nothing is written anywhere.
    let nodes = json!({"name": "count_eggs__checker", "nodes": [{"name": "n", "sql": "SELECT hen, count() AS n FROM eggs GROUP BY hen", "type": "standard"}]});
    let made = reply(site.request(Method::POST, "/v0/pipes?force=true").bearer_auth(ADMIN).json(&nodes)).await;
    assert_eq!(made.json()["type"], "default", "{}", made.text);
    let analysed = site
        .get("/v0/pipes/count_eggs__checker/nodes/n/analysis?dry_run=true&datasource=per_hen&engine=None", ADMIN)
        .await;
    assert!(analysed.json()["analysis"].is_object(), "{}", analysed.text);
    let gone = call(&site, Method::DELETE, "/v0/pipes/count_eggs__checker").await;
    assert_eq!((gone.status.as_u16(), gone.text.as_str()), (204, ""));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_5_scopes_have_filters_with_colons_and_may_repeat() {
    let site = farm().await;
    let scope = "scope=DATASOURCES:READ:eggs:hen%20!=%20'a:b'";
    let made = call(&site, Method::POST, &format!("/v0/tokens?name=t&{scope}&{scope}")).await.json();
    let expected = json!([{"type": "DATASOURCES:READ", "resource": "eggs", "filter": "hen != 'a:b'"}]);
    assert_eq!(made["scopes"], expected);
    let long = "scope=PIPES:READ:heavy&".repeat(200);
    let put = reply(site.request(Method::PUT, "/v0/tokens/t").bearer_auth(ADMIN).body(long)).await;
    assert_eq!(put.json()["scopes"].as_array().unwrap().len(), 1, "{}", put.text);
    assert!(put.json()["token"].is_string());
    let signed = site.request(Method::POST, "/v0/tokens?name=j&expiration_time=4102444800").bearer_auth(ADMIN);
    let signed = reply(signed.body(r#"{"scopes": [{"type": "PIPES:READ", "resource": "heavy"}]}"#)).await.json();
    assert_eq!(site.get("/v0/pipes/heavy.json", signed["token"].as_str().unwrap()).await.status, 200);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_6_jobs_have_their_ids_and_url_where_each_command_looks() {
    let site = farm().await;
    let populate = call(&site, Method::POST, "/v0/pipes/count_eggs/nodes/n/population?truncate=true").await;
    let copy = call(&site, Method::POST, "/v0/pipes/keep/copy").await;
    let branch = call(&site, Method::POST, "/v0/environments?name=dev&data=").await;
    let sql =
        reply(site.request(Method::POST, "/v0/sql_copy?copy_to=kept").bearer_auth(ADMIN).body("select hen from eggs"))
            .await;
    let delete = site.form("/v0/datasources/kept/delete", ADMIN, &[("delete_condition", "hen = 'a'")]).await;
    for (reply, at) in [(&populate, "/job"), (&copy, "/job"), (&branch, "/job"), (&sql, "/job"), (&delete, "")] {
        assert!(reply.status.is_success(), "{}", reply.text);
        let body = reply.json();
        let job = body.pointer(at).unwrap();
        let id = job["job_id"].as_str().unwrap();
        assert_eq!(job["id"], id);
        assert_eq!(job["job_url"], format!("http://{}/v0/jobs/{id}", site.address));
        let shown = site.get(&format!("/v0/jobs/{id}?debug=blocks,block_log"), ADMIN).await.json();
        for field in ["id", "job_id", "kind", "status", "created_at", "updated_at", "job_url"] {
            assert!(shown[field].is_string(), "{field}: {shown}");
        }
    }
    let target = copy.json()["tags"]["copy_target_datasource"].as_str().unwrap().to_owned();
    assert_eq!(site.get(&format!("/v0/datasources/{target}"), ADMIN).await.json()["name"], "kept");
    assert_eq!(site.get("/v0/jobs", ADMIN).await.json()["jobs"].as_array().unwrap().len(), 5);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_7_a_file_is_the_first_part_whatever_it_is_called() {
    let site = farm().await;
    let part = || multipart::Part::text("{\"day\":\"2026-01-01\",\"hen\":\"a\",\"grams\":60}\n").file_name("f");
    for name in ["csv", "ndjson", "file"] {
        let form = multipart::Form::new().part(name, part());
        let sent = site.request(Method::POST, "/v0/datasources?mode=append&name=eggs&format=ndjson");
        let reply = reply(sent.bearer_auth(ADMIN).multipart(form)).await.json();
        assert_eq!(reply["datasource"]["name"], "eggs", "{reply}");
        assert_eq!(reply["blocks"][0]["process_return"][0]["lines"], 1, "{reply}");
        assert_ne!(reply["blocks"][0]["process_return"][0]["parser"], "clickhouse");
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_8_events_are_lines_of_json_whatever_their_type_and_the_counters_are_numbers() {
    let site = farm().await;
    let good = "{\"day\":\"2026-01-01\",\"hen\":\"a\",\"grams\":60}";
    let body = format!("{good}\n{{\"day\":\"2026-01-01\",\"grams\":\"much\"}}\n{good}");
    let types = [
        None,
        Some("application/json"),
        Some("application/x-ndjson"),
        Some("text/plain;charset=UTF-8"),
        Some("application/x-www-form-urlencoded"),
    ];
    for kind in types {
        for (query, status) in [("", 202), ("&wait=false", 202), ("&wait=true", 200)] {
            let mut request = site.request(Method::POST, &format!("/v0/events?name=eggs{query}")).bearer_auth(ADMIN);
            if let Some(kind) = kind {
                request = request.header("content-type", kind);
            }
            let reply = reply(request.body(body.clone())).await;
            assert_eq!(reply.status, status, "{kind:?}{query}: {}", reply.text);
            assert_eq!(reply.json(), json!({"successful_rows": 2, "quarantined_rows": 1}), "{kind:?}{query}");
        }
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_9_an_administrator_lists_workspaces_with_tokens_that_work() {
    let site = farm().await;
    assert_eq!(call(&site, Method::POST, "/v1/workspaces?name=local").await.status, 200);
    let seen = site.get("/v1/user/workspaces?with_organization=true", ADMIN).await.json();
    let seen = seen["workspaces"].as_array().unwrap();
    assert_eq!(seen.len(), 2);
    for it in seen {
        let own = site.get("/v1/workspace", it["token"].as_str().unwrap()).await.json();
        assert_eq!((&own["id"], &own["name"]), (&it["id"], &it["name"]));
    }
    // What is not there is said in a way that a cleanup takes.
    let absent = call(&site, Method::DELETE, "/v1/workspaces/none?hard_delete_confirmation=yes").await;
    assert_eq!(absent.status, 404, "{}", absent.text);
    assert_eq!(call(&site, Method::DELETE, "/v1/workspaces/local?hard_delete_confirmation=yes").await.status, 200);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_10_a_deploy_replies_with_a_deployment_whatever_becomes_of_it() {
    let site = farm().await;
    let broken = [("pipes/keep.pipe", "NODE n\nSQL >\n    SELECT hen FROM nothing\n")];
    let fine = [("pipes/more.pipe", "NODE n\nSQL >\n    SELECT 1 AS a\n\nTYPE endpoint\n")];
    for (files, query, result) in
        [(FARM, "", "no_changes"), (&fine[..], "?partial=true", "success"), (&broken[..], "?partial=true", "failed")]
    {
        let reply = site.deploy(files, query).await;
        let body = reply.json();
        assert_eq!(body["result"], result, "{}", reply.text);
        assert!(body.get("error").is_none(), "{}", reply.text);
        let deployment = &body["deployment"];
        assert!(deployment["id"].as_str().unwrap().parse::<u64>().is_ok());
        assert_eq!(deployment["errors"].as_array().unwrap().is_empty(), result != "failed");
        assert!(deployment["feedback"].is_array() && deployment["new_pipe_names"].is_array());
        assert_eq!(deployment["live"], result != "failed");
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_11_times_have_six_digits_after_the_second() {
    let site = farm().await;
    call(&site, Method::POST, "/v0/pipes/keep/copy").await;
    for (path, list) in
        [("datasources", "datasources"), ("pipes", "pipes"), ("jobs", "jobs"), ("user/workspaces", "workspaces")]
    {
        let body = site.get(&format!("/v0/{path}"), ADMIN).await.json();
        for it in body[list].as_array().unwrap() {
            let at = it["created_at"].as_str().unwrap();
            assert_eq!((at.len(), &at[10..11], &at[19..20]), (26, " ", "."), "{path}: {at}");
            assert!(!at.starts_with("1970"), "{path}: {at}");
        }
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_12_no_region_is_listed() {
    let site = Site::start().await;
    assert_eq!(reply(site.request(Method::GET, "/v0/regions")).await.json(), json!({"regions": []}));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_13_schema_ttl_and_indexes_come_back_as_they_were_sent() {
    let site = Site::start().await;
    let schema = "`day` Date `json:$.day`,`hen` String `json:$.hen` DEFAULT 'x',`grams` Int32 `json:$.grams`";
    let fields = [
        ("name", "eggs"),
        ("description", "Eggs"),
        ("schema", schema),
        ("format", "ndjson"),
        ("engine", "MergeTree"),
        ("engine_sorting_key", "hen"),
        ("engine_ttl", "day + toIntervalYear(90)"),
        ("indexes", "by_grams grams TYPE minmax GRANULARITY 4"),
    ];
    let made = site.form("/v0/datasources", ADMIN, &fields).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let shown = site.get("/v0/datasources/eggs?attrs=", ADMIN).await.json();
    assert_eq!(shown["schema"]["sql_schema"].as_str().unwrap().replace(' ', ""), schema.replace(' ', ""));
    assert_eq!((&shown["engine"]["ttl"], &shown["description"]), (&json!("day + toIntervalYear(90)"), &json!("Eggs")));
    assert_eq!(
        shown["indexes"],
        json!([{"name": "by_grams", "expr": "grams", "type_full": "minmax", "granularity": "4"}])
    );
    for dry in ["true", "false"] {
        let alter = [("dry", dry), ("schema", schema), ("description", "Eggs"), ("ttl", "day + toIntervalYear(90)")];
        let nothing = site.form("/v0/datasources/eggs/alter", ADMIN, &alter).await;
        assert_eq!(nothing.status, 400);
        assert!(nothing.error().contains("There were no operations to perform"), "{}", nothing.text);
    }
    let schema = format!("{schema},`who` String `json:$.who`");
    let wider = [("dry", "true"), ("schema", schema.as_str())];
    let dry = site.form("/v0/datasources/eggs/alter", ADMIN, &wider).await;
    assert_eq!(dry.json()["operations"].as_array().unwrap().len(), 1, "{}", dry.text);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_14_short_forms_have_their_fields_and_no_others() {
    let site = farm().await;
    let keys = |it: &Value| {
        let mut keys: Vec<_> = it.as_object().unwrap().keys().cloned().collect();
        keys.sort_unstable();
        keys.join(" ")
    };
    let short = site.get("/v0/datasources?attrs=id,name,description,columns", ADMIN).await.json();
    for it in short["datasources"].as_array().unwrap() {
        assert_eq!(keys(it), "columns description engine id indexes name new_columns_detected quarantine_rows");
        assert_eq!(keys(&it["engine"]), "engine engine_partition_key engine_primary_key engine_sorting_key");
        assert_eq!(keys(&it["columns"][0]), "codec default_value jsonpath name normalized_name nullable type");
    }
    let pipes = site.get("/v0/pipes?attrs=id,name,description,type,endpoint", ADMIN).await.json();
    assert_eq!(keys(&pipes["pipes"][0]), "description endpoint id name type url");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_15_a_branch_is_seen_at_once_with_its_token_wherever_it_is_looked_for() {
    let site = farm().await;
    assert_eq!(site.get("/v0/environments/dev?with_token=true", ADMIN).await.status, 404);
    assert_eq!(call(&site, Method::POST, "/v1/environments?name=dev").await.status, 200);
    let by_name = site.get("/v0/environments/dev?with_token=true", ADMIN).await.json();
    let of_user = site.get("/v1/user/workspaces/?with_environments=true", ADMIN).await.json();
    let of_user = of_user["workspaces"].as_array().unwrap().iter().find(|it| it["is_branch"] == true).unwrap().clone();
    let listed = site.get("/v0/environments", ADMIN).await.json()["environments"][0].clone();
    assert_eq!((&by_name, &of_user), (&listed, &listed));
    let token = listed["token"].as_str().unwrap();
    assert_eq!(site.get("/v0/pipes/heavy.json", token).await.json()["data"], json!([{"n": 0}]));
    // A deploy with its token is one of the branch alone.
    let form = multipart::Form::new().percent_encode_noop().part(
        "data_project://",
        multipart::Part::text("NODE n\nSQL >\n    SELECT 1 AS a\n\nTYPE endpoint\n").file_name("new.pipe"),
    );
    let deployed =
        reply(site.request(Method::POST, "/v1/deploy?partial=true").bearer_auth(token).multipart(form)).await;
    assert_eq!(deployed.json()["result"], "success", "{}", deployed.text);
    assert_eq!(site.get("/v0/pipes/new.json", token).await.status, 200);
    assert_eq!(site.get("/v0/pipes/new.json", ADMIN).await.status, 404);
    let id = listed["id"].as_str().unwrap();
    assert_eq!(call(&site, Method::DELETE, &format!("/v0/environments/{id}")).await.status, 204);
    assert_eq!(site.get("/v0/pipes/new.json", token).await.status, 403);
    site.stop().await;
}
