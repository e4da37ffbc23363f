//! What there is: tokens, connections, projects, data sources.

use super::*;

#[tokio::test]
async fn tokens_are_made_shown_changed_and_removed() {
    let site = Site::with_shop().await;
    let form = [
        ("name", "shop"),
        ("scope", "PIPES:READ:all_sales"),
        ("scope", "DATASOURCES:READ:sales:company_id = 1"),
        ("scope", "DATASOURCES:READ:sales:company_id = 1"),
    ];
    let made = site.form("/v0/tokens/", ADMIN, &form).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let token = made.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(
        made.text.replace(&token, "T"),
        r#"{"token":"T","scopes":[{"type":"PIPES:READ","resource":"all_sales","filter":""},{"type":"DATASOURCES:READ","resource":"sales","filter":"company_id = 1"}],"name":"shop"}"#
    );
    let again = site.form("/v0/tokens/", ADMIN, &form).await;
    assert_eq!(again.status, 400);
    assert!(again.error().contains("PUT /v0/tokens/shop"), "{}", again.text);

    let by_name = site.get("/v0/tokens/shop", ADMIN).await.json();
    let id = by_name["id"].as_str().unwrap();
    for key in [id, &token] {
        assert_eq!(site.get(&format!("/v0/tokens/{key}"), ADMIN).await.json(), by_name);
    }
    let listed = site.get("/v0/tokens", ADMIN).await.json();
    assert!(listed["tokens"].as_array().unwrap().contains(&by_name), "{listed}");
    assert_eq!(site.get("/v0/tokens", &token).await.status, 403);

    // The filter holds in the endpoint and in SQL, and the figures do not count what it hides.
    for reply in [
        site.get("/v0/pipes/all_sales.json", &token).await,
        site.sql(&token, "select company_id, item, amount from sales order by item").await,
    ] {
        let document = reply.json();
        assert_eq!(document["rows"], 2, "{document}");
        assert!(document["data"].as_array().unwrap().iter().all(|it| it["company_id"] == 1), "{document}");
        assert_eq!(document["statistics"]["rows_read"], 2, "{document}");
    }
    assert_eq!(site.get("/v0/pipes/by_item.json?company=1", &token).await.status, 403);
    let shown = site.get("/v0/datasources", &token).await.json();
    assert_eq!(shown["datasources"][0]["statistics"]["row_count"], 0, "{shown}");

    // A PUT without the filter lifts nothing.
    let path = "/v0/tokens/shop?scope=PIPES:READ:by_item&scope=DATASOURCES:READ:sales";
    let changed = reply(site.request(Method::PUT, path).bearer_auth(ADMIN)).await.json();
    assert_eq!(
        changed["scopes"],
        json!([
            {"type": "PIPES:READ", "resource": "by_item", "filter": ""},
            {"type": "DATASOURCES:READ", "resource": "sales", "filter": "company_id = 1"},
        ])
    );
    assert_eq!(site.get("/v0/pipes/by_item.json?company=2", &token).await.json()["rows"], 0);
    assert_eq!(site.get("/v0/pipes/all_sales.json", &token).await.status, 403);

    let refreshed = reply(site.request(Method::POST, "/v0/tokens/shop/refresh").bearer_auth(ADMIN)).await.json();
    assert_eq!(site.get("/v0/workspace", &token).await.status, 403);
    let token = refreshed["token"].as_str().unwrap().to_owned();
    assert_eq!(site.get("/v0/workspace", &token).await.status, 200);
    let removed = reply(site.request(Method::DELETE, "/v0/tokens/shop").bearer_auth(ADMIN)).await;
    assert!(removed.status.is_success());
    assert_eq!(site.get("/v0/workspace", &token).await.status, 403);
    assert_eq!(site.get("/v0/tokens/shop", ADMIN).await.status, 404);

    // JSON, and the shapes that make no token.
    let request = site.request(Method::POST, "/v0/tokens").bearer_auth(ADMIN);
    let body = json!({"name": "sdk", "scopes": [{"type": "PIPES:READ", "resource": "by_item"}, "TOKENS"]});
    let made = reply(request.json(&body)).await.json();
    assert_eq!(
        made["scopes"],
        json!([{"type": "PIPES:READ", "resource": "by_item", "filter": ""}, {"type": "TOKENS"}])
    );
    for (form, words) in [
        (vec![("scope", "ADMIN")], "name"),
        (vec![("name", "x"), ("scope", "PIPES:WRITE:y")], "PIPES:WRITE:y"),
        (vec![("name", "x"), ("expiration_time", "1")], "expiration_time"),
    ] {
        let reply = site.form("/v0/tokens", ADMIN, &form).await;
        assert_eq!(reply.status, 400);
        assert!(reply.error().contains(words), "{}", reply.text);
    }
    // No line of the log has seen the token.
    let observed = format!("{:?}", site.observed.lock().unwrap());
    assert!(!observed.contains(&token) && !observed.contains(ADMIN));
    site.stop().await;
}

