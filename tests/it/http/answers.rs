//! Answers of endpoints and of SQL, in every form that asks and is given.

use super::*;

#[tokio::test]
async fn an_endpoint_answers_in_each_format() {
    let site = Site::with_shop().await;
    let reply_json = site.get("/v0/pipes/by_item.json?company=1", ADMIN).await;
    let document = reply_json.json();
    // 64-bit numbers are numbers, to the last digit.
    assert!(reply_json.text.contains("18446744073709551615"), "{}", reply_json.text);
    assert_eq!(document["meta"], json!([{"name": "item", "type": "String"}, {"name": "amount", "type": "UInt64"}]));
    assert_eq!(document["data"][0], json!({"item": "mug, blue", "amount": 2}));
    assert_eq!(document["rows"], 2);
    for figure in ["elapsed", "rows_read", "bytes_read"] {
        assert!(document["statistics"][figure].is_number(), "{figure}: {document}");
    }
    assert_eq!(reply_json.header("content-length"), reply_json.text.len().to_string());

    let csv = site.get("/v0/pipes/by_item.csv?company=2", ADMIN).await;
    assert!(csv.header("content-type").starts_with("text/csv"));
    assert_eq!(csv.text, "\"item\",\"amount\"\n\"spoon\",7\n\"tea\",5\n");
    assert_eq!(site.get("/v0/pipes/by_item.csvwithnames?company=2", ADMIN).await.text, csv.text);
    // The header is there without rows too.
    assert_eq!(site.get("/v0/pipes/by_item.csv?company=9", ADMIN).await.text, "\"item\",\"amount\"\n");

    let lines = site.get("/v0/pipes/by_item.ndjson?company=2", ADMIN).await;
    assert!(lines.header("content-type").contains("ndjson"));
    assert_eq!(lines.text, "{\"item\":\"spoon\",\"amount\":7}\n{\"item\":\"tea\",\"amount\":5}\n");

    let odd = site.get("/v0/pipes/by_item.xml?company=2", ADMIN).await;
    assert_eq!(odd.status, 400);
    assert!(!odd.error().contains("xml") && odd.error().contains(".prometheus"));
    site.stop().await;
}

#[tokio::test]
async fn parameters_come_in_every_way() {
    let site = Site::with_shop().await;
    let spoon = |text: &str| text.contains("spoon");
    let path = "/v0/pipes/by_item.json";
    assert!(spoon(&site.form(path, ADMIN, &[("company", "2")]).await.text));
    let request = site.request(Method::POST, path).bearer_auth(ADMIN).json(&json!({"company": 2}));
    assert!(spoon(&reply(request).await.text));
    let noise = "cli_version=1.0.0&from=ui&debug=true&__tb__semver=1&company=2";
    assert!(spoon(&reply(site.request(Method::GET, &format!("{path}?token={ADMIN}&{noise}"))).await.text));
    // SQL over the result, by query string, form or as the body itself.
    let over = "select count() as n from _";
    let in_url = site.request(Method::GET, path).bearer_auth(ADMIN).query(&[("company", "2"), ("q", over)]);
    let as_body = site.request(Method::POST, &format!("{path}?company=2")).bearer_auth(ADMIN).body(over);
    for request in [in_url, as_body] {
        assert_eq!(reply(request).await.json()["data"], json!([{"n": 2}]));
    }
    let missing = site.get(path, ADMIN).await;
    assert_eq!(missing.status, 400);
    assert!(missing.error().contains("company"), "{}", missing.text);
    let wrong = site.get(&format!("{path}?company=many"), ADMIN).await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.error().contains("company"), "{}", wrong.text);
    site.stop().await;
}

#[tokio::test]
async fn an_authors_error_is_sent_as_it_is() {
    let site = Site::with_shop().await;
    assert_eq!(site.get("/v0/pipes/moods.json", ADMIN).await.json()["data"], json!([{"mood": "fine"}]));
    let reply = site.get("/v0/pipes/moods.json?mood=bad", ADMIN).await;
    assert_eq!((reply.status.as_u16(), reply.json()), (400, json!({"error": "no bad moods here"})));
    let reply = site.get("/v0/pipes/moods.json?mood=teapot", ADMIN).await;
    assert_eq!((reply.status.as_u16(), reply.json()), (418, json!({"short": true, "stout": true})));
    site.stop().await;
}

