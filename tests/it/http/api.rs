//! The smaller API families: who a token is, what a text reads, when a resource changed, Prometheus.

use super::*;

#[tokio::test]
async fn a_token_is_told_who_it_is_and_no_more() {
    let site = Site::with_shop().await;
    assert_eq!(site.get("/v0/auth", ADMIN).await.json(), json!({"is_valid": true, "is_user": true}));
    let token = site.token("reader", &["PIPES:READ:by_item"]).await;
    assert_eq!(site.get("/v0/auth", &token).await.json(), json!({"is_valid": true, "is_user": false}));
    for path in ["/v0/user/workspaces/?with_environments=true", "/v1/user/workspaces/?with_organization=true"] {
        let mine = site.get(path, ADMIN).await.json();
        assert_eq!((&mine["workspaces"][0]["id"], &mine["workspaces"][0]["token"]), (&mine["id"], &json!(ADMIN)));
        let others = site.get(path, &token).await;
        assert_eq!(others.json()["workspaces"][0].get("token"), None, "{}", others.text);
        assert!(!others.text.contains(ADMIN));
    }
    let branches = site.get("/v0/user/workspaces/?only_environments=true", ADMIN).await;
    assert_eq!(branches.json()["workspaces"], json!([]));
    // A branch that is not there is 404: clients then make it.
    assert_eq!(site.get("/v0/environments/nothing?with_token=true", ADMIN).await.status, 404);
    let name = site.get("/v0/workspace", ADMIN).await.json()["name"].as_str().unwrap().to_owned();
    assert_eq!(site.get(&format!("/v0/workspaces/{name}"), ADMIN).await.json()["name"], name);
    assert_eq!(site.get("/v0/workspaces/nothing", ADMIN).await.status, 404);
    site.stop().await;
}

#[tokio::test]
async fn the_regions_and_the_version_need_no_token() {
    let site = Site::start().await;
    let regions = reply(site.request(Method::GET, "/v0/regions")).await;
    assert_eq!(regions.json(), json!({"regions": []}));
    let version = reply(site.request(Method::GET, "/version")).await;
    assert_eq!((version.header("content-type"), version.text.as_str()), ("text/plain", env!("CARGO_PKG_VERSION")));
    site.stop().await;
}

#[tokio::test]
async fn texts_are_read_and_printed() {
    let site = Site::with_shop().await;
    let q = "select * from sales s join (select 1 as x) t on 1 where item in other and 1 in sales format JSON";
    let tables = site.form("/v0/sql_tables", ADMIN, &[("q", q)]).await.json();
    assert_eq!(tables, json!({"tables": [["", "sales"], ["", "other"]]}));
    assert_eq!(site.form("/v0/sql_tables", ADMIN, &[("q", "select ((")]).await.json(), json!({"tables": []}));
    assert_eq!(site.form("/v0/sql_tables", ADMIN, &[("q", "drop table x"), ("raising", "true")]).await.status, 400);
    let printed = site.get("/v0/sql_format?q=select%201,%20'a''b'", ADMIN).await.json();
    assert_eq!(printed, json!({"q": "SELECT\n    1,\n    'a\\'b'"}));
    let kept = site.get("/v0/sql_format?q=no%20sql%20at%20all", ADMIN).await.json();
    assert_eq!(kept, json!({"q": "no sql at all"}));
    site.get("/v0/sql_format", ADMIN).await.error();
    site.stop().await;
}

#[tokio::test]
async fn what_reads_a_data_source_is_told_to_those_who_may_read_it() {
    let site = Site::with_shop().await;
    let all = site.get("/v0/dependencies", ADMIN).await.json();
    assert_eq!(all["dependencies"], json!({"sales": ["all_sales", "by_item"]}));
    let one = site.get("/v0/dependencies?pipe=by_item", ADMIN).await.json();
    assert_eq!(one["dependencies"], json!({"sales": ["by_item"]}));
    let none = site.get("/v0/dependencies?datasource=nothing", ADMIN).await.json();
    assert_eq!(none["dependencies"], json!({}));
    let token = site.token("reader", &["PIPES:READ:by_item", "DATASOURCES:READ:sales"]).await;
    let some = site.get("/v0/dependencies", &token).await.json();
    assert_eq!(some["dependencies"], json!({"sales": ["by_item"]}));
    let explained = site.get("/v0/pipes/by_item/explain", &token).await.json();
    assert_eq!(explained["nodes"][0]["datasources"], json!(["sales"]));
    assert_eq!(site.get("/v0/pipes/all_sales/explain", &token).await.status, 403);
    site.stop().await;
}

