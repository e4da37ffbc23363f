//! Tags: set by the API, kept in the TAGS lines of files.

use crate::http::{ADMIN, Reply, Site, reply};
use reqwest::Method;
use serde_json::{Value, json};

async fn call(site: &Site, method: Method, path: &str, body: Value) -> Reply {
    let request = site.request(method, path).bearer_auth(ADMIN).header("Content-Type", "application/json");
    reply(request.body(body.to_string())).await
}

/// Every tag with the names of its resources.
async fn tags(site: &Site) -> Value {
    let reply = site.get("/v0/tags", ADMIN).await;
    let tags = reply.json()["tags"].as_array().unwrap().clone();
    let names =
        |it: &Value| it["resources"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect::<Vec<_>>();
    tags.iter()
        .map(|it| (it["name"].as_str().unwrap().to_owned(), json!(names(it))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_a_line_of_its_resources_files() {
    let site = Site::with_shop().await;
    let before = site.get("/v0/pipes/by_item.json?company=1", ADMIN).await.json()["data"].clone();
    let sales = json!({"name": "sales", "type": "datasource"});
    let made = call(&site, Method::POST, "/v0/tags", json!({"name": "money", "resources": [sales]})).await;
    assert_eq!((made.status.as_u16(), &made.json()["name"]), (200, &json!("money")), "{}", made.text);
    assert_eq!(tags(&site).await, json!({"money": ["sales"]}));
    let file = reply(site.request(Method::GET, "/v0/datasources/sales.datasource").bearer_auth(ADMIN)).await;
    assert!(file.text.contains("TAGS \"money\""), "{}", file.text);

    // A call that names another resource takes the tag from none.
    let more = json!({"name": "money", "resources": [{"name": "moods"}]});
    assert_eq!(call(&site, Method::POST, "/v0/tags", more).await.status, 200);
    assert_eq!(tags(&site).await, json!({"money": ["sales", "moods"]}));

    let both = json!({"resources": [sales, {"name": "by_item", "type": "pipe"}]});
    assert_eq!(call(&site, Method::PUT, "/v0/tags/money", both).await.status, 200);
    assert_eq!(tags(&site).await, json!({"money": ["sales", "by_item"]}));
    // Rows and answers are what they were.
    assert_eq!(site.get("/v0/pipes/by_item.json?company=1", ADMIN).await.json()["data"], before);

    for (method, path, body, status) in [
        (Method::POST, "/v0/tags", json!({"name": " "}), 400),
        (Method::POST, "/v0/tags", json!({"name": "a,b", "resources": [sales]}), 400),
        (Method::POST, "/v0/tags", json!({"name": "x", "resources": [{"name": "nothing"}]}), 404),
        (Method::POST, "/v0/tags", json!({"name": "x", "resources": [1]}), 400),
        (Method::PUT, "/v0/tags/none", json!({"resources": []}), 404),
    ] {
        let refused = call(&site, method, path, body.clone()).await;
        assert_eq!(refused.status, status, "{path} {body}: {}", refused.text);
        assert!(!refused.error().is_empty());
    }
    let seller = site.token("seller", &["DATASOURCES:READ:sales"]).await;
    let body = json!({"name": "x", "resources": [sales]}).to_string();
    let denied = reply(site.request(Method::POST, "/v0/tags").bearer_auth(&seller).body(body)).await;
    assert_eq!(denied.status, 403);

    // One that stands on nothing is kept until it is taken away.
    assert_eq!(call(&site, Method::POST, "/v0/tags", json!({"name": "empty"})).await.status, 200);
    assert_eq!(call(&site, Method::PUT, "/v0/tags/money", json!({"resources": []})).await.status, 200);
    assert_eq!(tags(&site).await, json!({"empty": [], "money": []}));
    for tag in ["money", "empty"] {
        assert_eq!(call(&site, Method::DELETE, &format!("/v0/tags/{tag}"), Value::Null).await.status, 200);
    }
    assert_eq!(tags(&site).await, json!({}));
    site.stop().await;
}
