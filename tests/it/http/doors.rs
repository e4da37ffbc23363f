//! Who comes in: strangers, tokens without the right, tokens of other workspaces.

use super::*;
use birdhouse::{name::ResourceName, query::Format, sql::Sql};

/// Those that tell any token something: about itself, about a text of the request, or nothing.
const OPEN: &[&str] = &[
    "GET /v0/workspace",
    "GET /v1/workspace",
    "GET /v0/sql",
    "POST /v0/sql",
    "GET /v0/auth",
    "GET /v0/user/workspaces",
    "GET /v1/user/workspaces",
    "GET /v0/environments",
    "GET /v1/environments",
    "GET /v0/templates",
    "GET /v0/sql_tables",
    "POST /v0/sql_tables",
    "GET /v0/sql_format",
    "POST /v0/sql_replace",
    "GET /v0/dependencies",
    "GET /v0/datasources",
    "GET /v0/datasources/",
    "GET /v0/pipes",
    "GET /v1/pipes",
    "GET /v0/pipes/",
    "GET /v0/pipes/openapi.json",
    "GET /examples/query.http",
];

/// Calls that need more than a path to come as far as the question who may.
const QUERIES: &[(&str, &str)] = &[
    ("POST /v0/datasources", "mode=append&name=sales"),
    ("POST /v0/events", "name=sales"),
    ("GET /v0/sql", "q=select%201"),
    ("GET /v0/sql_tables", "q=select%201"),
    ("POST /v0/sql_replace", "q=select%201"),
    ("GET /examples/query.http", "q=select%201"),
];

/// Every call of a route that wants a token: its method and path, with the names of the shop's resources in it.
fn calls(fill: &[(&str, &str)]) -> Vec<(Method, String)> {
    let source = include_str!("../../../src/server/routes/mod.rs");
    // The first router is the one without a token.
    let source = source.split_once("let calls = Router::new()").unwrap().1;
    let mut res = Vec::new();
    for route in source.split(".route(").skip(1) {
        let path = route.split('"').nth(1).unwrap();
        let handlers = route.split_once(',').unwrap().1.split(".route(").next().unwrap();
        for (word, method) in
            [("get(", Method::GET), ("post(", Method::POST), ("put(", Method::PUT), ("delete(", Method::DELETE)]
        {
            if !handlers.contains(word) {
                continue;
            }
            let call = format!("{method} {path}");
            let (_, query) = QUERIES.iter().find(|(it, _)| *it == call).unwrap_or(&("", ""));
            let of = |family: &&(&str, &str)| path.starts_with(family.0);
            let name = fill.iter().find(of).map_or("x", |it| it.1);
            // Rows come from a name with an ending.
            let name = if call == "POST /v0/pipes/{name}" { format!("{name}.json") } else { name.to_owned() };
            let path = path.replace("{name}", &name).replace("{node}", "totals").replace("{id}", "x");
            let path = path
                .replace("{what}", "state")
                .replace("{work}", "data")
                .replace("{semver}", "0.0.0")
                .replace("{action}", "pause");
            assert!(!path.contains('{'), "{path}: say what stands there");
            res.push((method, if query.is_empty() { path } else { format!("{path}?{query}") }));
        }
    }
    assert!(res.len() > 80, "{res:?}");
    res
}

const SHOPS: &[(&str, &str)] = &[("/v0/datasources/", "sales"), ("/v0/pipes/", "by_item"), ("/v1/pipes/", "by_item")];

fn is_open(method: &Method, path: &str) -> bool {
    OPEN.contains(&format!("{method} {}", path.split('?').next().unwrap()).as_str())
}

#[tokio::test]
async fn strangers_are_told_the_same_everywhere() {
    let site = Site::start().await;
    let mut told = Vec::new();
    for (method, path) in calls(SHOPS) {
        for slash in ["", "/"] {
            let (plain, query) = path.split_once('?').unwrap_or((&path, ""));
            let path = format!("{plain}{slash}?{query}");
            let none = reply(site.request(method.clone(), &path)).await;
            let wrong = reply(site.request(method.clone(), &path).bearer_auth("p.wrong")).await;
            let asked = reply(site.request(method.clone(), &format!("{path}&token=p.wrong"))).await;
            for reply in [none, wrong, asked] {
                assert_eq!(reply.status, 403, "{method} {path}");
                reply.error();
                told.push(reply.text);
            }
        }
        // A wrong method tells a stranger no more.
        let patched = reply(site.request(Method::PATCH, &path)).await;
        assert_eq!(patched.status, 403, "PATCH {path}");
    }
    told.dedup();
    assert_eq!(told.len(), 1);
    site.stop().await;
}

