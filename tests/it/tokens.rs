//! Tokens over HTTP: what their values look like, how fast they end, the ones that carry their own scopes, limits.

use crate::http::{ADMIN, Site, reply};
use birdhouse::{
    auth::{self, jwt},
    datafile::Context,
    diagnostic::{Source, has_errors},
    observe::Observation,
    project::{self, Project},
    query,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{fs, path::Path, time::Duration};

fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap()
}

impl Site {
    /// A token as an application signs it, which knows the admin token and the workspace's id.
    pub(crate) async fn signed(&self, scopes: Value, more: Value) -> String {
        let workspace = self.get("/v0/workspace", ADMIN).await.json()["id"].clone();
        let mut claims = json!({"workspace_id": workspace, "name": "app", "exp": now() + 60, "scopes": scopes});
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        jwt::sign(&serde_json::from_value(claims).unwrap(), ADMIN)
    }
}

#[tokio::test]
async fn a_token_ends_at_once() {
    let site = Site::with_shop().await;
    let value = site.token("short_lived", &["PIPES:READ:all_sales"]).await;
    assert!(auth::is_token_value(&value), "{value}");
    assert_eq!(site.get("/v0/pipes/all_sales.json", &value).await.status, 200);
    let refreshed = reply(site.request(Method::POST, "/v0/tokens/short_lived/refresh").bearer_auth(ADMIN)).await;
    let fresh = refreshed.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(site.get("/v0/pipes/all_sales.json", &value).await.status, 403);
    assert_eq!(site.get("/v0/pipes/all_sales.json", &fresh).await.status, 200);
    let removed = reply(site.request(Method::DELETE, "/v0/tokens/short_lived").bearer_auth(ADMIN)).await;
    assert_eq!(removed.status, 200);
    assert_eq!(site.get("/v0/pipes/all_sales.json", &fresh).await.status, 403);
    site.stop().await;
}

#[tokio::test]
async fn a_signed_token_opens_what_it_says() {
    let site = Site::with_shop().await;
    let scopes = json!([
        {"type": "PIPES:READ", "resource": "by_item", "fixed_params": {"company": 2}},
        {"type": "PIPES:READ", "resource": "all_sales"},
        {"type": "DATASOURCES:READ", "resource": "sales", "filter": "company_id = 2"},
    ]);
    let token = site.signed(scopes.clone(), json!({})).await;
    // Made by the server, it is the same kind of thing.
    let path = format!("/v0/tokens/?name=app&expiration_time={}", now() + 60);
    let body = json!({"scopes": scopes}).to_string();
    let made = reply(site.request(Method::POST, &path).bearer_auth(ADMIN).body(body)).await.json();
    let made = made["token"].as_str().unwrap().to_owned();
    for token in [&token, &made] {
        // What is fixed wins, however the request says otherwise, also where the pipe is read in SQL.
        let two = json!([{"item": "spoon", "amount": 7}, {"item": "tea", "amount": 5}]);
        for path in
            ["/v0/pipes/by_item.json?company=1", "/v0/pipes/by_item.json", "/v0/pipes/by_item.json?company=1&company=2"]
        {
            let reply = site.get(path, token).await;
            assert_eq!(reply.json()["data"], two, "{path}: {}", reply.text);
            // And how much was read for it counts what was not for this token.
            assert_eq!(reply.json()["statistics"]["rows_read"], 2, "{path}: {}", reply.text);
        }
        let posted = site.form("/v0/pipes/by_item.json", token, &[("company", "1")]).await;
        assert_eq!(posted.json()["data"], two, "{}", posted.text);
        let form = [("q", "SELECT * FROM by_item"), ("company", "1")];
        assert_eq!(site.form("/v0/sql", token, &form).await.json()["data"], two);
        let form = [("q", "%SELECT {{Int16(company)}} AS c, * FROM by_item"), ("company", "1")];
        let asked = site.form("/v0/sql", token, &form).await.json()["data"].clone();
        assert_eq!((&asked[0]["c"], &asked[0]["amount"]), (&json!(1), &json!(7)));
        let form = [("q", "SELECT * FROM _"), ("pipeline", "by_item"), ("company", "1")];
        assert_eq!(site.form("/v0/sql", token, &form).await.json()["data"], two);
        let reply = site.get("/v0/pipes/all_sales.json", token).await.json();
        assert_eq!(reply["data"].as_array().unwrap().iter().filter(|it| it["company_id"] == 2).count(), 2);
        assert_eq!((&reply["rows"], &reply["statistics"]["rows_read"]), (&json!(2), &json!(2)));
        assert_eq!(site.get("/v0/tokens", token).await.status, 403);
    }
    site.stop().await;
}