#[tokio::test]
async fn connections_never_show_their_secret() {
    let site = Site::start().await;
    let body = json!({
        "service": "kafka", "name": "broker", "kafka_bootstrap_servers": "127.0.0.1:9", "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_mechanism": "PLAIN", "kafka_sasl_plain_username": "me", "kafka_sasl_plain_password": "hush-hush",
    });
    let made = reply(site.request(Method::POST, "/v0/connectors").bearer_auth(ADMIN).json(&body)).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let listed = site.get("/v0/connectors?service=kafka", ADMIN).await;
    let shown = site.get("/v0/connectors/broker", ADMIN).await;
    assert_eq!(listed.json()["connectors"], json!([made.json()]));
    assert_eq!(shown.json(), made.json());
    assert_eq!(made.json()["linkers"], json!([]));
    assert_eq!(made.json()["settings"]["kafka_bootstrap_servers"], "127.0.0.1:9");
    for reply in [&made, &listed, &shown] {
        assert!(!reply.text.contains("hush-hush"));
    }
    assert_eq!(site.get("/v0/connectors?service=s3", ADMIN).await.json()["connectors"], json!([]));
    let request = site.request(Method::POST, "/v0/connectors").bearer_auth(ADMIN);
    let odd = reply(request.json(&json!({"service": "carrier_pigeon", "name": "x"}))).await;
    assert!(odd.status == 400 && odd.error().contains("carrier_pigeon"));
    // What is said anew changes, the secret stays, and neither it nor a secret of before comes out in a file.
    let change = async |fields: &[(&str, &str)]| {
        reply(site.request(Method::PUT, "/v0/connectors/broker").bearer_auth(ADMIN).form(fields)).await
    };
    let changed = change(&[("kafka_bootstrap_servers", "127.0.0.1:10")]).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    assert_eq!(changed.json()["id"], made.json()["id"]);
    assert_eq!(changed.json()["settings"]["kafka_bootstrap_servers"], "127.0.0.1:10");
    assert_eq!(change(&[("kafka_bootstrap_servers", "nowhere")]).await.status, 400);
    assert_eq!(change(&[("name", "other")]).await.status, 400);
    let file = site.get("/v0/connectors/broker.connection", ADMIN).await;
    assert_eq!(file.header("content-type"), "text/plain");
    let expected = "TYPE kafka\nKAFKA_BOOTSTRAP_SERVERS 127.0.0.1:10\nKAFKA_KEY me\nKAFKA_SASL_MECHANISM PLAIN\n\
                    KAFKA_SECRET {{ tb_secret(\"broker_secret\") }}\nKAFKA_SECURITY_PROTOCOL SASL_SSL\n";
    assert_eq!(file.text, expected);
    let told = site.get("/v0/connectors/broker.connection?include_metadata=true", ADMIN).await.json();
    assert_eq!(told["content"], expected);
    assert!(told["warnings"][0]["message"].as_str().unwrap().contains("broker_secret"), "{told}");
    assert_eq!(site.get("/v0/connectors/nothing.connection", ADMIN).await.status, 404);
    let removed = reply(site.request(Method::DELETE, "/v0/connectors/broker").bearer_auth(ADMIN)).await;
    assert!(removed.status.is_success());
    assert_eq!(site.get("/v0/connectors/broker", ADMIN).await.status, 404);
    site.stop().await;
}