#[tokio::test]
async fn an_example_is_a_url_that_answers() {
    let site = Site::with_shop().await;
    let example = site.get(&format!("/examples/query.http?pipe=by_item&format=ndjson&token={ADMIN}"), ADMIN).await;
    assert_eq!(example.header("content-type"), "text/plain");
    let path = example.text.strip_prefix("http://localhost:8001").unwrap();
    let answer = reply(site.request(Method::GET, path)).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    assert!(answer.text.contains("mug, blue"), "{}", answer.text);
    let sql = site.get("/examples/query.http?q=select%201%20%2B%201%20format%20CSV", ADMIN).await;
    let answer = site.get(sql.text.strip_prefix("http://localhost:8001").unwrap(), ADMIN).await;
    assert_eq!(answer.text, "2\n");
    assert_eq!(site.get("/examples/query.http?pipe=nothing", ADMIN).await.status, 404);
    assert_eq!(site.get("/examples/query.http?pipe=by_item&format=a%26b", ADMIN).await.status, 400);
    site.stop().await;
}

#[tokio::test]
async fn a_file_comes_by_its_ending_or_as_a_format() {
    let site = Site::with_shop().await;
    for (path, kind) in [("/v0/pipes/by_item", "pipe"), ("/v0/datasources/sales", "datasource")] {
        let by_ending = site.get(&format!("{path}.{kind}"), ADMIN).await;
        let by_format = site.get(&format!("{path}?format={kind}"), ADMIN).await;
        assert_eq!((by_format.header("content-type"), &by_format.text), ("text/plain", &by_ending.text));
        assert!(by_ending.text.contains("company_id"), "{}", by_ending.text);
    }
    let reader = site.token("reader", &["PIPES:READ:all_sales"]).await;
    assert_eq!(site.get("/v0/pipes/by_item?format=pipe", &reader).await.status, 403);
    site.stop().await;
}

#[tokio::test]
async fn what_is_not_here_says_why() {
    let site = Site::start().await;
    for (path, words) in [
        ("/v1/deployments", "no deployments"),
        ("/v1/deployments/1/set-live", "no deployments"),
        ("/v1/build", "`birdhouse check`"),
        ("/tokens", "to nobody who asks"),
        ("/v0/integrations/s3/settings", "Kafka"),
        ("/v1/deploymentsx", "there is no such route"),
    ] {
        let refused = site.get(path, "").await;
        assert!(refused.status == 404 && refused.error().contains(words), "{path}: {}", refused.text);
    }
    site.stop().await;
}

#[tokio::test]
async fn resources_know_when_they_were_made_and_changed() {
    let site = Site::with_shop().await;
    let times = async |path: &str| {
        let wire = site.get(path, ADMIN).await.json();
        ["created_at", "updated_at"].map(|it| wire[it].as_str().unwrap().to_owned())
    };
    let [made, changed] = times("/v0/pipes/all_sales").await;
    assert_eq!((made.len(), &made), ("2026-01-31 12:00:00.000000".len(), &changed));
    assert!(!made.starts_with("1970"), "{made}");
    let source = times("/v0/datasources/sales").await;
    let mut files = SHOP.to_vec();
    files[2].1 = "NODE sold\nSQL >\n    SELECT item FROM sales ORDER BY item\n\nTYPE endpoint\n";
    assert_eq!(files[2].0, "endpoints/all_sales.pipe");
    assert_eq!(site.deploy(&files, "").await.json()["result"], "success");
    let [still_made, later] = times("/v0/pipes/all_sales").await;
    assert_eq!(still_made, made);
    assert!(later > changed, "{later} {changed}");
    assert_eq!(times("/v0/datasources/sales").await, source);
    site.stop().await;
}