#[tokio::test]
async fn a_token_without_the_right_is_denied_everywhere() {
    let site = Site::with_shop().await;
    let token = site.token("reads_nothing", &["PIPES:READ:not_there"]).await;
    for (method, path) in calls(SHOPS) {
        let reply = reply(site.request(method.clone(), &path).bearer_auth(&token)).await;
        let lists =
            ["/v0/datasources", "/v0/datasources/", "/v0/pipes", "/v0/pipes/", "/v1/pipes"].contains(&path.as_str());
        match (is_open(&method, &path), lists) {
            (true, true) => {
                assert!(reply.text.contains(":[]") || reply.text.contains(": []"), "{path}: {}", reply.text)
            }
            (true, false) => assert!(reply.status != 403, "{method} {path}: {}", reply.text),
            (false, _) => assert_eq!(reply.status, 403, "{method} {path}: {}", reply.text),
        }
    }
    // What is there and closed, and what is not there, in the same bytes.
    for path in ["/v0/pipes/{}", "/v0/pipes/{}.json?company=1", "/v0/datasources/{}"] {
        let [there, absent] = ["by_item", "sales_of_nobody"].map(|it| path.replace("{}", it));
        let (there, absent) = (site.get(&there, &token).await, site.get(&absent, &token).await);
        assert_eq!((there.status, &there.text), (absent.status, &absent.text), "{path}");
    }
    site.stop().await;
}

