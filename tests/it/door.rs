//! The door for ClickHouse's clients: asked as curl would, and by the official clients.

use crate::http::{ADMIN, Reply, Site};
use birdhouse::observe::Observation;
use reqwest::{Client, Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use std::sync::OnceLock;

mod clients;

/// A reply of the door.
pub(crate) struct Told {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Told {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |it| it.to_str().unwrap())
    }

    /// The rows, where all went well.
    fn rows(&self) -> &str {
        assert_eq!(self.status, 200, "{}", self.text());
        assert_eq!(self.header("x-clickhouse-exception-code"), "", "{}", self.text());
        self.text()
    }

    /// ClickHouse's number of an error, which stands in the head and in the text.
    fn code(&self) -> &str {
        let code = self.header("x-clickhouse-exception-code");
        assert!(self.status.as_u16() >= 400, "{}", self.text());
        assert!(self.text().starts_with(&format!("Code: {code}. DB::Exception: ")), "{}", self.text());
        code
    }
}

impl From<Told> for Reply {
    fn from(told: Told) -> Reply {
        let text = String::from_utf8_lossy(&told.bytes).into_owned();
        Reply { status: told.status, headers: told.headers, text }
    }
}

pub(crate) async fn told(request: reqwest::RequestBuilder) -> Told {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    Told { status, headers, bytes: response.bytes().await.unwrap().to_vec() }
}

impl Site {
    pub(crate) fn at_door(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        // Making one takes longer than most answers; without connections that it keeps, every test may have it.
        static CLIENT: OnceLock<Client> = OnceLock::new();
        let client = CLIENT.get_or_init(|| Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap());
        client.request(method, format!("http://{}{path}", self.clickhouse))
    }

    /// A query in the body, the token as password.
    pub(crate) async fn door(&self, token: &str, query: &str, fields: &[(&str, &str)]) -> Told {
        let request = self.at_door(Method::POST, "/").query(fields).basic_auth("anyone", Some(token));
        told(request.body(query.to_owned())).await
    }
}

#[tokio::test]
async fn nothing_but_ping_answers_without_a_token() {
    let site = Site::with_shop().await;
    let ping = told(site.at_door(Method::GET, "/ping")).await;
    assert_eq!((ping.status.as_u16(), ping.text()), (200, "Ok.\n"));
    for path in ["/", "/?query=SELECT%201", "/?user=default&query=SELECT%201"] {
        for method in [Method::GET, Method::POST] {
            let closed = told(site.at_door(method.clone(), path).body("")).await;
            assert_eq!((closed.status.as_u16(), closed.code()), (401, "516"), "{method} {path}");
            assert!(closed.text().contains("(AUTHENTICATION_FAILED)"), "{}", closed.text());
        }
    }
    let wrong = site.door("p.nothing", "SELECT 1", &[]).await;
    assert_eq!((wrong.status.as_u16(), wrong.code()), (403, "516"));
    assert_eq!(told(site.at_door(Method::GET, "/v0/sql")).await.status, 404);
    // The other door knows no passwords.
    let other = site.request(Method::GET, &format!("/v0/sql?q=select%201&password={ADMIN}")).send().await.unwrap();
    assert_eq!(other.status(), 403);
    site.stop().await;
}

#[tokio::test]
async fn a_token_comes_in_every_way_that_clients_have() {
    let site = Site::with_shop().await;
    let get = |path: &str| site.at_door(Method::GET, path);
    let q = "/?query=SELECT%20count()%20FROM%20sales";
    for request in [
        get(q).basic_auth("x", Some(ADMIN)),
        get(q).header("X-ClickHouse-User", "x").header("X-ClickHouse-Key", ADMIN),
        get(&format!("{q}&user=x&password={ADMIN}")),
        get(q).bearer_auth(ADMIN),
    ] {
        assert_eq!(told(request).await.rows(), "4\n");
    }
    let refresh = site.token("reader", &["DATASOURCES:READ:sales:company_id = 2"]).await;
    assert_eq!(site.door(&refresh, "SELECT count() FROM sales", &[]).await.rows(), "2\n");
    // No token is kept of what was asked.
    for observation in site.seen() {
        assert!(!format!("{observation:?}").contains(ADMIN), "{observation:?}");
    }
    site.stop().await;
}