#[tokio::test]
async fn a_project_is_deployed_checked_and_left_alone() {
    let site = Site::start().await;
    let checked = site.deploy(SHOP, "?check=true").await.json();
    assert_eq!(checked["result"], "success", "{checked}");
    assert!(checked["plan"].as_array().unwrap().len() >= 4, "{checked}");
    assert!(checked["plan"][0]["text"].as_str().unwrap().contains("sales"), "{checked}");
    assert_eq!(site.get("/v0/datasources/sales", ADMIN).await.status, 404);

    let done = site.deploy(SHOP, "").await.json();
    assert_eq!(done["deployment"]["new_datasource_names"], json!(["sales"]), "{done}");
    assert_eq!(done["deployment"]["new_pipe_names"], json!(["all_sales", "by_item", "moods"]), "{done}");
    assert_eq!((&done["deployment"]["live"], &done["deployment"]["errors"]), (&json!(true), &json!([])));
    let again = site.deploy(SHOP, "").await.json();
    assert_eq!((&again["result"], &again["plan"]), (&json!("no_changes"), &json!([])), "{again}");

    let broken = [("endpoints/broken.pipe", "NODE n\nSQL >\n    SELECT itme FROM sales\n\nTYPE endpoint\n")];
    let failed = site.deploy(&broken, "?partial=true").await;
    assert_eq!(failed.status, 200);
    let failed = failed.json();
    assert_eq!((&failed["result"], failed.get("error")), (&json!("failed"), None), "{failed}");
    let diagnostic = &failed["diagnostics"][0];
    assert_eq!((&diagnostic["severity"], &diagnostic["path"]), (&json!("error"), &json!("endpoints/broken.pipe")));
    assert_eq!(diagnostic["line"], 3, "{failed}");
    assert_eq!(failed["deployment"]["errors"][0]["filename"], "endpoints/broken.pipe");
    assert_eq!(site.get("/v0/pipes/broken", ADMIN).await.status, 404);
    assert_eq!(site.get("/v0/pipes/moods.json", ADMIN).await.status, 200);

    let outside = site.deploy(&[("../x.pipe", "NODE n\n")], "").await;
    assert!(outside.status == 400 && outside.error().contains("../x.pipe"));
    let no_multipart = reply(site.request(Method::POST, "/v1/deploy").bearer_auth(ADMIN).body("NODE n")).await;
    assert_eq!(no_multipart.status, 400);
    no_multipart.error();
    site.stop().await;
}

