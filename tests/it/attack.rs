//! Everything a stranger with a filtered token can send over HTTP, looking for rows of another company: in bodies,
//! heads, errors, figures and lists.

use crate::http::{ADMIN, Reply, Site, reply};
use reqwest::Method;

/// Company 1's row, and another's, which has the markers.
const ROWS: &str = "company_id,item,amount\n1,tea,5\n2,HIDDEN-spoon,987654321\n2,HIDDEN-mug,987654322\n";

/// What is only in rows, names and figures that the token may not see.
const MARKERS: &[&str] = &["HIDDEN", "98765432", "secret_sales", "nobodys_pipe", "w00_"];

const SCOPES: &[&str] = &["PIPES:READ:by_item", "PIPES:READ:all_sales", "DATASOURCES:READ:sales:company_id=1"];

const MORE_FILES: &[(&str, &str)] = &[
    (
        "datasources/sales.datasource",
        "SCHEMA >\n    `company_id` Int16,\n    `item` String,\n    `amount` UInt64\n\nENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"company_id, item\"\n",
    ),
    (
        "datasources/secret_sales.datasource",
        "SCHEMA >\n    `company_id` Int16,\n    `item` String\n\nENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"company_id\"\n",
    ),
    ("endpoints/nobodys_pipe.pipe", "NODE n\nSQL >\n    SELECT * FROM sales\n\nTYPE endpoint\n"),
    (
        "endpoints/by_item.pipe",
        "NODE totals\nSQL >\n    %\n    SELECT item, sum(amount) AS amount FROM sales WHERE 1\n    \
         {% if defined(company) %} AND company_id = {{ Int16(company) }} {% end %}\n    \
         {% if defined(item) %} AND item = {{ String(item) }} {% end %}\n    \
         {% if defined(items) %} AND item IN {{ Array(items, 'String') }} {% end %}\n    \
         {% if defined(sort) %} AND {{ column(sort, 'item') }} != 'x' {% end %}\n    \
         GROUP BY item ORDER BY item\n    LIMIT {{ Int32(limit, 100) }}\n\nTYPE endpoint\n",
    ),
    (
        "endpoints/all_sales.pipe",
        "NODE sold\nSQL >\n    SELECT company_id, item, amount FROM sales ORDER BY company_id, item\n\nTYPE endpoint\n",
    ),
];

const PARAMETERS: &[&str] = &[
    "company=2",
    "company=1 OR 1=1",
    "company=1) OR (1=1",
    "company=1&company=2",
    "company=-1 -- ",
    "item=x' OR '1'='1",
    "item=x\\' OR 1=1 --",
    "item=x'' OR ''=''",
    "item=%' UNION ALL SELECT item, amount FROM sales --",
    "item=\u{2019} OR 1=1 --",
    "items=a,b') OR ('1'='1",
    "items=HID,x\\",
    "sort=company_id",
    "sort=item) OR (1",
    "sort=throwIf(amount > 900)",
    "sort=`item` OR 1",
    "limit=100 UNION ALL SELECT item, amount FROM sales",
    "limit=-1",
    "token=x",
    "__tb__semver=1&debug=true&explain=true&playground=true",
    "q=SELECT * FROM _",
    "q=SELECT * FROM sales",
    "q=SELECT * FROM sales_quarantine",
    "q=SELECT * FROM secret_sales",
    "q=SELECT * FROM nobodys_pipe",
    "q=SELECT throwIf(amount > 900000) FROM _",
    "q=SELECT * FROM _ FORMAT JSON",
    "q=SELECT * FROM _ SETTINGS max_threads=1",
    "q=WITH by_item AS (SELECT * FROM sales) SELECT * FROM by_item",
    "q=SELECT * FROM by_item WHERE item IN (SELECT item FROM sales)",
    "q=%SELECT * FROM _ WHERE 1 {{item}}&item= OR 1",
    "q=EXPLAIN SELECT * FROM _",
];

const QUERIES: &[&str] = &[
    "SELECT * FROM sales",
    "SELECT count(), sum(amount), max(item) FROM sales",
    "SELECT * FROM sales WHERE company_id = 2",
    "SELECT * FROM sales PREWHERE company_id = 2 OR 1 WHERE 1 OR 1",
    "SELECT toUInt8(item) FROM sales",
    "SELECT throwIf(company_id = 2, item) FROM sales",
    "SELECT intDiv(1, company_id - 2) FROM sales",
    "SELECT item FROM sales UNION ALL SELECT item FROM all_sales",
    "SELECT count() FROM sales s JOIN sales t ON 1 = 1",
    "SELECT * FROM all_sales",
    "SELECT * FROM nobodys_pipe",
    "SELECT * FROM secret_sales",
    "SELECT * FROM secret_salez",
    "SELECT * FROM sale",
    "SELECT nope FROM sales",
    "SELECT sales.nope FROM sales",
    "SELECT * FROM sales_quarantine",
    "SELECT * FROM quarantine",
    "SELECT _table, _database FROM sales",
    "SELECT _part FROM sales",
    "SELECT currentDatabase()",
    "SELECT * FROM system.tables",
    "SELECT * FROM system.processes",
    "SELECT * FROM system.query_log",
    "SELECT * FROM tinybird.datasources_ops_log",
    "SHOW TABLES",
    "SHOW CREATE TABLE sales",
    "DESCRIBE sales",
    "EXPLAIN indexes = 1 SELECT * FROM sales",
    "EXISTS secret_sales",
    "SELECT * FROM merge('w00_', 'sales')",
    "SELECT hasColumnInTable('w00_', 'sales', 'item')",
    "SELECT * FROM sales LIMIT 0",
    "SELECT 1 FROM sales GROUP BY 1 WITH TOTALS",
    "SELECT item FROM sales ORDER BY item LIMIT 1",
    "SELECT repeat(item, 100000000) FROM sales",
    "SELECT * FROM sales FORMAT Nope",
    "SELECT",
    "SELECT * FROM sales WHERE (",
    "SELECT * FROM sales -- \u{0}",
    "%SELECT * FROM {{symbol('secret_sales')}}",
    "%SELECT * FROM {{symbol('sales')}} WHERE 1 {{item}}",
    "%SELECT {{error('x')}} FROM secret_sales",
];