#[tokio::test]
async fn queries_come_in_url_and_body_and_say_what_they_were() {
    let site = Site::with_shop().await;
    let both = site.door(ADMIN, "FROM sales", &[("query", "SELECT count()"), ("query_id", "mine")]).await;
    assert_eq!(both.rows(), "4\n");
    assert_eq!(both.header("x-clickhouse-query-id"), "mine");
    assert_eq!(both.header("x-clickhouse-format"), "TabSeparated");
    assert_eq!(both.header("x-clickhouse-timezone"), "UTC");
    assert_eq!(both.header("x-clickhouse-server-display-name"), "birdhouse");
    assert_eq!(both.header("content-type"), "text/tab-separated-values; charset=UTF-8");
    let summary: Value = serde_json::from_str(both.header("x-clickhouse-summary")).unwrap();
    assert_eq!(summary["result_rows"], json!("1"));
    let spaced = site.door(ADMIN, "SELECT 1 AS a FORMAT JSONEachRow", &[("default_format", "CSV")]).await;
    assert_eq!(spaced.rows(), "{\"a\":1}\n");
    let defaulted = site.door(ADMIN, "SELECT 1 AS a", &[("default_format", "CSVWithNames")]).await;
    assert_eq!(defaulted.rows(), "\"a\"\n1\n");
    let request = site.at_door(Method::POST, "/").basic_auth("x", Some(ADMIN)).header("X-ClickHouse-Format", "JSON");
    let by_header: Value = serde_json::from_str(told(request.body("SELECT 1 AS a")).await.rows()).unwrap();
    assert_eq!((&by_header["data"], &by_header["meta"][0]["type"]), (&json!([{"a": 1}]), &json!("UInt8")));
    // It is in the records like every other query.
    let asked = |it: &Observation| matches!(it, Observation::Query { pipe: None, status: 200, .. });
    assert_eq!(site.seen().iter().filter(|it| asked(it)).count(), 4);
    site.stop().await;
}

#[tokio::test]
async fn errors_are_clickhouses_own() {
    let site = Site::with_shop().await;
    let reader = site.token("reader", &["DATASOURCES:READ:sales:company_id = 2"]).await;
    for (query, code, status) in [
        ("SELECT nope FROM sales", "47", 404),
        ("SELECT * FROM nothing", "60", 404),
        ("SELECT 1 +", "62", 400),
        ("SELECT 1; SELECT 2", "62", 400),
        ("SELECT file('/etc/passwd')", "446", 400),
        ("SELECT * FROM url('http://x')", "497", 403),
        ("SELECT 1 SETTINGS max_threads = 1", "452", 400),
        ("SELECT 1 FORMAT Nonsense", "73", 404),
        ("DROP TABLE sales", "497", 403),
        ("SELECT throwIf(1)", "395", 400),
        ("", "62", 400),
    ] {
        let refused = site.door(&reader, query, &[]).await;
        assert_eq!((refused.code(), refused.status.as_u16()), (code, status), "{query}: {}", refused.text());
    }
    // Unknown and forbidden are the same bytes.
    let other = site.token("other", &["PIPES:READ:by_item"]).await;
    let words = async |name: &str| {
        let refused = site.door(&other, &format!("SELECT * FROM {name}"), &[("query_id", "q")]).await;
        refused.text().replace(name, "x")
    };
    assert_eq!(words("sales").await, words("nothing").await);
    let unknown = site.door(ADMIN, "SELECT 1", &[("nonsense", "1")]).await;
    assert_eq!((unknown.code(), unknown.status.as_u16()), ("115", 404));
    let forbidden = site.door(ADMIN, "SELECT 1", &[("allow_ddl", "1")]).await;
    assert_eq!(forbidden.text().replace("allow_ddl", "nonsense"), unknown.text());
    site.stop().await;
}

