//! Answers that are given again, answers that a client has already, and plans.

use super::*;

const STOCK: &[(&str, &str)] = &[
    (
        "datasources/stock.datasource",
        "SCHEMA >\n    `company_id` Int16,\n    `item` String\n\nENGINE_SORTING_KEY \"item\"\n",
    ),
    (
        "endpoints/kept.pipe",
        "NODE n\nSQL >\n    %\n    {{ cache_ttl('1h') }} SELECT item FROM stock WHERE item != {{ String(but, '') }} ORDER BY item\n\n\
         TYPE endpoint\n",
    ),
    ("endpoints/live.pipe", "NODE n\nSQL >\n    SELECT item FROM stock ORDER BY item\n\nTYPE endpoint\n"),
];

async fn site() -> Site {
    let site = Site::start().await;
    let reply = site.deploy(STOCK, "").await;
    assert_eq!(reply.json()["result"], "success", "{}", reply.text);
    site.append("stock", "append", "company_id,item\n1,ale\n2,bun\n").await;
    site
}

#[tokio::test]
async fn an_answer_is_kept_for_as_long_as_its_endpoint_says() {
    let site = site().await;
    let first = site.get("/v0/pipes/kept.json", ADMIN).await;
    assert_eq!(first.json()["rows"], 2, "{}", first.text);
    assert_eq!((first.header("cache-control"), first.header("age")), ("private, max-age=3600", ""));
    site.append("stock", "append", "company_id,item\n1,egg\n").await;
    // The same question, in whichever way it comes, has the same answer; another has its own.
    let again = site.get("/v0/pipes/kept.json", ADMIN).await;
    assert_eq!(again.text, first.text);
    assert!(!again.header("age").is_empty(), "{:?}", again.headers);
    assert_eq!(site.form("/v0/pipes/kept.json", ADMIN, &[("but", "")]).await.text, first.text);
    assert_eq!(site.get("/v0/pipes/kept.json?but=ale", ADMIN).await.json()["rows"], 2);
    assert_eq!(site.get("/v0/pipes/kept.csv", ADMIN).await.text, "\"item\"\n\"ale\"\n\"bun\"\n\"egg\"\n");
    let live = site.get("/v0/pipes/live.json", ADMIN).await;
    assert_eq!((live.json()["rows"].as_u64(), live.header("cache-control")), (Some(3), ""));
    // In one's own SQL nothing is kept.
    assert_eq!(site.sql(ADMIN, "select count() as n from kept").await.json()["data"], json!([{"n": 3}]));
    // A call that is answered so is a call.
    let stats = "select count() as n, sum(read_rows) as read from tinybird.pipe_stats_rt where pipe_name = 'kept' \
                 and url = '/v0/pipes/kept.json' and method = 'GET'";
    assert_eq!(site.sql(ADMIN, stats).await.json()["data"], json!([{"n": 2, "read": 2}]));
    // Another text of the endpoint is another question.
    let text = STOCK[1].1.replace("SELECT item", "SELECT upper(item) AS item");
    let reply = site.deploy(&[STOCK[0], (STOCK[1].0, &text), STOCK[2]], "").await;
    assert_eq!(reply.json()["result"], "success", "{}", reply.text);
    assert_eq!(site.get("/v0/pipes/kept.json", ADMIN).await.json()["data"][0], json!({"item": "ALE"}));
    site.stop().await;
}

#[tokio::test]
async fn nobody_is_given_what_was_kept_for_another() {
    let site = site().await;
    let one = site.token("one", &["PIPES:READ:kept", "DATASOURCES:READ:stock:company_id = 1"]).await;
    let two = site.token("two", &["PIPES:READ:kept", "DATASOURCES:READ:stock:company_id = 2"]).await;
    let all = site.token("all", &["PIPES:READ:kept"]).await;
    let rows = |items: &[&str]| json!(items.iter().map(|it| json!({ "item": it })).collect::<Vec<_>>());
    for _ in 0..2 {
        for (token, items) in [(&all, &["ale", "bun"][..]), (&one, &["ale"]), (&two, &["bun"])] {
            assert_eq!(site.get("/v0/pipes/kept.json", token).await.json()["data"], rows(items));
        }
    }
    // Nor after a change of its own rights.
    let narrowed = [("scope", "PIPES:READ:kept"), ("scope", "DATASOURCES:READ:stock:company_id = 2")];
    let changed = reply(site.request(Method::PUT, "/v0/tokens/one").bearer_auth(ADMIN).form(&narrowed)).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    assert_eq!(site.get("/v0/pipes/kept.json", &one).await.json()["data"], rows(&["bun"]));
    let deleted = reply(site.request(Method::DELETE, "/v0/tokens/one").bearer_auth(ADMIN)).await;
    assert_eq!(deleted.status, 200, "{}", deleted.text);
    assert_eq!(site.get("/v0/pipes/kept.json", &one).await.status, 403);
    site.stop().await;
}