#[tokio::test]
async fn a_signed_token_ends_with_its_time_and_its_key() {
    let site = Site::with_shop().await;
    let scopes = json!([{"type": "PIPES:READ", "resource": "all_sales"}]);
    let path = "/v0/pipes/all_sales.json";
    let good = site.signed(scopes.clone(), json!({})).await;
    assert_eq!(site.get(path, &good).await.status, 200);
    let stranger = site.get(path, "p.wrong").await;
    for claims in [json!({"exp": now()}), json!({"workspace_id": "another"}), json!({"nbf": now() + 60})] {
        let reply = site.get(path, &site.signed(scopes.clone(), claims.clone()).await).await;
        assert_eq!((reply.status.as_u16(), &reply.text), (403, &stranger.text), "{claims}");
    }
    for wrong in [
        json!([]),
        json!([{"type": "ADMIN", "resource": "x"}]),
        json!([{"type": "DATASOURCES:READ", "resource": "sales", "filter": "1)) OR ((1"}]),
    ] {
        let reply = site.get(path, &site.signed(wrong.clone(), json!({})).await).await;
        assert_eq!(reply.status, 403, "{wrong}");
        let body = json!({"scopes": wrong}).to_string();
        let asked = format!("/v0/tokens?name=app&expiration_time={}", now() + 60);
        assert_eq!(reply_status(&site, &asked, body).await, 400, "{wrong}");
    }
    let body = json!({"scopes": scopes}).to_string();
    assert_eq!(reply_status(&site, "/v0/tokens?name=app&expiration_time=7", body.clone()).await, 400);
    assert_eq!(reply_status(&site, "/v0/tokens?name=app&expiration_time=soon", body).await, 400);
    site.stop().await;
}

/// Who changed what, and what was denied, without any token's value.
#[tokio::test]
async fn changes_and_denials_leave_a_trail() {
    let site = Site::with_shop().await;
    let token = site.token("weak", &["PIPES:READ:all_sales"]).await;
    site.get("/v0/pipes/all_sales.json", &token).await;
    site.sql(&token, "SELECT * FROM sales").await;
    site.get("/v0/tokens", &token).await;
    site.get("/v0/datasources", "p.eyJ.nobody").await;
    reply(site.request(Method::DELETE, &format!("/v0/tokens/{token}")).bearer_auth(ADMIN)).await;
    let seen = site.seen();
    let trail: Vec<_> = seen
        .iter()
        .filter_map(|it| match it {
            Observation::Audited { token_name, method, path, resource, status, .. } => {
                Some((token_name.as_str(), method.as_str(), path.as_str(), resource.as_str(), *status))
            }
            _ => None,
        })
        .collect();
    let admin = "workspace admin token";
    let wanted = [
        (admin, "POST", "/v1/deploy", "", 200),
        (admin, "POST", "/v0/datasources", "sales", 200),
        (admin, "POST", "/v0/tokens", "weak", 200),
        ("weak", "POST", "/v0/sql", "", 403),
        ("weak", "GET", "/v0/tokens", "", 403),
        ("", "GET", "/v0/datasources", "", 403),
        (admin, "DELETE", "/v0/tokens/…", "", 200),
    ];
    assert_eq!(trail, wanted);
    let text = format!("{seen:?}");
    assert!(!text.contains(&token) && !text.contains(ADMIN), "{text}");
    site.stop().await;
}