#[tokio::test]
async fn every_format_is_one_document_however_long() {
    let site = Site::start().await;
    let rows = 200_000;
    let query = format!("SELECT number AS n, toString(number) AS s FROM numbers({rows})");
    let lines = |text: &[u8]| text.iter().filter(|it| **it == b'\n').count();
    for (format, expected) in [
        ("TabSeparated", rows),
        ("TSVWithNames", rows + 1),
        ("TSVWithNamesAndTypes", rows + 2),
        ("CSVWithNamesAndTypes", rows + 2),
        ("JSONEachRow", rows),
        ("JSONCompactEachRow", rows),
        ("JSONCompactEachRowWithNames", rows + 1),
        ("JSONCompactEachRowWithNamesAndTypes", rows + 2),
        ("JSONStringsEachRow", rows),
    ] {
        let all = site.door(ADMIN, &format!("{query} FORMAT {format}"), &[]).await;
        assert_eq!((all.status.as_u16(), lines(&all.bytes)), (200, expected), "{format}");
    }
    // The head once, then eight bytes and a text for every row.
    let text = |number: usize| 8 + 1 + number.to_string().len();
    let body: usize = (0..rows).map(text).sum();
    for (format, head) in [("RowBinary", 0), ("RowBinaryWithNames", 5), ("RowBinaryWithNamesAndTypes", 5 + 7 + 7)] {
        let all = site.door(ADMIN, &format!("{query} FORMAT {format}"), &[]).await;
        assert_eq!((all.status.as_u16(), all.bytes.len()), (200, head + body), "{format}");
    }
    // Heads are there without any row, too.
    let none = site.door(ADMIN, "SELECT 1 AS a WHERE 0 FORMAT RowBinaryWithNamesAndTypes", &[]).await;
    assert_eq!(none.bytes, b"\x01\x01a\x05UInt8");
    let none = site.door(ADMIN, "SELECT 1 AS a WHERE 0 FORMAT TSVWithNamesAndTypes", &[]).await;
    assert_eq!(none.rows(), "a\nUInt8\n");
    let json = site.door(ADMIN, "SELECT 1 AS a FORMAT JSONCompact", &[]).await;
    let json: Value = serde_json::from_str(json.rows()).unwrap();
    assert_eq!(json["data"], json!([[1]]));
    for format in ["Native", "Arrow", "ArrowStream", "Parquet", "Pretty", "Values", "Vertical", "XML", "Markdown"] {
        let some = site.door(ADMIN, &format!("SELECT 1 AS a FORMAT {format}"), &[]).await;
        assert!(some.status == 200 && !some.bytes.is_empty(), "{format}");
    }
    // What is made whole is bounded.
    let parquet = site.door(ADMIN, "SELECT number FROM numbers(100000) FORMAT Parquet", &[]).await;
    assert!(parquet.bytes.starts_with(b"PAR1") && parquet.bytes.ends_with(b"PAR1"));
    let bounded = [("max_result_bytes", "100000")];
    let parquet = site.door(ADMIN, "SELECT number FROM numbers(100000) FORMAT Parquet", &bounded).await;
    assert_eq!(parquet.code(), "396", "{}", parquet.text());
    site.stop().await;
}

#[tokio::test]
async fn a_token_is_shown_its_own_names_and_no_others() {
    let site = Site::with_shop().await;
    let names = async |token: &str, query: &str| site.door(token, query, &[]).await.rows().to_owned();
    let name = site.app.workspace().name().to_owned();
    assert_eq!(names(ADMIN, "SHOW DATABASES").await, format!("{name}\nsystem\ntinybird\n"));
    assert_eq!(names(ADMIN, "SHOW TABLES").await, "all_sales\nby_item\nmoods\nsales\n");
    assert_eq!(names(ADMIN, "SHOW TABLES FROM default LIKE '%sales'").await, "all_sales\nsales\n");
    let reader = site.token("reader", &["PIPES:READ:all_sales"]).await;
    assert_eq!(names(&reader, "SHOW DATABASES").await, format!("{name}\nsystem\n"));
    assert_eq!(names(&reader, "SHOW TABLES").await, "all_sales\n");
    let columns = "SELECT table, name, type FROM system.columns ORDER BY position";
    let expected = "all_sales\tcompany_id\tInt16\nall_sales\titem\tString\nall_sales\tamount\tUInt64\n";
    assert_eq!(names(&reader, columns).await, expected);
    let joined = "SELECT t.name, count() FROM system.tables t JOIN system.columns c ON c.table = t.name \
                  WHERE t.database = currentDatabase() GROUP BY 1";
    assert_eq!(names(&reader, joined).await, "all_sales\t3\n");
    assert_eq!(names(&reader, "EXISTS sales").await, "0\n");
    assert_eq!(names(&reader, "EXISTS all_sales").await, "1\n");
    // What is hidden and what is not there are the same bytes, in every statement.
    for statement in
        ["DESCRIBE x", "DESC TABLE default.x", "SHOW CREATE TABLE x", "SELECT * FROM x", "SELECT * FROM system.x"]
    {
        let words = async |name: &str| {
            let refused = site
                .door(
                    &reader,
                    &statement.replace(".x", &format!(".{name}")).replace(" x", &format!(" {name}")),
                    &[("query_id", "q")],
                )
                .await;
            assert_eq!(refused.code(), "60", "{statement}");
            refused.text().replace(name, "x")
        };
        assert_eq!(words("sales").await, words("nothing").await, "{statement}");
    }
    for statement in
        ["SELECT * FROM system.processes", "SELECT * FROM system.parts", "SELECT * FROM information_schema.tables"]
    {
        assert!(["60", "497"].contains(&site.door(ADMIN, statement, &[]).await.code()), "{statement}");
    }
    assert_eq!(
        names(&reader, "SELECT version() != '', currentDatabase(), currentUser()").await,
        format!("1\t{name}\treader\n")
    );
    assert_eq!(
        names(ADMIN, &format!("SELECT `{name}`.`sales`.`item` FROM `{name}`.`sales` LIMIT 1 OFFSET 3")).await,
        "tea\n"
    );
    assert_eq!(site.door(ADMIN, "SELECT 1", &[("database", "other")]).await.code(), "81");
    assert_eq!(site.door(ADMIN, "USE other", &[]).await.code(), "81");
    assert_eq!(names(ADMIN, "USE default").await, "");
    let create = names(ADMIN, "SHOW CREATE TABLE sales").await;
    assert!(create.starts_with(&format!("CREATE TABLE `{name}`.`sales` (`company_id` Int16, ")), "{create}");
    site.stop().await;
}