const FORMATS: &[&str] = &[
    "",
    " FORMAT JSON",
    " FORMAT CSVWithNames",
    " FORMAT TSVWithNames",
    " FORMAT JSONEachRow",
    " FORMAT PrettyCompact",
    " FORMAT CSV",
];

fn look(what: &str, reply: &Reply) {
    // The caller's own words may come back, nothing else.
    for marker in MARKERS.iter().filter(|it| !what.contains(*it)) {
        assert!(!reply.text.contains(marker), "{what}: {} {}", reply.status, reply.text);
        for (name, value) in &reply.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            assert!(!value.contains(marker), "{what}: {name}: {value}");
        }
    }
    assert_ne!(reply.status, 500, "{what}: {}", reply.text);
}

#[tokio::test]
async fn a_filtered_token_finds_nothing_of_others_anywhere() {
    let site = Site::start().await;
    let deployed = site.deploy(MORE_FILES, "").await;
    assert_eq!(deployed.json()["result"], "success", "{}", deployed.text);
    site.append("sales", "append", ROWS).await;
    // Rows that were refused have markers too, and are nobody's but the source's.
    let refused = site.append("sales", "append", "company_id,item,amount\nHIDDEN,HIDDEN-bad,1\n1,HIDDEN-bad,x\n").await;
    assert!(refused.text.contains("quarantine"), "{}", refused.text);
    assert!(site.sql(ADMIN, "SELECT * FROM sales_quarantine").await.text.contains("HIDDEN"));
    let token = site.token("company_1", SCOPES).await;
    let mut asked = 0;

    for parameters in PARAMETERS {
        let pairs: Vec<(&str, &str)> = parameters.split('&').map(|it| it.split_once('=').unwrap()).collect();
        for endpoint in ["by_item", "all_sales"] {
            for extension in ["json", "csv", "ndjson"] {
                let path = format!("/v0/pipes/{endpoint}.{extension}");
                let get = site.request(Method::GET, &path).query(&pairs).bearer_auth(&token);
                look(&format!("GET {path} {parameters}"), &reply(get).await);
                asked += 1;
            }
        }
        look(parameters, &site.form("/v0/pipes/by_item.json", &token, &pairs).await);
        asked += 1;
    }
    for query in QUERIES {
        for format in FORMATS {
            let reply = site.sql(&token, &format!("{query}{format}")).await;
            look(&format!("{query}{format}"), &reply);
            asked += 1;
        }
        let over = site.form("/v0/sql", &token, &[("q", query), ("pipeline", "by_item"), ("item", "OR 1")]).await;
        look(query, &over);
        asked += 1;
    }
    for (method, path) in [
        ("GET", "/v0/datasources"),
        ("GET", "/v0/datasources?attrs=statistics,name"),
        ("GET", "/v0/datasources/sales"),
        ("GET", "/v0/datasources/sales.datasource"),
        ("GET", "/v0/pipes"),
        ("GET", "/v0/pipes/by_item"),
        ("GET", "/v0/pipes/by_item.pipe"),
        ("GET", "/v0/workspace"),
        ("GET", "/v1/workspace"),
        ("GET", "/v0/tokens"),
        ("GET", "/v0/tokens/company_1"),
        ("GET", "/v0/tokens/company_1/audit"),
        ("GET", "/v0/variables"),
        ("GET", "/v0/connectors"),
        ("POST", "/v1/deploy"),
        ("POST", "/v0/datasources?mode=replace&name=sales"),
        ("DELETE", "/v0/datasources/sales"),
    ] {
        let reply = reply(site.request(method.parse().unwrap(), path).bearer_auth(&token)).await;
        look(&format!("{method} {path}"), &reply);
        asked += 1;
    }
    // It does see its own.
    let own = site.sql(&token, "SELECT item, amount FROM sales").await;
    assert_eq!(own.json()["data"], serde_json::json!([{"item": "tea", "amount": 5}]));
    assert_eq!(own.json()["statistics"]["rows_read"], 1);
    println!("{asked} requests");
    site.stop().await;
}