/// Whoever copies the data directory without its key has no token and no secret.
#[tokio::test]
async fn a_copied_data_directory_opens_nothing() {
    let site = Site::with_shop().await;
    let value = site.token("kept", &["PIPES:READ:all_sales"]).await;
    let again = reply(site.request(Method::POST, "/v0/tokens/kept/refresh").bearer_auth(ADMIN)).await.json();
    let fresh = again["token"].as_str().unwrap().to_owned();
    site.form("/v0/variables", ADMIN, &[("name", "pepper"), ("value", "hush-hush"), ("type", "secret")]).await;
    let signed = site.signed(json!([{"type": "PIPES:READ", "resource": "all_sales"}]), json!({})).await;
    for token in [&value, &fresh, &signed] {
        site.get("/v0/pipes/all_sales.json", token).await;
        site.sql(token, "SELECT 'looked for' FROM all_sales").await;
    }
    let files = files(site.directory.path());
    let names: Vec<_> = files.iter().map(|it| it.file_name().unwrap().to_str().unwrap()).collect();
    assert!(names.contains(&"key") && names.contains(&"store.sqlite"), "{names:?}");
    for file in files.iter().filter(|it| !it.ends_with("key")) {
        let bytes = fs::read(file).unwrap_or_default();
        let holds = |text: &str| bytes.windows(text.len()).any(|it| it == text.as_bytes());
        for value in [&value, &fresh, &signed, ADMIN, "hush-hush"] {
            let last = value.rsplit('.').next().unwrap();
            assert!(!holds(value) && !holds(last), "{}", file.display());
        }
    }
    // What is looked for would be found: the names are there.
    let store = fs::read(site.directory.path().join("data/store.sqlite")).unwrap();
    let journal = fs::read(site.directory.path().join("data/store.sqlite-wal")).unwrap_or_default();
    assert!([store, journal].iter().any(|it| it.windows(4).any(|it| it == b"kept")));
    site.stop().await;
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let of = |path: std::path::PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.flat_map(|it| of(it.path())).collect()
}

/// Whoever manages tokens makes and sees none that is stronger than that right.
#[tokio::test]
async fn a_manager_of_tokens_does_not_become_an_administrator() {
    let site = Site::with_shop().await;
    let manager = site.token("manager", &["TOKENS"]).await;
    let narrow = site.token("narrow", &["TOKENS", "DATASOURCES:READ:sales:company_id=1"]).await;
    let strong = site.token("strong", &["WORKSPACE:DEPLOY", "PIPES:READ:all_sales"]).await;
    let weak = site.token("weak", &["PIPES:READ:all_sales"]).await;
    let call =
        async |method: Method, path: &str, token: &str| reply(site.request(method, path).bearer_auth(token)).await;
    for token in [&manager, &narrow] {
        let listed = call(Method::GET, "/v0/tokens", token).await;
        for value in [ADMIN, &strong] {
            assert!(!listed.text.contains(value), "{}", listed.text);
            for name in ["workspace%20admin%20token", "strong", value] {
                for (method, tail) in
                    [(Method::GET, ""), (Method::POST, "/refresh"), (Method::DELETE, ""), (Method::GET, "/audit")]
                {
                    let refused = call(method.clone(), &format!("/v0/tokens/{name}{tail}"), token).await;
                    assert_eq!(refused.status, 404, "{method} {name}{tail}: {}", refused.text);
                    let absent = call(method, &format!("/v0/tokens/nobody{tail}"), token).await;
                    assert_eq!(absent.status, 404);
                }
                let refused = call(Method::PUT, &format!("/v0/tokens/{name}?scope=TOKENS"), token).await;
                assert_eq!(refused.status, 404, "{}", refused.text);
            }
        }
        for scope in ["ADMIN", "ADMIN_USER", "WORKSPACE:DEPLOY", "WORKSPACE:READ_ALL"] {
            for (method, path) in [
                (Method::POST, format!("/v0/tokens?name=more&scope=PIPES:READ:all_sales&scope={scope}")),
                (Method::PUT, format!("/v0/tokens/manager?scope=TOKENS&scope={scope}")),
                (Method::PUT, format!("/v0/tokens/narrow?scope=TOKENS&scope={scope}")),
            ] {
                let refused = call(method, &path, token).await;
                assert!([403, 404].contains(&refused.status.as_u16()), "{path}: {} {}", refused.status, refused.text);
            }
        }
    }
    // What the right is for still goes.
    assert!(call(Method::GET, "/v0/tokens", &manager).await.text.contains(&weak));
    let made = call(Method::POST, "/v0/tokens?name=reader&scope=DATASOURCES:READ:sales", &manager).await;
    assert_eq!(made.status, 200, "{}", made.text);
    // Who sees a part of a source cannot give the whole of it away, signed or kept.
    for scope in ["DATASOURCES:READ:sales", "DATASOURCES:READ:sales:company_id=2", "PIPES:READ:all_sales"] {
        let refused = call(Method::POST, &format!("/v0/tokens?name=wide&scope={scope}"), &narrow).await;
        assert_eq!(refused.status, 403, "{scope}: {}", refused.text);
    }
    assert!(!call(Method::GET, "/v0/tokens", &narrow).await.text.contains(&weak));
    let sign = async |token: &str, scope: Value| {
        let path = format!("/v0/tokens?name=app&expiration_time={}", now() + 60);
        let body = json!({"scopes": [scope]}).to_string();
        reply(site.request(Method::POST, &path).bearer_auth(token).body(body)).await.status.as_u16()
    };
    let whole = json!({"type": "DATASOURCES:READ", "resource": "sales"});
    assert_eq!((sign(&narrow, whole.clone()).await, sign(&manager, whole).await), (403, 200));
    let part = json!({"type": "DATASOURCES:READ", "resource": "sales", "filter": "company_id=1"});
    assert_eq!(sign(&narrow, part).await, 200);
    assert_eq!(site.get("/v0/pipes/all_sales.json", &strong).await.status, 200);
    site.stop().await;
}