#[tokio::test]
async fn parameters_are_values() {
    let site = Site::with_shop().await;
    let asked = async |query: &str, fields: &[(&str, &str)]| site.door(ADMIN, query, fields).await;
    let query = "SELECT count() FROM {t:Identifier} WHERE item = {item:String} AND company_id IN {ids:Array(Int16)} LIMIT {n:UInt8}";
    let fields = [("param_t", "sales"), ("param_item", "mug, blue"), ("param_ids", "[1,3]"), ("param_n", "5")];
    assert_eq!(asked(query, &fields).await.rows(), "1\n");
    let text = asked("SELECT {x:String} AS x FORMAT JSONEachRow", &[("param_x", "it's\\n' OR 1 --")]).await;
    assert_eq!(text.rows(), "{\"x\":\"it's\\n' OR 1 --\"}\n");
    assert_eq!(asked("SELECT {x:Nullable(UInt8)} IS NULL", &[("param_x", "\\N")]).await.rows(), "1\n");
    assert_eq!(asked("SELECT {x:UInt8}", &[]).await.code(), "456");
    assert_eq!(asked("SELECT {x:UInt8}", &[("param_x", "abc")]).await.status.as_u16(), 400);
    // A name that a parameter gives is resolved like every other.
    let reader = site.token("reader", &["PIPES:READ:all_sales"]).await;
    for name in ["sales", "/etc/passwd", "nothing"] {
        let refused = site.door(&reader, "SELECT * FROM {t:Identifier}", &[("param_t", name)]).await;
        assert_eq!(refused.code(), "60", "{name}");
    }
    site.stop().await;
}

