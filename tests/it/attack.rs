//! Everything a stranger with a filtered token can send over HTTP, looking for rows of another company: in bodies,
//! heads, errors, figures and lists.

use crate::{
    door,
    http::{ADMIN, Reply, Site, reply},
};
use birdhouse::server;
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

/// What only ClickHouse's clients can say.
const AT_DOOR: &[&str] = &[
    "SHOW DATABASES",
    "SHOW TABLES FROM system",
    "SHOW CREATE TABLE secret_sales",
    "SHOW COLUMNS FROM secret_sales",
    "DESCRIBE TABLE secret_sales",
    "EXISTS TABLE nobodys_pipe",
    "SELECT * FROM system.tables WHERE name LIKE '%'",
    "SELECT * FROM system.columns",
    "SELECT * FROM system.parts",
    "SELECT * FROM system.databases",
    "SELECT * FROM system.settings WHERE value LIKE '%w00%'",
    "SELECT * FROM INFORMATION_SCHEMA.TABLES",
    "SELECT * FROM default.secret_sales",
    "SELECT * FROM nowhere.sales",
    "SELECT * FROM {t:Identifier}",
    "SELECT * FROM sales WHERE item = {v:String} OR 1",
    "SELECT {c:Identifier} FROM sales",
    "SELECT * FROM sales; SELECT * FROM secret_sales",
    "SELECT * FROM sales SETTINGS readonly = 0, additional_table_filters = {}",
    "SELECT * FROM (SELECT * FROM sales SETTINGS readonly = 0)",
    "SELECT * FROM sales INTO OUTFILE '/tmp/x'",
    "SELECT file('/etc/passwd')",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
    "SELECT * FROM remote('127.0.0.1', 'system', 'tables')",
    "SELECT getSetting('max_threads'), hostName(), version(), currentUser()",
    "INSERT INTO sales VALUES (1, 'x', 1)",
    "INSERT INTO sales_quarantine VALUES (1, 'x', 1)",
    "INSERT INTO secret_sales FORMAT CSV\n1,x",
    "INSERT INTO sales SELECT * FROM sales",
    "INSERT INTO FUNCTION file('/tmp/x', 'CSV', 'a UInt8') VALUES (1)",
    "CREATE TABLE x (a UInt8) ENGINE = Memory",
    "CREATE DATABASE x",
    "DROP TABLE sales",
    "ALTER TABLE sales DELETE WHERE 1",
    "TRUNCATE TABLE sales",
    "OPTIMIZE TABLE sales",
    "EXPLAIN SELECT * FROM secret_sales",
    "KILL QUERY WHERE 1",
    "SYSTEM SHUTDOWN",
    "SET readonly = 0",
    "SET ROLE ALL",
    "USE default",
    "GRANT ALL ON *.* TO me",
    "BACKUP TABLE sales TO File('x')",
];

/// What may stand beside a query.
const BESIDE: &[&[(&str, &str)]] = &[
    &[],
    &[("param_t", "secret_sales"), ("param_c", "company_id"), ("param_v", "x' OR '1'='1")],
    &[("param_t", "sales_quarantine"), ("param_c", "item` FROM secret_sales --"), ("param_v", "\\")],
    &[("database", "default"), ("default_format", "Native")],
    &[("database", "system"), ("default_format", "JSON")],
    &[("database", "nowhere"), ("readonly", "0")],
    &[("role", "w00"), ("user", "engine")],
    &[("additional_table_filters", "{}"), ("wait_end_of_query", "1")],
    &[("query", "SELECT * FROM secret_sales UNION ALL")],
    &[("session_id", "a"), ("max_result_bytes", "0"), ("default_format", "Vertical")],
];

/// The same over the door for ClickHouse's clients, and what only they can say; also where an administrator may speak
/// to the engine itself there.
#[tokio::test]
async fn a_filtered_token_finds_nothing_at_the_other_door() {
    let site = Site::with(server::Settings { clickhouse_admin: true, ..server::Settings::default() }).await;
    assert_eq!(site.deploy(MORE_FILES, "").await.json()["result"], "success");
    site.append("sales", "append", ROWS).await;
    site.append("sales", "append", "company_id,item,amount\nHIDDEN,HIDDEN-bad,1\n").await;
    let token = site.token("company_1", SCOPES).await;
    let mut asked = 0;
    for query in QUERIES.iter().chain(AT_DOOR) {
        let beside = if AT_DOOR.contains(query) { BESIDE } else { &BESIDE[..1] };
        for fields in beside {
            let what = format!("{query} {fields:?}");
            let told = site.door(&token, query, fields).await;
            // Naming a database changes nothing: every request stands alone.
            let changes =
                !["SELECT", "SHOW", "DESC", "EXIST", "EXPL", "USE", "%"].iter().any(|it| query.starts_with(it));
            assert!(!(changes && told.status == 200), "{what}: {}", told.text());
            look(&what, &told.into());
            // Under the name of the one who may say everything.
            let fields: Vec<_> = fields.iter().filter(|it| it.0 != "user").collect();
            let request = site.at_door(Method::POST, "/").query(&fields).basic_auth("engine", Some(&token));
            let told = Reply::from(door::told(request.body(query.to_string())).await);
            assert_eq!(told.status, 403, "{what}: {}", told.text);
            look(&what, &told);
            asked += 2;
        }
        for format in FORMATS {
            look(query, &site.door(&token, &format!("{query}{format}"), &[]).await.into());
            asked += 1;
        }
        for field in ["query", "param_t"] {
            let form = reqwest::multipart::Form::new().text(field, query.to_string()).text("database", "default");
            let request = site.at_door(Method::POST, "/").basic_auth("anyone", Some(&token)).multipart(form);
            look(query, &door::told(request).await.into());
            asked += 1;
        }
    }
    assert_eq!(site.door(&token, "SELECT item, amount FROM sales", &[]).await.text(), "tea\t5\n");
    assert_eq!(site.door(ADMIN, "SELECT count(), sum(amount) FROM sales", &[]).await.text(), "3\t1975308648\n");
    println!("{asked} requests");
    site.stop().await;
}