async fn reply_status(site: &Site, path: &str, body: String) -> u16 {
    reply(site.request(Method::POST, path).bearer_auth(ADMIN).body(body)).await.status.as_u16()
}

#[tokio::test]
async fn a_token_asks_as_often_as_it_may() {
    let site = Site::with_shop().await;
    let scopes = json!([{"type": "PIPES:READ", "resource": "all_sales"}]);
    // A token made anew has no rate of its own: those of one name are counted together.
    let token =
        async |later: u64| site.signed(scopes.clone(), json!({"limits": {"rps": 2}, "exp": now() + later})).await;
    let (first, second, third) = (token(100).await, token(200).await, token(300).await);
    let asked = std::time::Instant::now();
    let mut replies = Vec::new();
    while replies.last().is_none_or(|it: &crate::http::Reply| it.status == 200) {
        assert!(asked.elapsed() < Duration::from_secs(30), "never refused");
        // Together, so that they are in one second on a slow machine too.
        let path = "/v0/pipes/all_sales.json";
        let (a, b, c) = tokio::join!(site.get(path, &first), site.get(path, &second), site.get(path, &third));
        replies.extend([a, b, c]);
        replies.sort_by_key(|it| it.status);
    }
    let refused = replies.last().unwrap();
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, "1"));
    for reply in &replies {
        assert_eq!((reply.header("x-ratelimit-limit"), reply.header("x-ratelimit-reset")), ("2", "1"));
        assert!(reply.header("x-ratelimit-remaining").parse::<u32>().unwrap() < 2);
    }
    refused.error();
    // Others go on, and a token without a limit is told of none.
    assert_eq!(site.get("/v0/pipes/all_sales.json", ADMIN).await.header("x-ratelimit-limit"), "");
    site.stop().await;
}

/// The audit-log project as it is in this repository.
fn audit_log() -> Project {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for folder in ["datasources", "pipes", "endpoints"] {
        for entry in fs::read_dir(root.join(folder)).unwrap().map(Result::unwrap).filter(|it| it.path().is_file()) {
            let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
            sources.push(Source::new(path, fs::read_to_string(entry.path()).unwrap()));
        }
    }
    let (project, diagnostics) = project::resolve(&sources, &Context::default());
    assert!(!has_errors(&diagnostics), "{diagnostics:?}");
    project
}