#[tokio::test]
async fn rows_go_in_whole_or_not_at_all() {
    let site = Site::with_shop().await;
    let writer = site.token("writer", &["DATASOURCES:APPEND:sales", "DATASOURCES:READ:sales"]).await;
    let count = async || site.door(ADMIN, "SELECT count() FROM sales", &[]).await.rows().trim().parse::<u64>().unwrap();
    let mut expected = 4;
    for (query, body) in [
        ("INSERT INTO sales FORMAT JSONEachRow", "{\"company_id\":3,\"item\":\"a\",\"amount\":1}\n{\"item\":\"b\"}"),
        ("INSERT INTO default.sales (item, company_id) FORMAT CSV", "\"x\",3\n\"y\n\",4\n"),
        ("INSERT INTO sales FORMAT CSVWithNames", "item,amount\nx,1\ny,2\n"),
        ("INSERT INTO sales FORMAT TabSeparated", "3\ta\t1\n3\tb\t1\n"),
        ("INSERT INTO sales (item) VALUES", "('it''s'), ('x')"),
        ("INSERT INTO sales (company_id) FORMAT RowBinary", "\u{1}\u{0}\u{2}\u{0}"),
        ("", "INSERT INTO `sales` FORMAT JSONCompactEachRow\n[3,\"a\",1]\n\n[3,\"b; DROP TABLE sales\",1]\n"),
    ] {
        let told = site.door(&writer, body, &[("query", query)]).await;
        assert_eq!(told.rows(), "", "{query}");
        let summary: Value = serde_json::from_str(told.header("x-clickhouse-summary")).unwrap();
        assert_eq!(summary["written_rows"], json!("2"), "{query}");
        expected += 2;
        assert_eq!(count().await, expected, "{query}");
    }
    for (query, body) in [
        ("INSERT INTO sales FORMAT JSONEachRow", "{\"item\":\"good\"}\n{\"amount\":\"bad\"}"),
        ("INSERT INTO sales FORMAT JSONEachRow", "{\"nothing\":1}"),
        ("INSERT INTO sales FORMAT CSV", "1,a,1\n2,b,none\n"),
        ("INSERT INTO sales FORMAT RowBinary", "abc"),
        ("INSERT INTO sales FORMAT Native", "abc"),
        ("INSERT INTO sales (nothing) FORMAT CSV", "1\n"),
        ("INSERT INTO sales (item) VALUES", "(file('/etc/passwd'))"),
        ("INSERT INTO sales (amount) VALUES", "((SELECT 1))"),
        ("INSERT INTO sales SELECT * FROM sales", ""),
        ("INSERT INTO sales FORMAT Template", "x"),
        ("INSERT INTO sales SETTINGS input_format_values_interpret_expressions = 1 VALUES", "(1, 'a', 1)"),
    ] {
        let refused = site.door(&writer, body, &[("query", query)]).await;
        assert!(refused.status.is_client_error() || refused.status.as_u16() == 501, "{query}: {}", refused.text());
        assert!(!refused.text().contains("w00_"), "{}", refused.text());
        assert_eq!(count().await, expected, "{query} {}", refused.text());
    }
    // Who may not append learns no more than of what is not there.
    let reader = site.token("reader", &["DATASOURCES:READ:sales"]).await;
    let words = async |name: &str| {
        let query = format!("INSERT INTO {name} FORMAT CSV");
        let refused = site.door(&reader, "1,a,1\n", &[("query", &query), ("query_id", "q")]).await;
        assert_eq!(refused.code(), "60");
        refused.text().replace(name, "x")
    };
    assert_eq!(words("sales").await, words("nothing").await);
    let by_get = site.at_door(Method::GET, "/?query=INSERT%20INTO%20sales%20VALUES%20(1,'a',1)").bearer_auth(ADMIN);
    assert_eq!(told(by_get).await.code(), "164");
    // A token makes the same insert twice one.
    for _ in 0..2 {
        let fields = [("query", "INSERT INTO sales (item) FORMAT CSV"), ("insert_deduplication_token", "once")];
        assert_eq!(site.door(&writer, "z\n", &fields).await.rows(), "");
    }
    site.stop().await;
}

/// Neither figures nor limits that a caller may set count rows that are hidden from it.
#[tokio::test]
async fn what_a_read_costs_tells_nothing_of_hidden_rows() {
    let site = Site::with_shop().await;
    let token = site.token("part", &["DATASOURCES:READ:sales:company_id = 1"]).await;
    let query = "SELECT count() FROM sales WHERE NOT ignore(*)";
    for limit in ["max_rows_to_read", "max_bytes_to_read", "max_memory_usage"] {
        for value in ["1", "2", "3", "5"] {
            assert_eq!(site.door(&token, query, &[(limit, value)]).await.rows(), "2\n", "{limit}={value}");
        }
    }
    assert_eq!(site.door(ADMIN, query, &[("max_rows_to_read", "3")]).await.code(), "158");
    // What is denied here is in the trail as elsewhere.
    assert_eq!(site.door(&token, "SELECT * FROM by_item", &[]).await.code(), "60");
    let is_denial =
        |it: &Observation| matches!(it, Observation::Audited { token_name, status: 403, .. } if token_name == "part");
    assert!(site.seen().iter().any(is_denial));
    for format in ["JSON", "JSONCompact", "JSONStrings", "JSONCompactStrings", "JSONColumnsWithMetadata", "XML"] {
        let reply = site.door(&token, &format!("{query} FORMAT {format}"), &[]).await;
        let summary: Value = serde_json::from_str(reply.header("x-clickhouse-summary")).unwrap();
        assert_eq!(summary["read_rows"], "1", "{format}");
        let document = reply.rows().replace(|it: char| it.is_whitespace(), "");
        let tells = document.contains("rows_read") && !document.contains("\"rows_read\":1,");
        assert!(!tells, "{document}");
    }
    site.stop().await;
}