#[tokio::test]
async fn sql_comes_in_every_way() {
    let site = Site::with_shop().await;
    let query = "select count() as n from sales";
    let one = json!([{"n": 4}]);
    assert_eq!(site.sql(ADMIN, query).await.json()["data"], one);
    let post = |kind: Option<&str>, body: String| {
        let request = site.request(Method::POST, "/v0/sql").bearer_auth(ADMIN).body(body);
        match kind {
            Some(kind) => request.header(header::CONTENT_TYPE, kind),
            None => request,
        }
    };
    let form = Some("application/x-www-form-urlencoded");
    for request in [
        site.request(Method::GET, "/v0/sql").bearer_auth(ADMIN).query(&[("q", query)]),
        post(None, query.to_owned()),
        post(Some("text/plain"), query.to_owned()),
        post(form, query.to_owned()),
        post(None, json!({"q": query}).to_string()),
        post(Some("application/json"), json!({"q": query}).to_string()),
    ] {
        assert_eq!(reply(request).await.json()["data"], one);
    }
    for (format, kind, text) in [
        ("CSV", "text/csv; charset=utf-8", "4\n"),
        ("csvwithnames", "text/csv; charset=utf-8", "\"n\"\n4\n"),
        ("TSV", "text/plain", "4\n"),
        ("JSONEachRow", "application/x-ndjson", "{\"n\":4}\n"),
    ] {
        let reply = site.sql(ADMIN, &format!("{query} FORMAT {format}")).await;
        assert_eq!((reply.header("content-type"), reply.text.as_str()), (kind, text), "{format}");
    }
    for (query, words) in [
        ("", "`q`"),
        ("select", ""),
        ("selec 1", ""),
        ("select nothing from sales", "nothing"),
        ("select 1 from nothing", "nothing"),
        ("drop table sales", ""),
        ("select 1; select 2", ""),
        ("select 1 format Nonsense", "Nonsense"),
        ("select * from file('/etc/passwd')", "file"),
    ] {
        let reply = site.sql(ADMIN, query).await;
        assert_eq!(reply.status, 400, "{query}: {}", reply.text);
        let error = reply.error();
        assert!(error.contains(words), "{query}: {error}");
        assert!(!error.contains(site.app.workspace().namespace().database()), "{query}: {error}");
    }
    site.stop().await;
}