#[tokio::test]
async fn metrics_are_written_for_prometheus() {
    let site = Site::start().await;
    let pipe = "NODE n\nSQL >\n    SELECT 'birds_seen' AS name, toFloat64(3) AS value, 'gauge' AS type, \
                'Birds' AS help\n\nTYPE endpoint\n";
    let wrong = "NODE n\nSQL >\n    SELECT 1 AS other\n\nTYPE endpoint\n";
    site.deploy(&[("endpoints/birds.pipe", pipe), ("endpoints/wrong.pipe", wrong)], "").await;
    let reply = site.get("/v0/pipes/birds.prometheus", ADMIN).await;
    assert_eq!(reply.header("content-type"), "text/plain");
    assert_eq!(reply.text.trim(), "# HELP birds_seen Birds\n# TYPE birds_seen gauge\nbirds_seen 3");
    let reply = site.get("/v0/pipes/wrong.prometheus", ADMIN).await;
    assert_eq!(reply.status, 400);
    assert!(reply.error().contains("name"), "{}", reply.text);
    site.stop().await;
}

#[tokio::test]
async fn tags_are_those_of_the_files() {
    let site = Site::start().await;
    let pipe = "TAGS \"birds, daily\"\n\nNODE n\nSQL >\n    SELECT 1 AS a\n\nTYPE endpoint\n";
    let reply = site.deploy(&[("endpoints/one.pipe", pipe)], "").await;
    assert_eq!(reply.json()["result"], "success", "{}", reply.text);
    let tags = site.get("/v0/tags", ADMIN).await.json();
    let names: Vec<_> = tags["tags"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["birds", "daily"]);
    assert_eq!(tags["tags"][0]["resources"][0]["name"], "one");
    assert_eq!(site.form("/v0/tags", ADMIN, &[("name", "x,y")]).await.status, 400);
    site.stop().await;
}

#[tokio::test]
async fn attributes_of_nodes_are_asked_for_beside_those_of_pipes() {
    let site = Site::with_shop().await;
    let pipes = site.get("/v0/pipes?dependencies=false&attrs=name,updated_at&node_attrs=name", ADMIN).await.json();
    let pipe = pipes["pipes"].as_array().unwrap().iter().find(|it| it["name"] == "by_item").unwrap();
    assert_eq!(pipe["nodes"], json!([{"name": "totals"}]));
    assert_eq!(pipe.get("path"), None);
    let strict = site.get("/v0/pipes?attrs=id,name,description,type,endpoint", ADMIN).await.json();
    let mut keys: Vec<_> = strict["pipes"][0].as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["description", "endpoint", "id", "name", "type", "url"]);
    site.stop().await;
}

#[tokio::test]
async fn what_a_url_gives_is_looked_at_like_a_file() {
    let site = Site::with_shop().await;
    let at = |url: &str| {
        let url: String = url.bytes().map(|it| format!("%{it:02x}")).collect();
        site.request(Method::POST, &format!("/v0/analyze?url={url}")).bearer_auth(ADMIN)
    };
    let of = |path: &str| format!("http://{}{path}token={ADMIN}", site.address);
    let found = reply(at(&of("/v0/pipes/all_sales.ndjson?"))).await;
    assert_eq!(found.status, 200, "{}", found.text);
    let columns = found.json()["analysis"]["columns"].as_array().unwrap().clone();
    assert_eq!(columns.iter().map(|it| &it["name"]).collect::<Vec<_>>(), ["company_id", "item", "amount"]);
    let found = reply(at(&of("/v0/pipes/all_sales.csvwithnames?"))).await.json();
    assert_eq!(found["preview"]["data"].as_array().unwrap().len(), 4, "{found}");
    for url in ["file:///etc/passwd", "nothing", &of("/v0/pipes/nothing.csv?")] {
        let refused = reply(at(url)).await;
        assert_eq!(refused.status, 400, "{url}: {}", refused.text);
        assert!(!refused.text.contains(ADMIN), "{}", refused.text);
    }
    let reader = site.token("reader", &["PIPES:READ:all_sales"]).await;
    let refused = reply(site.request(Method::POST, "/v0/analyze?url=http://127.0.0.1:1/").bearer_auth(&reader)).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    site.stop().await;
}