/// A column of JSON keeps one list of paths for all of its rows, which Native and some functions show.
#[tokio::test]
async fn paths_of_hidden_rows_are_not_shown() {
    const DOCUMENTS: &str = "SCHEMA >\n    `org` Int32 `json:$.org`,\n    `id` Int32 `json:$.id`,\n    `kind` \
                             LowCardinality(String) `json:$.kind`,\n    `j` JSON `json:$.j`\n\nENGINE \
                             \"MergeTree\"\nENGINE_SORTING_KEY \"id\"\n";
    const PIPE: &str = "NODE n\nSQL >\n    %\n    SELECT id, j FROM documents WHERE org = {{Int32(org, 2)}}\n\nTYPE \
                        endpoint\n";
    let site = Site::start().await;
    let files = [("datasources/documents.datasource", DOCUMENTS), ("endpoints/of_org.pipe", PIPE)];
    assert_eq!(site.deploy(&files, "").await.json()["result"], "success");
    let rows = (0..40).map(|id| match id % 4 {
        3 => json!({"org": 1, "id": id, "kind": "seen", "j": {"a": id}}),
        _ => json!({"org": 2, "id": id - 100, "kind": format!("k{id}"), "j": {"hidden_path": "x", "a": "text"}}),
    });
    let rows = rows.map(|it| it.to_string()).collect::<Vec<_>>().join("\n");
    let sent = site.request(Method::POST, "/v0/events?name=documents&wait=true").bearer_auth(ADMIN).body(rows);
    assert_eq!(sent.send().await.unwrap().status(), 200);
    let filtered = site.token("of_one", &["DATASOURCES:READ:documents:org = 1"]).await;
    let fixed = json!([{"type": "PIPES:READ", "resource": "of_org", "fixed_params": {"org": 1}}]);
    let fixed = site.signed(fixed, json!({})).await;
    for (token, table) in [(&filtered, "documents"), (&fixed, "of_org")] {
        let read = async |what: &str, format: &str| {
            let reply = site.door(token, &format!("SELECT {what} FROM {table} ORDER BY id FORMAT {format}"), &[]).await;
            assert!(!String::from_utf8_lossy(&reply.bytes).contains("hidden_path"), "{what} {format}");
            reply
        };
        for format in ["JSONEachRow", "RowBinaryWithNamesAndTypes", "CSV", "Values", "TSV", "JSONColumns"] {
            assert_eq!(read("j", format).await.status, 200, "{format}");
        }
        assert_eq!(read("JSONAllPaths(j)", "JSONEachRow").await.rows().lines().count(), 10);
        for (what, format) in [
            ("j", "Native"),
            ("id, tuple(j)", "Native"),
            ("formatRow('Native', j)", "TSV"),
            ("byteSize(j)", "TSV"),
            ("* APPLY(byteSize)", "TSV"),
            ("`byteSize`(j)", "TSV"),
            ("JSONDynamicPaths(j)", "TSV"),
            ("JSONSharedDataPathsWithTypes(j)", "TSV"),
            ("estimateCompressionRatio(j)", "TSV"),
            ("estimateCompressionRatioIf(j, 1)", "TSV"),
            ("dumpColumnStructure(j)", "TSV"),
        ] {
            assert_ne!(read(what, format).await.status, 200, "{what} {format}");
        }
    }
    // How many different values there are in hidden rows.
    for function in ["dumpColumnStructure", "lowCardinalityIndices", "lowCardinalityKeys"] {
        let reply = site.door(&filtered, &format!("SELECT {function}(kind) FROM documents"), &[]).await;
        assert!(reply.text().contains("is not allowed"), "{}", reply.text());
    }
    assert_eq!(site.door(ADMIN, "SELECT * FROM documents FORMAT Native", &[]).await.status, 200);
    site.stop().await;
}
