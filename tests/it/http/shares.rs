//! Data sources that one workspace shares with another: who reads what of them, where, and until when.

use super::*;
use birdhouse::{name::ResourceName, query::Format, sql::Sql};

/// What the workspace `farm` has: two data sources, of which `animals` is shared, and a view on the way between them.
const FARM: &[(&str, &str)] = &[
    (
        "datasources/animals.datasource",
        "SCHEMA >\n    `farm_id` Int16,\n    `kind` String,\n    `loud` UInt8 MATERIALIZED kind = 'cow'\n\n\
         ENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"farm_id\"\n",
    ),
    ("datasources/debts.datasource", "SCHEMA >\n    `animal` String\n\nENGINE \"MergeTree\"\n"),
    (
        "datasources/weights.datasource",
        "SCHEMA >\n    `animal` String,\n    `kilos` UInt64,\n    `at` UInt8\n\n\
         ENGINE \"ReplacingMergeTree\"\nENGINE_VER \"at\"\nENGINE_SORTING_KEY \"animal\"\n",
    ),
];

const READS: &str =
    "NODE all\nSQL >\n    SELECT kind FROM farm.animals PREWHERE farm_id < 9 ORDER BY kind\n\nTYPE endpoint\n";

/// A server with the workspace `farm`, which shares its animals and weights with the first one; and farm's key.
async fn farm() -> (Site, String) {
    let site = Site::start().await;
    let made = site.form("/v0/workspaces", ADMIN, &[("name", "farm")]).await.json();
    let key = made["token"].as_str().unwrap().to_owned();
    let reply = site.deploy_as(&key, FARM, "").await;
    assert_eq!(reply.json()["result"], "success", "{}", reply.text);
    for (name, rows) in [
        (
            "animals",
            "{\"farm_id\":1,\"kind\":\"cow\"}\n{\"farm_id\":2,\"kind\":\"SECRET\"}\n{\"farm_id\":1,\"kind\":\"hen\"}",
        ),
        ("debts", "{\"animal\":\"HIDDEN\"}"),
        ("weights", "{\"animal\":\"cow\",\"kilos\":400,\"at\":1}"),
        ("weights", "{\"animal\":\"cow\",\"kilos\":500,\"at\":2}"),
    ] {
        let path = format!("/v0/events?name={name}&wait=true");
        let sent = reply_to(&site, Method::POST, &path, &key, rows).await;
        assert_eq!(sent.status, 200, "{}", sent.text);
    }
    for name in ["animals", "weights"] {
        let shared = change(&site, Method::POST, &own(&site, &key).await, name, "birdhouse").await;
        assert_eq!(shared.status, 404, "farm's own administrator knows no other workspace: {}", shared.text);
        let shared = share(&site, name).await;
        assert_eq!(shared.status, 200, "{}", shared.text);
    }
    (site, key)
}

/// The admin token of a workspace, which opens no other.
async fn own(site: &Site, key: &str) -> String {
    let tokens = site.get("/v0/tokens", key).await.json();
    tokens["tokens"][0]["token"].as_str().unwrap().to_owned()
}

async fn reply_to(site: &Site, method: Method, path: &str, token: &str, body: &str) -> Reply {
    reply(site.request(method, path).bearer_auth(token).body(body.to_owned())).await
}

/// As `tb` does it: the user's token, the workspaces by their ids, the data source by its id.
async fn change(site: &Site, method: Method, token: &str, name: &str, to: &str) -> Reply {
    let workspaces = site.app.workspaces();
    let id = |name: &str| workspaces.iter().find(|it| it.name() == name).unwrap().id().to_owned();
    let of = workspaces.iter().find(|it| it.name() == "farm").unwrap().id_of("datasource", name);
    let form = [("origin_workspace_id", id("farm")), ("destination_workspace_id", id(to))];
    reply(site.request(method, &format!("/v0/datasources/{of}/share")).bearer_auth(token).form(&form)).await
}

async fn share(site: &Site, name: &str) -> Reply {
    change(site, Method::POST, ADMIN, name, "birdhouse").await
}

async fn unshare(site: &Site, name: &str) -> Reply {
    change(site, Method::DELETE, ADMIN, name, "birdhouse").await
}