/// What a workspace has: its files, rows, tokens and branches.
async fn whole(site: &Site, token: &str) -> Vec<String> {
    let mut res = Vec::new();
    for path in
        ["/v0/pipes", "/v0/tokens", "/v0/tags", "/v0/variables", "/v0/environments", "/v0/pipes/by_item.csv?company=2"]
    {
        res.push(site.get(path, token).await.text);
    }
    res
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_workspace_opens_nothing_of_this_one() {
    let site = Site::with_shop().await;
    let id = site.get("/v0/workspace", ADMIN).await.json()["id"].as_str().unwrap().to_owned();
    let made = site.form("/v0/workspaces?name=other", ADMIN, &[]).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let key = made.json()["token"].as_str().unwrap().to_owned();
    let tokens = site.get("/v0/tokens", &key).await.json();
    let theirs = tokens["tokens"][0]["token"].as_str().unwrap().to_owned();
    assert_ne!(theirs, key);
    let branch = site.form("/v0/environments", ADMIN, &[("name", "dev")]).await.json();
    let branch = branch["id"].as_str().unwrap().to_owned();
    let before = whole(&site, ADMIN).await;

    let mine = [SHOPS, &[("/v0/workspaces/", &id), ("/v1/workspaces/", &id), ("/v0/environments/", &branch)]].concat();
    let secrets = [id.as_str(), &branch, ADMIN, &key, "spoon"];
    for (method, path) in calls(&mine) {
        let reply = reply(site.request(method.clone(), &path).bearer_auth(&theirs)).await;
        assert!(reply.status != 500, "{method} {path}: {}", reply.text);
        // A reply may repeat what it was asked for.
        let told = reply.text.replace(&format!("`{id}`"), "").replace(&format!("`{branch}`"), "");
        assert!(secrets.iter().all(|it| !told.contains(it)), "{method} {path}: {}", reply.text);
        let touches = [&id, &branch].iter().any(|it| path.contains(it.as_str()));
        assert!(!touches || reply.status.as_u16() >= 400, "{method} {path}: {}", reply.text);
    }
    assert_eq!(whole(&site, ADMIN).await, before);
    // It is an administrator at home, and there alone.
    assert_eq!(site.get("/v0/auth", &theirs).await.json(), json!({"is_valid": true, "is_user": false}));
    let seen = site.get("/v0/user/workspaces?with_environments=true", &theirs).await.json();
    assert_eq!(seen["workspaces"].as_array().unwrap().len(), 1, "{seen}");
    for call in [("POST", "/v0/workspaces?name=third"), ("DELETE", "/v0/workspaces/other")] {
        let reply = reply(site.request(call.0.parse().unwrap(), call.1).bearer_auth(&theirs)).await;
        assert_eq!(reply.status, 403, "{call:?}: {}", reply.text);
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workspaces_are_apart_and_go_with_all_that_is_theirs() {
    let site = Site::with_shop().await;
    let key = |reply: &Reply| reply.json()["token"].as_str().unwrap().to_owned();
    let other = site.form("/v0/workspaces", ADMIN, &[("name", "other")]).await;
    for (name, status) in [("other", 400), ("birdhouse", 400), ("no name", 400), ("", 400)] {
        let refused = site.form("/v0/workspaces", ADMIN, &[("name", name)]).await;
        assert_eq!(refused.status, status, "{name}: {}", refused.text);
    }
    let other = key(&other);
    assert_eq!(site.get("/v0/auth", &other).await.json(), json!({"is_valid": true, "is_user": true}));
    assert_eq!(site.get("/v0/workspace", &other).await.json()["name"], "other");
    // The same name means another data source, with other rows.
    let schema = [("name", "sales"), ("schema", "`item` String"), ("engine", "MergeTree")];
    assert_eq!(site.form("/v0/datasources", &other, &schema).await.status, 200);
    let sent =
        site.request(Method::POST, "/v0/events?name=sales&wait=true").bearer_auth(&other).body("{\"item\":\"hat\"}");
    assert_eq!(reply(sent).await.status, 200);
    let count =
        async |token: &str| site.sql(token, "select count() as c from sales").await.json()["data"][0]["c"].clone();
    assert_eq!((count(ADMIN).await, count(&other).await), (json!(4), json!(1)));

    // The engine parts them too: a reader of one sees no table of the other, by whatever name.
    let tables: Vec<_> =
        site.app.workspaces().iter().map(|it| it.namespace().table(&ResourceName::new("sales").unwrap())).collect();
    for (table, may) in tables.iter().zip([true, false]) {
        let mut sql = Sql::new("SELECT count() AS c FROM ");
        sql.table(table);
        let read = crate::engine::engine().await.read_as_user(&sql, Format::JsonEachRow).await;
        assert_eq!(read.is_ok(), may, "{table:?}: {:?}", read.err());
    }

    // A branch has the files and none of the rows, and may have its own.
    let branch = site.form("/v0/environments?name=dev", ADMIN, &[]).await.json();
    assert_eq!(branch["job"]["job_id"], branch["job"]["id"]);
    let twice = site.form("/v0/environments?name=dev", ADMIN, &[]).await;
    assert_eq!(twice.status, 409, "{}", twice.text);
    let filled = site.form("/v0/environments?name=full&data=last_partition", ADMIN, &[]).await;
    assert_eq!(filled.status, 400, "{}", filled.text);
    let branch = site.get("/v0/environments/dev?with_token=true", ADMIN).await;
    let dev = key(&branch);
    assert_eq!(count(&dev).await, json!(0));
    assert_eq!(site.get("/v0/workspace", &dev).await.json()["is_branch"], true);
    assert_eq!(site.form("/v0/environments?name=twig", &dev, &[]).await.status, 403);
    let names = async |token: &str, query: &str| {
        let seen = site.get(&format!("/v0/user/workspaces?{query}"), token).await.json();
        seen["workspaces"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(ADMIN, "with_environments=true").await, ["birdhouse", "other", "dev"]);
    assert_eq!(names(&dev, "with_environments=false").await, ["birdhouse", "other"]);
    assert_eq!(names(&other, "only_environments=true").await, ["dev"]);

    // A new admin token ends what was handed out under the old one.
    let id = branch.json()["id"].as_str().unwrap().to_owned();
    let refreshed = site.form("/v0/tokens/workspace%20admin%20token/refresh", ADMIN, &[]).await;
    let admin = key(&refreshed);
    for token in [ADMIN, &other, &dev] {
        assert_eq!(site.get("/v0/workspace", token).await.status, 403);
    }
    let gone = reply(site.request(Method::DELETE, &format!("/v0/environments/{id}")).bearer_auth(&admin)).await;
    assert_eq!(gone.status, 204, "{}", gone.text);
    let own = reply(site.request(Method::DELETE, "/v0/workspaces/birdhouse").bearer_auth(&admin)).await;
    assert_eq!(own.status, 400, "{}", own.text);
    let gone = reply(site.request(Method::DELETE, "/v0/workspaces/other").bearer_auth(&admin)).await;
    assert_eq!(gone.status, 200, "{}", gone.text);
    assert_eq!(names(&admin, "with_environments=true").await, ["birdhouse"]);
    let absent = reply(site.request(Method::DELETE, "/v0/workspaces/other").bearer_auth(&admin)).await;
    assert_eq!(absent.status, 404, "{}", absent.text);
    assert_eq!(count(&admin).await, json!(4));
    site.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_404_for_an_administrator() {
    let site = Site::with_shop().await;
    for path in [
        "/v0/datasources/nothing",
        "/v0/pipes/nothing",
        "/v0/pipes/nothing.json",
        "/v0/tokens/nothing",
        "/v0/connectors/nothing",
        "/nowhere",
    ] {
        let reply = site.get(path, ADMIN).await;
        assert_eq!(reply.status, 404, "{path}: {}", reply.text);
        reply.error();
    }
    let reply = reply(site.request(Method::PATCH, "/v0/tokens").bearer_auth(ADMIN)).await;
    assert_eq!(reply.status, 405);
    reply.error();
    site.stop().await;
}

#[tokio::test]
async fn health_needs_no_token() {
    let site = Site::start().await;
    for path in ["/health", "/v0/health", "/v0/health/"] {
        let reply = reply(site.request(Method::GET, path)).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["status"]), (200, &json!("ok")), "{path}");
    }
    let workspace = site.get("/v0/workspace", ADMIN).await.json();
    assert!(workspace["id"].is_string() && workspace["name"].is_string(), "{workspace}");
    site.stop().await;
}

#[tokio::test]
async fn browsers_may_ask_endpoints() {
    let site = Site::with_shop().await;
    let preflight = reply(site.request(Method::OPTIONS, "/v0/pipes/by_item.json")).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), "*");
    assert!(preflight.header("access-control-allow-headers").contains("Authorization"));
    assert_eq!(site.get("/v0/pipes/moods.json", ADMIN).await.header("access-control-allow-origin"), "*");
    assert_eq!(site.get("/v0/tokens", ADMIN).await.header("access-control-allow-origin"), "");
    site.stop().await;
}