#[test]
fn an_audit_shows_where_a_filter_does_not_reach() {
    let project = audit_log();
    let scopes = [
        "PIPES:READ:api_audit_log",
        "PIPES:READ:api_count_per_type",
        "PIPES:READ:api_totals",
        "DATASOURCES:READ:kafka_audit_log:company_id=1",
        "DATASOURCES:READ:companies:company_id=1",
        "DATASOURCES:READ:enriched_events_mv:name in (select name from companies where company_id = 1)",
    ];
    let audited = |scopes: &[&str]| {
        let scopes: Vec<_> = scopes.iter().map(|it| (*it).to_owned()).collect();
        query::audit(&project, &crate::sql::access(&scopes))
    };
    // The tour's token without its last line: the view's target shows every company.
    let audit = audited(&scopes);
    let reads = |endpoint: &str| {
        let found = audit.endpoints.iter().find(|it| it.name == endpoint).unwrap();
        found
            .reads
            .iter()
            .map(|it| (it.datasource.as_str(), it.filters.len(), it.unfiltered_from.join(" ")))
            .collect::<Vec<_>>()
    };
    assert_eq!(reads("api_audit_log"), [("enriched_events_mv", 1, String::new())]);
    assert_eq!(reads("api_count_per_type"), [("events_per_min_mv", 0, "companies kafka_audit_log".to_owned())]);
    let warning = "`events_per_min_mv` is read whole by `api_count_per_type`, though pipes fill it from \
                   `companies`, `kafka_audit_log`, of which the token sees a part only; \
                   DATASOURCES:READ:events_per_min_mv:<filter> narrows it";
    assert_eq!(audit.warnings, [warning]);
    let names = |reads: &[query::Read]| reads.iter().map(|it| it.datasource.clone()).collect::<Vec<_>>();
    assert_eq!(names(&audit.datasources), ["companies", "enriched_events_mv", "kafka_audit_log"]);
    // With it there is no gap; with the source open in SQL there is one more.
    let closed = [&scopes[..], &["DATASOURCES:READ:events_per_min_mv:company_id=1"]].concat();
    assert_eq!(audited(&closed).warnings, [] as [&str; 0]);
    let open = [&scopes[..], &["DATASOURCES:READ:events_per_min_mv"]].concat();
    assert!(audited(&open).warnings[0].contains("read whole by SQL, `api_count_per_type`"));
    assert_eq!(audited(&["ADMIN"]).warnings, [] as [&str; 0]);
}

#[tokio::test]
async fn a_secret_goes_in_and_never_out() {
    const VALUE: &str = "hush \\ '\t{{x}}";
    let site = Site::start().await;
    let form = [("name", "pepper"), ("value", VALUE), ("type", "secret")];
    let made = site.form("/v0/variables", ADMIN, &form).await;
    assert_eq!(made.json()["name"], "pepper");
    let files = [
        (
            "endpoints/length.pipe",
            "NODE n\nSQL >\n    %\n    SELECT length({{tb_secret(\"pepper\")}}) AS n\n\nTYPE endpoint\n",
        ),
        (
            "endpoints/fails.pipe",
            "NODE n\nSQL >\n    %\n    SELECT toUInt8({{tb_secret(\"pepper\")}}) AS n\n\nTYPE endpoint\n",
        ),
    ];
    let deployed = site.deploy(&files, "").await;
    assert_eq!(deployed.json()["result"], "success", "{}", deployed.text);
    let token = site.token("caller", &["PIPES:READ:length", "PIPES:READ:fails"]).await;
    let length = site.get("/v0/pipes/length.json", &token).await;
    assert_eq!(length.json()["data"][0]["n"], VALUE.len(), "{}", length.text);
    let mut told = vec![made.text, deployed.text, length.text];
    for (path, token) in [("/v0/variables", ADMIN), ("/v0/variables/pepper", ADMIN), ("/v0/pipes/fails.json", &*token)]
    {
        told.push(site.get(path, token).await.text);
    }
    // Whoever writes a text in SQL could print it: an administrator may.
    let printed = site.sql(&token, "%SELECT {{tb_secret('pepper')}} AS x").await;
    assert_eq!(printed.status, 400);
    told.push(printed.text);
    told.push(format!("{:?}", site.seen()));
    for text in told {
        assert!(!text.contains("hush"), "{text}");
    }
    for (path, status) in [("/v0/variables", 403), ("/v0/variables/pepper", 403), ("/v0/variables/nothing", 403)] {
        assert_eq!(site.get(path, &token).await.status, status);
    }
    assert_eq!(site.get("/v0/variables/nothing", ADMIN).await.status, 404);
    for (name, value) in [("1x", "v"), ("a b", "v"), ("a", "")] {
        assert_eq!(site.form("/v0/variables", ADMIN, &[("name", name), ("value", value)]).await.status, 400, "{name}");
    }
    let change =
        reply(site.request(Method::PUT, "/v0/variables/pepper").bearer_auth(ADMIN).form(&[("value", "no")])).await;
    assert_eq!(change.status, 200, "{}", change.text);
    assert_eq!(site.get("/v0/pipes/length.json", &token).await.json()["data"][0]["n"], 2);
    let removed = reply(site.request(Method::DELETE, "/v0/variables/pepper").bearer_auth(ADMIN)).await;
    assert_eq!(removed.json(), json!({"ok": true}));
    assert_eq!(site.get("/v0/pipes/length.json", &token).await.status, 400);
    site.stop().await;
}