/// Every call that names something, with `{}` for the name.
const NAMING: &[(&str, &str)] = &[
    ("GET", "/v0/datasources/{}"),
    ("GET", "/v0/datasources/{}.datasource"),
    ("GET", "/v1/datasources/{}/quarantine"),
    ("GET", "/v0/pipes/{}"),
    ("GET", "/v0/pipes/{}.pipe"),
    ("GET", "/v0/pipes/{}.json"),
    ("GET", "/v0/pipes/{}.csv"),
    ("GET", "/v0/pipes/{}.json?q=SELECT+1"),
    ("GET", "/v1/pipes/{}"),
    ("GET", "/v0/pipes/{}/explain"),
    ("GET", "/v0/pipes/{}/nodes/n/analysis"),
    ("GET", "/v0/pipes/openapi.json?name={}"),
    ("GET", "/v0/sql?q=SELECT+*+FROM+{}"),
    ("GET", "/v0/sql?q=SELECT+*+FROM+{}_quarantine"),
    ("GET", "/v0/sql?q=SELECT+1+IN+{}"),
    ("GET", "/v0/sql?q=DESCRIBE+{}"),
    ("GET", "/v0/sql?q=SELECT+joinGet('{}','item',1)"),
    ("GET", "/v0/sql?q=SELECT+*+FROM+merge('{}')"),
    ("GET", "/v0/sql?q=SELECT+*+FROM+_&pipeline={}"),
    ("GET", "/v0/sql_tables?sql=SELECT+*+FROM+{}"),
    ("GET", "/v0/sql_format?q=SELECT+*+FROM+{}"),
    ("GET", "/v0/dependencies?datasource={}"),
    ("GET", "/v0/dependencies?pipe={}"),
    ("GET", "/examples/query.http?pipe={}"),
    ("GET", "/v0/tags/{}"),
    ("GET", "/v0/connectors/{}"),
    ("GET", "/v0/variables/{}"),
    ("GET", "/v0/tokens/{}"),
    ("GET", "/v0/tokens/{}/audit"),
    ("GET", "/v0/jobs/{}"),
    ("GET", "/v0/workspaces/{}"),
    ("PUT", "/v0/datasources/{}"),
    ("DELETE", "/v0/datasources/{}"),
    ("POST", "/v0/datasources/{}/truncate"),
    ("POST", "/v0/datasources/{}/delete"),
    ("POST", "/v0/datasources/{}/alter"),
    ("POST", "/v0/datasources?mode=append&name={}"),
    ("POST", "/v0/datasources?mode=replace&name={}"),
    ("POST", "/v0/datasources/exchange?datasource_a={}&datasource_b=sales"),
    ("POST", "/v1/datasources/{}/quarantine/replay"),
    ("POST", "/v0/events?name={}"),
    ("POST", "/v0/sql_copy?datasource={}"),
    ("POST", "/v0/pipes/{}.json"),
    ("DELETE", "/v0/pipes/{}"),
    ("POST", "/v0/pipes/{}/copy"),
    ("POST", "/v0/pipes/{}/nodes"),
    ("PUT", "/v0/pipes/{}/nodes/n"),
    ("POST", "/v0/pipes/{}/nodes/n/endpoint"),
    ("POST", "/v0/pipes/{}/nodes/n/population"),
    ("POST", "/v0/tokens/{}/refresh"),
    ("DELETE", "/v0/tokens/{}"),
];

/// What is there and closed, and what is not there: same status, same head, same bytes but for the name itself.
#[tokio::test]
async fn closed_names_and_absent_ones_are_told_apart_by_no_call() {
    let site = Site::start().await;
    assert_eq!(site.deploy(MORE_FILES, "").await.json()["result"], "success");
    site.append("sales", "append", ROWS).await;
    site.token("secret_token", &["DATASOURCES:READ:secret_sales"]).await;
    let tokens = [
        site.token("reads", SCOPES).await,
        site.token("calls", &["PIPES:READ:by_item"]).await,
        site.token("appends", &["DATASOURCES:APPEND:sales"]).await,
        site.token("drops", &["DATASOURCES:DROP:sales"]).await,
    ];
    let mut asked = 0;
    for (method, path) in NAMING {
        for closed in ["secret_sales", "nobodys_pipe", "secret_token"] {
            for token in &tokens {
                let heard = async |name: &str| {
                    let request = site.request(method.parse().unwrap(), &path.replace("{}", name)).bearer_auth(token);
                    let Reply { status, mut headers, text } = reply(request).await;
                    for own in ["x-request-id", "date", "content-length"] {
                        headers.remove(own);
                    }
                    // How long it took is no promise.
                    let text = text.split("\"elapsed\"").next().unwrap_or_default().replace(name, "NAME");
                    (status, headers, text)
                };
                assert_eq!(heard(closed).await, heard("unheard_of_x").await, "{method} {path} {closed}");
                asked += 1;
            }
        }
    }
    println!("{asked} pairs of calls");
    site.stop().await;
}