async fn csv(site: &Site, token: &str, q: &str) -> String {
    let reply = site.sql(token, &format!("{q} FORMAT CSV")).await;
    assert_eq!(reply.status, 200, "{q}: {}", reply.text);
    reply.text.replace('"', "")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shared_is_read_there_and_no_row_more() {
    let (site, _) = farm().await;
    let reply = site.deploy(&[("endpoints/all.pipe", READS)], "").await;
    assert_eq!(reply.json()["result"], "success", "{}", reply.text);
    let all = "SELECT * FROM farm.animals ORDER BY kind";
    assert_eq!(csv(&site, ADMIN, all).await, "2,SECRET\n1,cow\n1,hen\n");
    assert_eq!(csv(&site, ADMIN, "SELECT a.kind, loud FROM farm.animals AS a WHERE loud").await, "cow,1\n");
    assert_eq!(csv(&site, ADMIN, "SELECT count() FROM farm.weights").await, "2\n");
    assert_eq!(csv(&site, ADMIN, "SELECT kilos FROM farm.weights FINAL").await, "500\n");
    assert_eq!(site.get("/v0/pipes/all.csv", ADMIN).await.text, "\"kind\"\n\"SECRET\"\n\"cow\"\n\"hen\"\n");

    // Nobody reads it who was not given that, and a filter holds in SQL and inside of endpoints.
    let none = site.token("none", &["DATASOURCES:READ:animals", "PIPES:READ:other"]).await;
    let part = site.token("part", &["DATASOURCES:READ:farm.animals:farm_id = 1", "PIPES:READ:all"]).await;
    let both = site.token("both", &["DATASOURCES:READ:farm.weights:at = 1"]).await;
    assert_eq!(site.sql(&none, all).await.status, 403);
    assert_eq!(csv(&site, &part, all).await, "1,cow\n1,hen\n");
    assert_eq!(site.get("/v0/pipes/all.csv", &part).await.text, "\"kind\"\n\"cow\"\n\"hen\"\n");
    let final_ = site.sql(&both, "SELECT kilos FROM farm.weights FINAL").await;
    assert_eq!(
        (final_.status.as_u16(), csv(&site, &both, "SELECT kilos FROM farm.weights").await),
        (400, "400\n".into())
    );
    for q in [
        "SELECT throwIf(kind = 'SECRET', 'found') FROM farm.animals",
        "SELECT kind FROM farm.animals WHERE throwIf(kind = 'SECRET', 'found') = 0",
        "SELECT kind FROM farm.animals PREWHERE throwIf(kind = 'SECRET', 'found') = 0",
        "SELECT a.kind FROM farm.animals AS a JOIN farm.animals AS b USING farm_id WHERE NOT throwIf(b.farm_id = 2)",
        "SELECT kind FROM farm.animals ORDER BY toUInt8(if(kind = 'SECRET', 'x', '1'))",
        "SELECT max(kind), min(farm_id), count() FROM farm.animals WHERE indexHint(farm_id = 2) OR 1",
        "WITH animals AS (SELECT * FROM farm.animals) SELECT count() FROM animals WHERE farm_id = 2",
    ] {
        let rows = csv(&site, &part, q).await;
        assert!(!rows.contains("SECRET") && !rows.is_empty(), "{q}: {rows}");
    }
    assert!(!site.sql(&part, "SELECT toUInt8(kind) FROM farm.animals").await.text.contains("SECRET"));

    // The rest of the other workspace is not there, for the administrator neither.
    let farm = site.app.workspaces().iter().find(|it| it.name() == "farm").unwrap().namespace().clone();
    for q in [
        "SELECT * FROM farm.debts",
        "SELECT * FROM farm.animals_quarantine",
        "SELECT * FROM farm.tinybird",
        "SELECT 1 WHERE 'cow' IN farm.debts",
        "SELECT * FROM animals",
        "SELECT * FROM farm.`animals:final`",
        "SELECT * FROM other.animals",
        "SELECT * FROM merge('farm', '.*')",
        &format!("SELECT * FROM `{}`.debts", farm.database()),
    ] {
        for token in [ADMIN, &part] {
            let reply = site.sql(token, q).await;
            assert!([400, 403, 404].contains(&reply.status.as_u16()), "{q}: {} {}", reply.status, reply.text);
            assert!(!reply.text.contains("HIDDEN"), "{q}: {}", reply.text);
        }
    }
    // Errors and plans do not say what its database is called.
    for path in
        ["q=SELECT toUInt8(kind) FROM farm.animals", "explain=true&q=SELECT count() FROM farm.animals WHERE farm_id=1"]
    {
        let told = site.get(&format!("/v0/sql?{path}"), ADMIN).await.text;
        assert!(!told.contains(farm.database()), "{told}");
    }
    // Below it the engine's role: it sees the view, and not what is behind it.
    let engine = crate::engine::engine().await;
    let here = site.app.workspace().namespace().table(&ResourceName::of_shared("farm.animals").unwrap());
    let behind = ["animals", "debts"].map(|it| farm.table(&ResourceName::new(it).unwrap()));
    for (table, may) in [(&here, true), (&behind[0], false), (&behind[1], false)] {
        let mut sql = Sql::new("SELECT count() AS c FROM ");
        sql.table(table);
        assert_eq!(engine.read_as_user(&sql, Format::JsonEachRow).await.is_ok(), may, "{table:?}");
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_tell_of_what_is_shared_and_nothing_writes_it() {
    let (site, key) = farm().await;
    let reply = site.deploy(&[("endpoints/all.pipe", READS)], "").await;
    assert_eq!(reply.json()["result"], "success", "{}", reply.text);
    let ids: Vec<_> = site.app.workspaces().iter().map(|it| it.id().to_owned()).collect();
    let given = site.get("/v0/datasources/animals?include_workspace_names=true", ADMIN).await;
    assert_eq!(given.status, 404, "it is farm's: {}", given.text);
    let given = site.get("/v0/datasources/animals?include_workspace_names=true", &key).await.json();
    assert_eq!(given["shared_with"], json!([ids[0]]));
    assert_eq!(given["shared_with_workspaces"], json!([{"id": ids[0], "name": "birdhouse"}]));
    assert_eq!(given["used_by"][0]["name"], "birdhouse.all");
    // Who is at home in one workspace alone is not told of another's pipes.
    assert_eq!(site.get("/v0/datasources/animals", &own(&site, &key).await).await.json()["used_by"], json!([]));
    let listed = site.get("/v0/datasources", ADMIN).await.json();
    let listed = listed["datasources"].as_array().unwrap();
    assert_eq!(listed.iter().map(|it| &it["name"]).collect::<Vec<_>>(), ["farm.animals", "farm.weights"]);
    assert_eq!(listed[0]["shared_from"], json!(ids[1]));
    assert_eq!(listed[0]["statistics"]["row_count"], 3);
    assert_eq!(listed[0]["used_by"][0]["name"], "all");
    let reader = site.token("reader", &["DATASOURCES:READ:farm.weights"]).await;
    let listed = site.get("/v0/datasources?attrs=name", &reader).await.json();
    assert_eq!(listed["datasources"].as_array().unwrap().len(), 1, "{listed}");
    let id = site.app.workspace().id_of("datasource", "farm.weights");
    assert_eq!(site.get(&format!("/v0/datasources/{id}"), &reader).await.json()["name"], "farm.weights");
    assert_eq!(site.get("/v0/dependencies", ADMIN).await.json()["dependencies"]["farm.animals"], json!(["all"]));

    for (method, path) in [
        (Method::POST, "/v0/events?name=farm.animals&wait=true"),
        (Method::POST, "/v0/datasources?mode=append&name=farm.animals&format=ndjson"),
        (Method::POST, "/v0/datasources/farm.animals/truncate"),
        (Method::POST, "/v0/datasources/farm.animals/delete?delete_condition=1"),
        (Method::POST, "/v0/datasources/farm.animals/alter?description=x"),
        (Method::DELETE, "/v0/datasources/farm.animals"),
        (Method::POST, "/v0/datasources/farm.animals/share?destination_workspace_name=farm"),
    ] {
        let reply = reply_to(&site, method.clone(), path, ADMIN, "{\"farm_id\":7,\"kind\":\"fox\"}").await;
        assert!(
            [400, 403, 404, 409].contains(&reply.status.as_u16()),
            "{method} {path}: {} {}",
            reply.status,
            reply.text
        );
    }
    assert_eq!(csv(&site, ADMIN, "SELECT count() FROM farm.animals").await, "3\n");
    // It may be given up, which takes nothing from its owner.
    let given_up = reply_to(&site, Method::DELETE, "/v0/datasources/farm.animals?force=true", ADMIN, "").await;
    assert_eq!(given_up.status, 204, "{}", given_up.text);
    assert_eq!(csv(&site, &key, "SELECT count() FROM animals").await, "3\n");
    assert!(site.sql(ADMIN, "SELECT count() FROM farm.animals").await.status.as_u16() >= 400);
    assert_eq!(share(&site, "animals").await.status, 200);
    // A view of them, rows of which would come unasked, is refused; a copy is not.
    let view = "NODE n\nSQL >\n    SELECT kind FROM farm.animals\n\nTYPE materialized\nDATASOURCE kinds\n";
    let kinds = ("datasources/kinds.datasource", "SCHEMA >\n    `kind` String\n\nENGINE \"MergeTree\"\n");
    let refused = site.deploy(&[kinds, ("pipes/v.pipe", view)], "").await;
    assert!(refused.text.contains("a materialized view cannot read `farm.animals`"), "{}", refused.text);
    let copy =
        "NODE n\nSQL >\n    SELECT kind FROM farm.animals WHERE farm_id = 1\n\nTYPE copy\nTARGET_DATASOURCE kinds\n";
    let reply = site.deploy(&[kinds, ("pipes/c.pipe", copy)], "").await;
    assert_eq!(reply.json()["result"], "success", "{}", reply.text);
    let job = site.form("/v0/pipes/c/copy", ADMIN, &[]).await.json();
    let job = job["job"]["id"].as_str().unwrap().to_owned();
    let path = format!("/v0/jobs/{job}");
    crate::kafka::until("the copy has ended", async || site.get(&path, ADMIN).await.json()["status"] == "done").await;
    assert_eq!(csv(&site, ADMIN, "SELECT kind FROM kinds ORDER BY kind").await, "cow\nhen\n");
    // A column that comes is there as well.
    let wider = FARM[0].1.replace("`kind` String,", "`kind` String,\n    `age` UInt8 DEFAULT 3,");
    let reply = site.deploy_as(&key, &[("datasources/animals.datasource", &wider), FARM[1], FARM[2]], "").await;
    assert_eq!(reply.json()["result"], "success", "{}", reply.text);
    assert_eq!(csv(&site, ADMIN, "SELECT sum(age) FROM farm.animals").await, "9\n");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_is_gone_at_once_and_after_a_restart() {
    let (site, key) = farm().await;
    let kept = READS.replace("    SELECT", "    %\n    {{ cache_ttl('1h') }}\n    SELECT");
    let reply = site.deploy(&[("endpoints/all.pipe", READS), ("endpoints/kept.pipe", &kept)], "").await;
    assert_eq!(reply.json()["result"], "success", "{}", reply.text);
    let reader = site.token("reader", &["PIPES:READ:kept", "DATASOURCES:READ:farm.animals"]).await;
    let branch = site.form("/v0/environments", ADMIN, &[("name", "dev")]).await;
    assert_eq!(branch.status, 200, "{}", branch.text);
    let dev = site.get("/v0/environments/dev?with_token=true", ADMIN).await.json();
    let dev = dev["token"].as_str().unwrap().to_owned();
    for token in [ADMIN, &reader, &dev] {
        let answer = site.get("/v0/pipes/kept.csv", token).await;
        assert!(answer.text.contains("SECRET"), "{}", answer.text);
    }
    // What is shared does not go by mistake.
    let dropped = reply_to(&site, Method::DELETE, "/v0/datasources/animals?force=true", &key, "").await;
    assert_eq!(dropped.status, 409, "{}", dropped.text);
    assert!(dropped.error().contains("birdhouse"), "{}", dropped.text);

    let site = Site::again(site.left().await).await;
    assert!(csv(&site, &reader, "SELECT kind FROM farm.animals").await.contains("SECRET"));
    let taken = unshare(&site, "animals").await;
    assert_eq!(taken.status, 200, "{}", taken.text);
    assert_eq!(taken.json()["dependent_pipes"], json!(["birdhouse.all", "birdhouse.kept"]));
    assert_eq!(unshare(&site, "animals").await.status, 400);
    let gone = async |site: &Site| {
        for token in [ADMIN, &reader, &dev] {
            for path in ["/v0/pipes/kept.csv", "/v0/sql?q=SELECT kind FROM farm.animals"] {
                let answer = site.get(path, token).await;
                assert!(answer.status.as_u16() >= 400, "{path}: {}", answer.text);
                assert!(!answer.text.contains("SECRET"), "{path}: {}", answer.text);
            }
        }
        assert_eq!(csv(site, ADMIN, "SELECT count() FROM farm.weights").await, "2\n");
    };
    gone(&site).await;
    let told = site.get("/v0/pipes/all.csv", ADMIN).await;
    assert!(told.error().contains("farm.animals"), "{}", told.text);
    // What a crash left of a share that was being made or taken back goes at the next start.
    let left = site.app.workspace().namespace().table(&ResourceName::of_shared("farm.debts").unwrap());
    let debts = site.app.workspaces()[1].namespace().table(&ResourceName::new("debts").unwrap());
    let engine = crate::engine::engine().await;
    let mut view = Sql::new("CREATE VIEW ");
    view.table(&left).push(" DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT * FROM ").table(&debts);
    engine.command(&view).await.unwrap();
    let mut read = Sql::new("SELECT count() FROM ");
    read.table(&left);
    assert!(engine.command(&read).await.is_ok());
    // Its pipes are still there, other files can be pushed, a new pipe cannot read it.
    let site = Site::again(site.left().await).await;
    assert!(engine.command(&read).await.is_err());
    gone(&site).await;
    let files = [("endpoints/all.pipe", READS), ("endpoints/kept.pipe", &*kept)];
    let more = ("endpoints/one.pipe", "NODE n\nSQL >\n    SELECT 1 AS a\n\nTYPE endpoint\n");
    let reply = site.deploy(&[files[0], files[1], more], "").await;
    assert_eq!(reply.json()["result"], "success", "{}", reply.text);
    let reply = site.deploy(&[files[0], files[1], more, ("endpoints/new.pipe", READS)], "").await;
    assert!(reply.text.contains("`farm.animals` is not shared with this workspace"), "{}", reply.text);
    // And may be let back in.
    assert_eq!(share(&site, "animals").await.status, 200);
    assert!(site.get("/v0/pipes/kept.csv", &reader).await.text.contains("SECRET"));
    // A workspace that goes takes what it shared with it.
    let gone = reply_to(&site, Method::DELETE, "/v0/workspaces/farm", ADMIN, "").await;
    assert_eq!(gone.status, 200, "{}", gone.text);
    assert!(site.get("/v0/pipes/kept.csv", &reader).await.status.as_u16() >= 400);
    assert_eq!(site.get("/v0/datasources", ADMIN).await.json()["datasources"], json!([]));
    let site = Site::again(site.left().await).await;
    assert_eq!(site.get("/v0/datasources", ADMIN).await.json()["datasources"], json!([]));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_says_which_shared_with_lines_are_not_carried_out() {
    let site = Site::start().await;
    let made = site.form("/v0/workspaces", ADMIN, &[("name", "meadow")]).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let file = [("datasources/birds.datasource", "SHARED_WITH >\n    meadow\n\nSCHEMA >\n    `name` String\n")];
    let told = site.deploy(&file, "").await;
    assert_eq!(told.json()["result"], "success", "{}", told.text);
    assert!(told.text.contains("`birds` is not shared with `meadow` yet"), "{}", told.text);
    let shared = site.form("/v0/datasources/birds/share", ADMIN, &[("destination_workspace_name", "meadow")]).await;
    assert_eq!(shared.status, 200, "{}", shared.text);
    let told = site.deploy(&file, "").await;
    assert!(!told.text.contains("not shared"), "{}", told.text);
    // The line is written once in the file that is given back.
    assert_eq!(site.get("/v0/datasources/birds.datasource", ADMIN).await.text, file[0].1);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_clickhouse_read_it_as_a_table_of_that_workspace() {
    let (site, _) = farm().await;
    let part = site.token("part", &["DATASOURCES:READ:farm.animals:farm_id = 1"]).await;
    let ask = async |token: &str, q: &str| {
        let url = format!("http://{}/?query={q}", site.clickhouse);
        let reply = reqwest::Client::builder().no_proxy().build().unwrap().get(url).header("X-ClickHouse-Key", token);
        reply.send().await.unwrap().text().await.unwrap()
    };
    assert_eq!(ask(&part, "SELECT kind FROM farm.animals ORDER BY kind").await, "cow\nhen\n");
    assert_eq!(ask(ADMIN, "SHOW TABLES FROM farm").await, "animals\nweights\n");
    assert_eq!(ask(&part, "SHOW TABLES FROM farm").await, "animals\n");
    assert!(ask(&part, "DESCRIBE farm.animals").await.contains("kind"));
    assert!(ask(&part, "SELECT * FROM farm.debts").await.contains("DB::Exception"));
    assert!(ask(ADMIN, "INSERT INTO farm.animals FORMAT CSV 7,fox").await.contains("DB::Exception"));
    assert!(ask(&site.token("none", &["PIPES:READ:x"]).await, "SHOW TABLES FROM farm").await.contains("DB::Exception"));
    site.stop().await;
}