/// The project of this repository, over the wire as its users have it: two tokens made by the calls of the
/// README, and one company's rows for the second.
#[tokio::test]
async fn one_company_sees_its_own_audit_log() {
    let site = Site::with_audit_log().await;
    let event = |company: u32, number: u32| {
        json!({
            "datetime": format!("2026-01-31T12:00:{number:02}.000000"), "company_id": company, "event": "file_created",
            "payload": {"entity_id": format!("{number:032x}"), "author": format!("a{company}@example.com")},
            "device": {"browser": "Firefox", "OS": "Linux"},
        })
        .to_string()
    };
    let events: Vec<_> = (0..12).map(|it| event(it % 3 + 1, it)).collect();
    let append = site.request(Method::POST, "/v0/datasources?mode=append&name=kafka_audit_log&format=ndjson");
    let appended = reply(append.bearer_auth(ADMIN).body(events.join("\n"))).await;
    assert_eq!(appended.json()["quarantine_rows"], 0, "{}", appended.text);

    // As `curl -d` sends it: nothing is escaped.
    let curl = async |scopes: &[&str]| {
        let body = scopes.join("&");
        let kind = "application/x-www-form-urlencoded";
        let request = site.request(Method::POST, "/v0/tokens/").bearer_auth(ADMIN);
        reply(request.header(header::CONTENT_TYPE, kind).body(body)).await
    };
    let pipes = [
        "scope=PIPES:READ:api_audit_log",
        "scope=PIPES:READ:api_totals",
        "scope=PIPES:READ:api_ui_filters",
        "scope=PIPES:READ:api_count_per_type",
    ];
    let made = curl(&[&["name=endpoints_token"], &pipes[..]].concat()).await;
    let everyone = made.json()["token"].as_str().unwrap().to_owned();
    let scope = |kind: &str, resource: &str, filter: &str| {
        format!(r#"{{"type":"{kind}","resource":"{resource}","filter":"{filter}"}}"#)
    };
    let pipe_scopes = ["api_audit_log", "api_totals", "api_ui_filters", "api_count_per_type"]
        .map(|it| scope("PIPES:READ", it, ""))
        .join(",");
    assert_eq!(made.text, format!(r#"{{"token":"{everyone}","scopes":[{pipe_scopes}],"name":"endpoints_token"}}"#));
    let filters = [
        "scope=DATASOURCES:READ:kafka_audit_log:company_id=1",
        "scope=DATASOURCES:READ:companies:company_id=1",
        "scope=DATASOURCES:READ:enriched_events_mv:name in (select name from companies where company_id = 1)",
        "scope=DATASOURCES:READ:enriched_events_mv:name in (select name from companies where company_id = 1)",
        "scope=DATASOURCES:READ:events_per_min_mv:company_id=1",
    ];
    let made = curl(&[&["name=company_1_token"], &pipes[..], &filters[..]].concat()).await;
    let company_1 = made.json()["token"].as_str().unwrap().to_owned();
    let filter_scopes = [
        ("kafka_audit_log", "company_id=1"),
        ("companies", "company_id=1"),
        ("enriched_events_mv", "name in (select name from companies where company_id = 1)"),
        ("events_per_min_mv", "company_id=1"),
    ]
    .map(|(resource, filter)| scope("DATASOURCES:READ", resource, filter))
    .join(",");
    assert_eq!(
        made.text,
        format!(r#"{{"token":"{company_1}","scopes":[{pipe_scopes},{filter_scopes}],"name":"company_1_token"}}"#)
    );

    let data = async |path: &str, token: &str| {
        let reply = site.get(&format!("/v0/pipes/{path}"), token).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        reply.json()["data"].as_array().unwrap().clone()
    };
    for (token, events, companies) in [(&everyone, 12, 6), (&company_1, 4, 2)] {
        assert_eq!(data("api_totals.json", token).await[0]["total_events"], events);
        let messages = data("api_audit_log.json", token).await;
        assert_eq!(messages.len(), events);
        let own = messages.iter().filter(|it| it["message"].as_str().unwrap().starts_with("a1@")).count();
        assert_eq!(own, 4);
        assert_eq!(data("api_ui_filters.json?filter=companies", token).await.len(), companies);
        assert_eq!(data("api_count_per_type.json", token).await[0]["file_created"], events);
        // A column of numbers compared with a String parameter.
        assert_eq!(data("api_totals.json?company_id=1", token).await[0]["total_events"], 4);
        assert_eq!(
            data("api_totals.json?company_id=2", token).await[0]["total_events"],
            if events == 4 { 0 } else { 4 }
        );
        assert_eq!(site.get("/v0/pipes/events_per_company.json", token).await.status, 403);
    }
    let wrong = site.get("/v0/pipes/api_ui_filters.json?filter=colours", &everyone).await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.json()),
        (400, json!({"error": "filter must be 'companies' or 'events'"}))
    );
    for (query, rows) in [
        ("select count() as n from kafka_audit_log", 4),
        ("select count() as n from enriched_events_mv", 4),
        ("select sum(total_events) as n from events_per_min_mv", 4),
        ("select count() as n from companies", 1),
        ("select count() as n from api_audit_log", 4),
    ] {
        assert_eq!(site.sql(&company_1, query).await.json()["data"][0]["n"], rows, "{query}");
    }
    assert_eq!(site.sql(&company_1, "select 1 from events_per_company").await.status, 403);
    assert_eq!(site.sql(&everyone, "select 1 from companies").await.status, 403);
    site.stop().await;
}