#[tokio::test]
async fn data_sources_are_shown_and_filled() {
    let site = Site::with_shop().await;
    let shown = site.get("/v0/datasources/sales", ADMIN).await.json();
    assert_eq!(shown["statistics"]["row_count"], 4, "{shown}");
    assert_eq!(shown["engine"]["engine_sorting_key"], "company_id, item");
    assert_eq!(shown["schema"]["sql_schema"], "`company_id` Int16, `item` String, `amount` UInt64");
    let id = shown["id"].as_str().unwrap();
    assert_eq!(site.get(&format!("/v0/datasources/{id}"), ADMIN).await.json(), shown);
    let listed = site.get("/v0/datasources?attrs=id,name,description,columns", ADMIN).await.json();
    let mut fields: Vec<_> = listed["datasources"][0].as_object().unwrap().keys().cloned().collect();
    fields.sort();
    let mut wanted =
        ["id", "name", "description", "columns", "engine", "indexes", "new_columns_detected", "quarantine_rows"];
    wanted.sort();
    assert_eq!(fields, wanted);

    for path in ["/v0/datasources/sales.datasource", "/v0/datasources/sales?format=datasource"] {
        let file = site.get(path, ADMIN).await;
        assert_eq!((file.header("content-type"), file.text.as_str()), ("text/plain", SHOP[0].1), "{path}");
    }
    for path in ["/v0/pipes/moods.pipe", "/v1/pipes/moods.pipe"] {
        let file = site.get(path, ADMIN).await;
        assert_eq!((file.header("content-type"), file.text.as_str()), ("text/plain", SHOP[3].1), "{path}");
    }

    let replaced = site.append("sales", "replace", "company_id,item,amount\n3,cup,1\n").await.json();
    assert_eq!(replaced["datasource"]["name"], "sales");
    assert_eq!((&replaced["quarantine_rows"], &replaced["error"]), (&json!(0), &json!(null)));
    assert_eq!(site.sql(ADMIN, "select item from sales").await.json()["data"], json!([{"item": "cup"}]));

    // A row that does not fit goes to the quarantine, and the good one arrives.
    let half = site.append("sales", "append", "company_id,item,amount\nmany,cup,1\n4,pot,1\n").await.json();
    assert_eq!((&half["quarantine_rows"], &half["blocks"][0]["process_return"][0]["lines"]), (&json!(1), &json!(1)));
    let raw = site.request(Method::POST, "/v0/datasources?mode=append&name=sales&format=csv").bearer_auth(ADMIN);
    assert_eq!(reply(raw.body("company_id,item,amount\n5,jar,1\n")).await.status, 200);
    assert_eq!(site.sql(ADMIN, "select count() as n from sales").await.json()["data"], json!([{"n": 3}]));
    for (path, words) in [
        ("mode=append", "name"),
        ("mode=upsert&name=sales", "upsert"),
        ("mode=append&name=sales&format=xls", "xls"),
        ("mode=append&name=sales&url=ftp://x", "ftp"),
        ("name=sales", "schema"),
    ] {
        let request = site.request(Method::POST, &format!("/v0/datasources?{path}")).bearer_auth(ADMIN);
        let reply = reply(request.body("x")).await;
        assert_eq!(reply.status, 400, "{path}: {}", reply.text);
        assert!(reply.error().contains(words), "{path}: {}", reply.text);
    }
    let appends = site.token("appends", &["DATASOURCES:APPEND:sales"]).await;
    for (mode, status) in [("append", 200), ("replace", 403)] {
        let path = format!("/v0/datasources?mode={mode}&name=sales&format=csv");
        let request = site.request(Method::POST, &path).bearer_auth(&appends);
        assert_eq!(reply(request.body("company_id,item,amount\n6,lid,1\n")).await.status.as_u16(), status, "{mode}");
    }
    site.stop().await;
}

#[tokio::test]
async fn a_condition_that_is_wrong_is_named_and_nothing_of_ours_is_quoted() {
    let site = Site::start().await;
    let target =
        "SCHEMA >\n    `item` String,\n    `sold` UInt64\n\nENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"item\"\n";
    let view = "NODE n\nSQL >\n    SELECT item, amount AS sold FROM sales\n\nTYPE materialized\nDATASOURCE gone\n";
    let mut files = SHOP.to_vec();
    files.extend([("datasources/gone.datasource", target), ("pipes/sell.pipe", view)]);
    let deployed = site.deploy(&files, "").await;
    assert_eq!(deployed.json()["result"], "success", "{}", deployed.text);
    let elsewhere = site.form("/v0/pipes/sell/nodes/other/population", ADMIN, &[]).await;
    assert_eq!(elsewhere.status, 404, "{}", elsewhere.text);
    let database = site.app.workspace().namespace().database().to_owned();
    for (condition, words) in [
        ("no such column", "`such` cannot stand here"),
        ("amount >", "ends where more is expected"),
        ("nothing = 1", "`nothing`"),
        ("amount = 'many'", ""),
        ("1) or (1", ""),
        ("amount = 1; drop table sales", ""),
        ("item in (select name from nowhere)", ""),
    ] {
        let populate = "/v0/pipes/sell/nodes/n/population";
        for (path, field) in [(populate, "populate_condition"), ("/v0/datasources/sales/delete", "delete_condition")] {
            let reply = site.form(path, ADMIN, &[(field, condition)]).await;
            assert_eq!(reply.status, 400, "{condition}: {}", reply.text);
            let error = reply.error();
            assert!(error.starts_with(&format!("`{field}`: ")) && error.contains(words), "{condition}: {error}");
            for ours in ["SELECT item", "count()", "PREWHERE", &database] {
                assert!(!error.contains(ours), "{condition}: {error}");
            }
        }
    }
    site.stop().await;
}