#[tokio::test]
async fn what_a_client_has_is_not_sent_again() {
    let site = site().await;
    let ask = async |path: &str, tag: &str| {
        let request = site.request(Method::GET, path).bearer_auth(ADMIN).header(header::IF_NONE_MATCH, tag);
        reply(request).await
    };
    for path in ["/v0/pipes/live.json", "/v0/pipes/live.csv", "/v0/pipes/kept.ndjson"] {
        let first = site.get(path, ADMIN).await;
        let tag = first.header("etag").to_owned();
        assert!(tag.starts_with("W/\"") && first.status == 200, "{path}: {:?}", first.headers);
        for asked in [tag.clone(), format!("\"other\", {}", tag.trim_start_matches("W/")), "*".to_owned()] {
            let known = ask(path, &asked).await;
            assert_eq!((known.status.as_u16(), known.text.as_str(), known.header("etag")), (304, "", &*tag), "{path}");
        }
        assert_eq!(ask(path, "\"other\"").await.status, 200);
    }
    let before = site.get("/v0/pipes/live.json", ADMIN).await.header("etag").to_owned();
    site.append("stock", "append", "company_id,item\n1,egg\n").await;
    let after = ask("/v0/pipes/live.json", &before).await;
    assert_eq!((after.status.as_u16(), after.json()["rows"].as_u64()), (200, Some(3)));
    // By POST there is always an answer, and an error has no tag.
    let posted = site.request(Method::POST, "/v0/pipes/live.json").bearer_auth(ADMIN).header("if-none-match", "*");
    assert_eq!(reply(posted).await.status, 200);
    let wrong = ask("/v0/pipes/live.json?q=select+nothing+from+_", "*").await;
    assert_eq!((wrong.status.as_u16(), wrong.header("etag")), (400, ""));
    site.stop().await;
}

#[tokio::test]
async fn a_plan_is_for_administrators_and_speaks_of_the_project() {
    let site = site().await;
    let plan = async |token: &str, path: &str| site.get(&format!("/v0/sql?explain=true&{path}"), token).await;
    let told = plan(ADMIN, "q=select+item+from+stock+where+item+%3D+'ale'").await;
    assert_eq!(told.status, 200, "{}", told.text);
    let lines: Vec<_> = told.json()["data"].as_array().unwrap().iter().map(|it| it["explain"].to_string()).collect();
    assert!(lines.iter().any(|it| it.contains("stock")) && lines.iter().any(|it| it.contains("item")), "{lines:?}");
    assert!(!told.text.contains(site.app.workspace().namespace().database()), "{}", told.text);
    let of_pipe = plan(ADMIN, "pipeline=kept&but=ale&q=select+count()+from+_").await;
    assert!(of_pipe.text.contains("stock"), "{}", of_pipe.text);
    assert_eq!(plan(ADMIN, "q=select+nothing+from+stock").await.status, 400);
    // The text itself may ask for it, in this form alone, and nobody else is told a plan.
    let told = site.sql(ADMIN, "explain plan select item from stock").await;
    assert!(told.status == 200 && told.text.contains("stock"), "{}", told.text);
    for text in ["explain ast select 1", "explain indexes = 1 select 1", "explain insert into stock select 1"] {
        assert_eq!(site.sql(ADMIN, text).await.status, 400, "{text}");
        assert_eq!(
            site.sql(ADMIN, &format!("SELECT * FROM ({text}) LIMIT 100 FORMAT JSON")).await.status,
            400,
            "{text}"
        );
    }
    // `tb sql` puts every text into brackets and says how many rows it wants, in which format.
    let wrapped = "SELECT * FROM (explain select item from stock where item = 'ale') LIMIT";
    let rows = site.sql(ADMIN, &format!("{wrapped} 100 FORMAT JSON")).await.json();
    let lines: Vec<_> = rows["data"].as_array().unwrap().iter().map(|it| it["explain"].as_str().unwrap()).collect();
    assert!(lines.iter().any(|it| it.contains("stock")) && rows["rows"] == lines.len(), "{rows}");
    for (format, kind, text) in [
        ("CSVWithNames", "text/csv; charset=utf-8", format!("\"explain\"\n\"{}\"\n", lines[0])),
        ("TSV", "text/plain", format!("{}\n", lines[0])),
        ("JSONEachRow", "application/x-ndjson", format!("{}\n", json!({"explain": lines[0]}))),
    ] {
        let told = site.sql(ADMIN, &format!("{wrapped} 1 FORMAT {format}")).await;
        assert_eq!((told.header("content-type"), &told.text), (kind, &text), "{format}");
    }
    let binary = site.sql(ADMIN, &format!("{wrapped} 1 FORMAT Parquet")).await;
    assert!(binary.status == 400 && binary.error().contains("a plan comes in"), "{}", binary.text);
    for scopes in [&["DATASOURCES:READ:stock"][..], &["DATASOURCES:READ:stock:company_id = 1"]] {
        let token = site.token(&format!("t{}", scopes[0].len()), scopes).await;
        assert_eq!(site.sql(&token, "select item from stock").await.status, 200);
        let refused = plan(&token, "q=select+item+from+stock").await;
        assert_eq!(refused.status, 403);
        for text in ["explain select item from stock", "SELECT * FROM (explain select item from stock) LIMIT 100"] {
            assert_eq!(site.sql(&token, text).await.status, 403, "{text}");
        }
        assert!(!refused.text.contains("company_id"), "{}", refused.text);
    }
    let secret = site.form("/v0/variables", ADMIN, &[("name", "word"), ("value", "hush")]).await;
    assert_eq!(secret.status, 200, "{}", secret.text);
    let hidden = plan(ADMIN, "q=%25select+item+from+stock+where+item+%3D+%7B%7Btb_secret('word')%7D%7D").await;
    assert_eq!(hidden.status, 400);
    assert!(hidden.error().contains("secrets") && !hidden.text.contains("hush"), "{}", hidden.text);
    site.stop().await;
}
