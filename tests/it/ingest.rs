//! From bytes to rows in the real engine: files, quarantine, defaults, and our decoder against the engine's.

use crate::engine::database;
use birdhouse::{
    ddl,
    diagnostic::{Source, Span},
    engine::Engine,
    ingest::{
        Target,
        batch::{Fleeting, Rows, Writer, Written},
        decode::{Decoded, Decoder, Problem, Rejected, Schema},
        files::{self, Dialect, FileFormat, Intent, Loading, Mode, Spooled, Upload},
    },
    name::{ColumnName, Namespace, ResourceName},
    observe::Sink,
    project::{
        Column, ColumnDefault, Datasource, EngineFamily, JsonPath, KafkaMeta, KafkaSource, OffsetReset, TableEngine,
    },
    sql::{ColumnType, Sql, UserSql},
    store::DataDirectory,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use std::{env, fmt::Write as _, sync::Arc};
use tokio_util::sync::CancellationToken;

/// A data source from lines of `name Type [$.path] [:= default]`. With a topic it is fed from Kafka.
pub(crate) fn datasource(name: &str, lines: &[&str], topic: Option<&str>) -> Datasource {
    let place = Source::new("t.datasource", "").place(Span::at(0));
    let expression = |text: &str| UserSql::expression(text, Span::at(0)).unwrap();
    let column = |line: &&str| {
        let (line, default) = line.split_once(" := ").map_or((*line, None), |(line, it)| (line, Some(it)));
        let (line, path) = line.split_once(" $").map_or((line, None), |(line, it)| (line, Some(format!("${it}"))));
        let (name, column_type) = line.split_once(' ').unwrap();
        let meta = match name.trim_start_matches("__") {
            "value" => Some(KafkaMeta::Value),
            "topic" => Some(KafkaMeta::Topic),
            "partition" => Some(KafkaMeta::Partition),
            "offset" => Some(KafkaMeta::Offset),
            "timestamp" => Some(KafkaMeta::Timestamp),
            "key" => Some(KafkaMeta::Key),
            "headers" => Some(KafkaMeta::Headers),
            _ => None,
        };
        Column {
            name: ColumnName::new(name).unwrap(),
            column_type: ColumnType::parse(column_type).unwrap(),
            default: default.map(|it| ColumnDefault::Default(expression(it))),
            codec: None,
            kafka_meta: meta.filter(|_| path.is_none()),
            jsonpath: path.map(|it| JsonPath::parse(&it).unwrap()),
            place: place.clone(),
        }
    };
    Datasource {
        version: None,
        name: ResourceName::new(name).unwrap(),
        description: None,
        columns: lines.iter().map(column).collect(),
        indexes: Vec::new(),
        engine: TableEngine {
            family: EngineFamily::MergeTree,
            parameters: Vec::new(),
            partition_key: None,
            sorting_key: Some(expression("tuple()")),
            primary_key: None,
            sampling_key: None,
            ttl: None,
            settings: None,
        },
        tokens: Vec::new(),
        tags: Vec::new(),
        kafka: topic.map(|topic| KafkaSource {
            connection: ResourceName::new("c").unwrap(),
            topic: topic.to_owned(),
            group_id: "birdhouse-tests".to_owned(),
            offset_reset: OffsetReset::Earliest,
            store_raw_value: true,
            store_headers: true,
            key_format: Default::default(),
            value_format: Default::default(),
            place: place.clone(),
        }),
        place,
    }
}

/// The data source's table and quarantine, made.
pub(crate) async fn create(engine: &Engine, namespace: &Namespace, datasource: Datasource) -> Target {
    let target = Target {
        table: namespace.table(&datasource.name),
        quarantine: namespace.table(&datasource.name.quarantine()),
        datasource: Arc::new(datasource),
    };
    engine.command(&ddl::create_table(&target.datasource, &target.table)).await.unwrap();
    engine.command(&ddl::create_quarantine(&target.datasource, &target.quarantine)).await.unwrap();
    target
}

/// Rows of `SELECT head FROM table tail`, as JSON.
pub(crate) async fn select(
    engine: &Engine,
    head: &'static str,
    table: &birdhouse::name::Physical,
    tail: &'static str,
) -> Vec<Value> {
    let mut sql = Sql::new("SELECT ");
    sql.push(head).push(" FROM ").table(table).push(" ").push(tail);
    let bytes = engine.command(&sql).await.unwrap();
    bytes.split(|it| *it == b'\n').filter(|it| !it.is_empty()).map(|it| serde_json::from_slice(it).unwrap()).collect()
}

async fn load(engine: &Engine, target: &Target, format: FileFormat, text: &str) -> Spooled {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(DataDirectory::open(directory.path()).unwrap().store().unwrap());
    let folder = directory.path().join("file");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(files::upload_path(&folder), text).unwrap();
    let upload = Upload { name: "file".to_owned(), format, dialect: Dialect::default() };
    let schema = Arc::new(Schema::compile(&target.datasource).unwrap());
    let stop = CancellationToken::new();
    let spooled = files::spool(&folder, &upload, &schema, &stop).unwrap();
    let intent = Intent::new("i1".to_owned(), "file".to_owned(), Mode::Append, upload, &schema, &spooled);
    let mut loading = Loading::begin(store, "w".to_owned(), folder, intent, schema.clone()).await.unwrap();
    let writer = Writer::new(engine, target, &schema, &Sink::default());
    while loading.insert(&writer, &schema, &stop, &|_| ()).await.unwrap() {}
    let written = loading.intent().written();
    loading.end().await.unwrap();
    Spooled { rows: written.rows, quarantined: written.quarantined, ..spooled }
}

#[tokio::test]
async fn a_csv_file_is_loaded_and_its_bad_rows_are_kept() {
    let (engine, namespace) = database().await;
    let lines = &["company_id Int8", "name LowCardinality(String)", "size UInt32", "plan Nullable(String)"];
    let target = create(engine, &namespace, datasource("companies", lines, None)).await;
    let text = "\u{feff}company_id,name,size,plan\r\n1,\"Acme, \"\"Ltd\"\"\",10,free\r\n2,\"two\nlines\",x,\r\n\r\n300,a,1\r\n3,c,5,\r\n";
    let report = load(engine, &target, FileFormat::Csv, text).await;
    assert_eq!((report.rows, report.quarantined), (2, 2));
    assert_eq!(
        report.errors,
        ["file:3: value 'x' on column 'size' is not UInt32", "file:6: the record has 3 fields, not 4"]
    );
    assert_eq!(report.bytes, text.len() as u64);
    let rows = select(engine, "*", &target.table, "ORDER BY company_id").await;
    assert_eq!(rows[0]["name"], "Acme, \"Ltd\"");
    assert_eq!(rows[1]["plan"], Value::Null);
    let head = "company_id, name, c__error_column, c__error, c__import_id, c__raw, c__source";
    let kept = select(engine, head, &target.quarantine, "ORDER BY c__source").await;
    assert_eq!(kept[0]["c__error_column"], serde_json::json!(["size"]));
    assert_eq!(kept[0]["name"], "two\nlines");
    assert_eq!(kept[0]["c__import_id"], "i1");
    assert_eq!(kept[1]["c__raw"], "300,a,1");
    assert_eq!(kept[1]["company_id"], Value::Null);
    // Without a header, fields are in the order of the columns.
    let report = load(engine, &target, FileFormat::Csv, "7,a,1,\n8,b,2,x").await;
    assert_eq!((report.rows, report.quarantined), (2, 0));
}

#[tokio::test]
async fn an_ndjson_file_is_loaded_in_blocks() {
    let (engine, namespace) = database().await;
    let lines = &["n UInt64 $.n", "s String $.o.s"];
    let target = create(engine, &namespace, datasource("big", lines, None)).await;
    let mut text = String::new();
    for n in 0..250_000 {
        _ = writeln!(text, "{{\"n\":{n},\"o\":{{\"s\":\"{n}\"}}}}");
        if n % 1000 == 0 {
            text.push_str("{\"n\":-1}\n\n");
        }
    }
    let report = load(engine, &target, FileFormat::Ndjson, &text).await;
    assert_eq!((report.rows, report.quarantined, report.errors.len()), (250_000, 250, 10));
    let rows = select(
        engine,
        "count() AS c, uniqExact(n) AS u, sum(n) AS total, countIf(s = toString(n)) AS t",
        &target.table,
        "",
    );
    assert_eq!(rows.await, [serde_json::json!({"c": 250_000, "u": 250_000, "total": 31_249_875_000u64, "t": 250_000})]);
    let kept =
        select(engine, "count() AS c, uniqExact(c__source) AS u, min(length(c__error)) AS e", &target.quarantine, "");
    assert_eq!(kept.await, [serde_json::json!({"c": 250, "u": 250, "e": 1})]);
}

#[tokio::test]
async fn an_empty_file_is_no_error() {
    let (engine, namespace) = database().await;
    let target = create(engine, &namespace, datasource("nothing", &["n UInt64 $.n"], None)).await;
    for (format, text) in
        [(FileFormat::Ndjson, ""), (FileFormat::Ndjson, "\n \n"), (FileFormat::Csv, ""), (FileFormat::Csv, "n\n")]
    {
        let report = load(engine, &target, format, text).await;
        assert_eq!((report.rows, report.quarantined), (0, 0), "{text:?}");
    }
}

#[tokio::test]
async fn the_engine_evaluates_what_only_it_can() {
    let (engine, namespace) = database().await;
    let lines = &[
        "n Int32 $.n",
        "plain String $.p := 'none'",
        "later Int64 $.l := n * 2",
        "id UUID $.id := generateUUIDv4()",
        "tags Map(String, String) $.tags := map()",
    ];
    let target = create(engine, &namespace, datasource("defaults", lines, None)).await;
    let text = r#"{"n":1}
{"n":2,"l":7,"p":"x","id":"61f0c404-5cb3-11e7-907b-a6006ad3dba0","tags":{"a":"b"}}
{"n":3,"p":null,"l":null,"id":null}
{"n":4,"l":1}"#;
    let report = load(engine, &target, FileFormat::Ndjson, text).await;
    assert_eq!((report.rows, report.quarantined), (4, 0), "{:?}", report.errors);
    let rows = select(engine, "n, plain, later, toString(id) = '61f0c404-5cb3-11e7-907b-a6006ad3dba0' AS given, length(toString(id)) AS l, tags", &target.table, "ORDER BY n").await;
    let shown: Vec<_> = rows.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            r#"{"n":1,"plain":"none","later":2,"given":0,"l":36,"tags":{}}"#,
            r#"{"n":2,"plain":"x","later":7,"given":1,"l":36,"tags":{"a":"b"}}"#,
            r#"{"n":3,"plain":"none","later":6,"given":0,"l":36,"tags":{}}"#,
            r#"{"n":4,"plain":"none","later":1,"given":0,"l":36,"tags":{}}"#,
        ]
        .map(|it| serde_json::from_str::<Value>(it).unwrap().to_string())
    );
}

/// Lines of JSON as rows that can be decoded again in part.
struct Lines {
    schema: Arc<Schema>,
    lines: Vec<String>,
    token: String,
}

impl Lines {
    fn all(&self) -> Decoded {
        self.decode(&(0..self.lines.len() as u32).collect::<Vec<_>>())
    }
}

impl Rows for Lines {
    fn len(&self) -> usize {
        self.lines.len()
    }

    fn decode(&self, rows: &[u32]) -> Decoded {
        let mut decoder = Decoder::new(self.schema.clone());
        for row in rows {
            decoder.json(self.lines[*row as usize].as_bytes(), String::new);
        }
        decoder.finish()
    }

    fn refuse(&self, index: usize, message: &str) -> Rejected {
        let errors = vec![Problem { column: String::new(), message: message.to_owned() }];
        Rejected { raw: self.lines[index].clone().into_bytes(), errors, ..Rejected::default() }
    }

    fn token(&self) -> String {
        self.token.clone()
    }
}

#[tokio::test]
async fn a_row_that_the_engine_refuses_is_found_and_the_rest_is_in_once() {
    let (engine, namespace) = database().await;
    let target = create(engine, &namespace, datasource("poison", &["n Int32 $.n"], None)).await;
    let mut sql = Sql::new("ALTER TABLE ");
    sql.table(&target.table).push(" ADD CONSTRAINT c CHECK n != 613");
    engine.command(&sql).await.unwrap();
    let schema = Arc::new(Schema::compile(&target.datasource).unwrap());
    let writer = Writer::new(engine, &target, &schema, &Sink::default());
    let lines = (0..1000).map(|n| if n == 7 { "{".to_owned() } else { format!("{{\"n\":{n}}}") }).collect();
    let lines = Lines { schema, lines, token: "t".to_owned() };
    // The same flush again is no second one.
    for _ in 0..2 {
        let stop = CancellationToken::new();
        let written = writer.flush(&lines, lines.all(), &mut Fleeting::default(), "test", &stop).await.unwrap();
        assert_eq!(written, Written { rows: 998, quarantined: 2 });
    }
    let rows = select(engine, "count() AS c, uniqExact(n) AS u", &target.table, "").await;
    assert_eq!(rows, [serde_json::json!({"c": 998, "u": 998})]);
    let kept = select(engine, "c__raw, c__error", &target.quarantine, "ORDER BY c__raw").await;
    assert_eq!((kept.len(), &kept[1]["c__raw"]), (2, &"{\"n\":613}".into()));
    let reason = kept[1]["c__error"][0].as_str().unwrap();
    assert!(reason.contains("Constraint `c` for table poison ("), "{reason}");
    assert!(!reason.contains(namespace.database()), "{reason}");
}

#[tokio::test]
async fn a_cut_that_was_written_down_is_made_again_though_the_engine_would_take_the_whole_now() {
    let (engine, namespace) = database().await;
    // Rows that leave `d` to the engine are a block of their own, so there are two.
    let target = create(engine, &namespace, datasource("cut", &["n Int32 $.n", "d Int32 $.d := n + 1"], None)).await;
    let constrain = |words: &'static str| {
        let mut sql = Sql::new("ALTER TABLE ");
        sql.table(&target.table).push(words);
        sql
    };
    engine.command(&constrain(" ADD CONSTRAINT c CHECK n != 61")).await.unwrap();
    let schema = Arc::new(Schema::compile(&target.datasource).unwrap());
    let writer = Writer::new(engine, &target, &schema, &Sink::default());
    let line = |n: i32| if n % 2 == 0 { format!("{{\"n\":{n}}}") } else { format!("{{\"n\":{n},\"d\":0}}") };
    let lines = Lines { schema, lines: (0..100).map(line).collect(), token: "t".to_owned() };
    let (stop, mut ledger) = (CancellationToken::new(), Fleeting::default());
    let written = writer.flush(&lines, lines.all(), &mut ledger, "test", &stop).await.unwrap();
    assert_eq!(written, Written { rows: 99, quarantined: 1 });
    // A crash before the offset moved, and meanwhile the constraint is gone.
    engine.command(&constrain(" DROP CONSTRAINT c")).await.unwrap();
    for _ in 0..2 {
        let written = writer.flush(&lines, lines.all(), &mut ledger, "test", &stop).await.unwrap();
        assert_eq!(written, Written { rows: 99, quarantined: 1 });
    }
    let rows = select(engine, "count() AS c, uniqExact(n) AS u, countIf(d = n + 1) AS d", &target.table, "").await;
    assert_eq!(rows, [serde_json::json!({"c": 99, "u": 99, "d": 50})]);
    assert_eq!(select(engine, "count() AS c", &target.quarantine, "").await, [serde_json::json!({"c": 1})]);
}

/// The engine's streaming insert cannot feed such a view.
#[tokio::test]
async fn a_view_with_a_value_of_a_subquery_gets_its_rows_once() {
    let (engine, namespace) = database().await;
    let target = create(engine, &namespace, datasource("events", &["n Int32 $.n"], None)).await;
    let large = create(engine, &namespace, datasource("large", &["n Int32 $.n"], None)).await;
    let limit = create(engine, &namespace, datasource("limits", &["n Int32 $.n"], None)).await;
    load(engine, &limit, FileFormat::Ndjson, "{\"n\":94}").await;
    let mut sql = Sql::new("CREATE MATERIALIZED VIEW ");
    sql.table(&namespace.table(&ResourceName::new("view").unwrap())).push(" TO ").table(&large.table);
    sql.push(" AS SELECT n FROM ").table(&target.table);
    sql.push(" WHERE n > (SELECT max(n) FROM ").table(&limit.table).push(")");
    engine.command(&sql).await.unwrap();
    let schema = Arc::new(Schema::compile(&target.datasource).unwrap());
    let writer = Writer::new(engine, &target, &schema, &Sink::default());
    let lines = (0..100).map(|n| format!("{{\"n\":{n}}}")).collect();
    let lines = Lines { schema, lines, token: "t".to_owned() };
    for _ in 0..2 {
        let (stop, mut ledger) = (CancellationToken::new(), Fleeting::default());
        writer.flush(&lines, lines.all(), &mut ledger, "test", &stop).await.unwrap();
    }
    assert_eq!(writer.trouble().0, 0);
    assert_eq!(select(engine, "count() AS c", &target.table, "").await, [serde_json::json!({"c": 100})]);
    assert_eq!(select(engine, "count() AS c", &large.table, "").await, [serde_json::json!({"c": 5})]);
}

#[tokio::test]
async fn a_flush_waits_for_a_table_that_is_not_there() {
    let (engine, namespace) = database().await;
    let datasource = datasource("late", &["n Int32 $.n"], None);
    let name = datasource.name.clone();
    let target = Target {
        table: namespace.table(&name),
        quarantine: namespace.table(&name.quarantine()),
        datasource: Arc::new(datasource.clone()),
    };
    let schema = Arc::new(Schema::compile(&datasource).unwrap());
    let writer = Writer::new(engine, &target, &schema, &Sink::default());
    let lines = Lines { schema, lines: vec!["{\"n\":1}".to_owned(), "{".to_owned()], token: "t".to_owned() };
    let stop = CancellationToken::new();
    let mut ledger = Fleeting::default();
    let flush = writer.flush(&lines, lines.all(), &mut ledger, "test", &stop);
    let make = async {
        while writer.trouble().0 == 0 {
            tokio::task::yield_now().await;
        }
        assert!(writer.trouble().1.unwrap().contains("late"));
        create(engine, &namespace, datasource).await
    };
    let (written, target) = tokio::join!(flush, make);
    assert_eq!(written, Ok(Written { rows: 1, quarantined: 1 }));
    assert_eq!(writer.trouble().0, 0);
    assert_eq!(select(engine, "count() AS c", &target.table, "").await, [serde_json::json!({"c": 1})]);
}

/// Values that our decoder and the engine must read alike, for each type; and those that the engine changes
/// in silence or guesses, which we refuse.
#[tokio::test]
async fn values_become_what_the_engine_reads() {
    // Some thousand values of each type, or 100,000 and more where there is time for it.
    let given = |name: &str| env::var_os(name).map(|it| it.to_str().unwrap().parse().unwrap());
    let rounds = given("DECODE_ROUNDS").unwrap_or(4);
    let mut random = StdRng::seed_from_u64(given("DECODE_SEED").unwrap_or(7));
    let mut all = samples(&mut random);
    for _ in 1..rounds {
        for ((_, values), (_, more)) in all.iter_mut().zip(samples(&mut random)) {
            values.extend(more);
        }
    }
    for (column_type, values) in all {
        let (engine, namespace) = database().await;
        let lines = &["id UInt32 $.id", &format!("x {column_type} $.x")];
        let ours = create(engine, &namespace, datasource("ours", lines, None)).await;
        let theirs = create(engine, &namespace, datasource("theirs", lines, None)).await;
        let rows: String = values.iter().enumerate().fold(String::new(), |mut rows, (id, value)| {
            _ = writeln!(rows, "{{\"id\":{id},\"x\":{value}}}");
            rows
        });
        let report = load(engine, &ours, FileFormat::Ndjson, &rows).await;
        assert_eq!(report.quarantined, 0, "{column_type}: {:?}", report.errors);
        // A statement is bounded.
        for rows in rows.split_inclusive('\n').collect::<Vec<_>>().chunks(1000) {
            let mut sql = Sql::new("INSERT INTO ");
            sql.table(&theirs.table).push(" SELECT id, x FROM format(JSONEachRow, ");
            sql.string(&format!("id UInt32, x {column_type}")).push(", ").string(&rows.concat());
            sql.push(") SETTINGS date_time_input_format = 'best_effort'");
            engine.command(&sql).await.unwrap_or_else(|error| panic!("{column_type}: {error}"));
        }
        let head = "id, toString(x) AS x";
        let one = select(engine, head, &ours.table, "ORDER BY id").await;
        let other = select(engine, head, &theirs.table, "ORDER BY id").await;
        assert_eq!((one.len(), other.len()), (values.len(), values.len()), "{column_type}");
        for ((ours, theirs), value) in one.iter().zip(&other).zip(&values) {
            assert_eq!(ours, theirs, "{column_type} from {value}");
        }
    }
}

fn samples(random: &mut StdRng) -> Vec<(&'static str, Vec<String>)> {
    const MANY: usize = 500;
    let mut res = Vec::new();
    let fixed = |values: &[&str]| values.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    macro_rules! numbers {
        ($($name:literal $type:ty),*) => {$(
            let mut values: Vec<String> = (0..MANY).map(|_| (random.random::<$type>() >> random.random_range(0..<$type>::BITS)).to_string()).collect();
            values.extend([<$type>::MIN.to_string(), <$type>::MAX.to_string(), "true".into(), "\"12\"".into(), "\"+7\"".into(), "\"007\"".into()]);
            res.push(($name, values));
        )*};
    }
    numbers!("Int8" i8, "Int16" i16, "Int32" i32, "Int64" i64, "Int128" i128, "UInt8" u8, "UInt16" u16, "UInt32" u32, "UInt64" u64, "UInt128" u128);
    res.push((
        "Int256",
        fixed(&[
            "0",
            "-1",
            "57896044618658097711785492504343953926634992332820282019728792003956564819967",
            "\"-57896044618658097711785492504343953926634992332820282019728792003956564819968\"",
        ]),
    ));
    res.push((
        "UInt256",
        fixed(&["0", "115792089237316195423570985008687907853269984665640564039457584007913129639935", "\"12\""]),
    ));
    let floats = |random: &mut StdRng| {
        (0..MANY)
            .map(|_| {
                let number = f64::from_bits(random.random());
                if number.is_finite() { format!("{number:e}") } else { "0.1".to_owned() }
            })
            .collect::<Vec<_>>()
    };
    let mut values = floats(random);
    values.extend(fixed(&[
        "\"nan\"",
        "\"inf\"",
        "\"-inf\"",
        "\"1e5\"",
        "true",
        "-0.0",
        "1.7976931348623157e308",
        "5e-324",
    ]));
    res.push(("Float64", values));
    let mut values: Vec<_> = (0..MANY).map(|_| format!("{}", random.random::<f32>() * 1e6)).collect();
    values.extend(fixed(&["0.1", "16777217", "\"nan\"", "3.4028235e38"]));
    res.push(("Float32", values));
    res.push(("Bool", fixed(&["true", "false", "1", "0"])));
    let date = |random: &mut StdRng, from: i32, to: i32| {
        (random.random_range(from..=to), random.random_range(1..=12u8), random.random_range(1..=28u8))
    };
    let mut values: Vec<_> = (0..MANY)
        .map(|_| {
            let (y, m, d) = date(random, 1970, 2148);
            match random.random_range(0..4u8) {
                0 => format!("\"{y}-{m}-{d}\""),
                1 => format!("\"{y}/{m:02}/{d:02}\""),
                2 => format!("\"{y}{m:02}{d:02}\""),
                _ => format!("\"{y}-{m:02}-{d:02}\""),
            }
        })
        .collect();
    values.extend(fixed(&["\"1970-01-01\"", "\"2149-06-06\"", "\"2024-02-29\"", "19724", "0", "65535"]));
    res.push(("Date", values));
    let mut values: Vec<_> = (0..MANY)
        .map(|_| {
            let (y, m, d) = date(random, 1900, 2299);
            format!("\"{y}-{m:02}-{d:02}\"")
        })
        .collect();
    values.extend(fixed(&["\"1900-01-01\"", "\"2299-12-31\""]));
    res.push(("Date32", values));
    let moment = |random: &mut StdRng, from: i32, to: i32| {
        let (y, m, d) = date(random, from, to);
        let (h, i, s) = (random.random_range(0..24u8), random.random_range(0..60u8), random.random_range(0..60u8));
        let separator = if random.random() { 'T' } else { ' ' };
        let fraction = match random.random_range(0..4u8) {
            0 => String::new(),
            digits => format!(".{:0width$}", random.random_range(0..1000u32), width = usize::from(digits) * 3),
        };
        let zone = ["", "", "Z", "+02:00", "-0530", " +01", " UTC"][random.random_range(0..7)];
        format!("\"{y}-{m:02}-{d:02}{separator}{h:02}:{i:02}:{s:02}{fraction}{zone}\"")
    };
    let special = [
        "\"2024-01-02\"",
        "\"2024-01-02T03:04\"",
        "\"2024-1-2 3:4:5\"",
        "\"20240102030405\"",
        "\"1700000000\"",
        "\"1700000000123\"",
        "1700000000",
        "\"Mon, 02 Jan 2006 15:04:05 +0000\"",
        "\"2024/01/02 03:04:05\"",
        // Hours that the clocks leave out, and that they show twice.
        "\"1979-04-01 02:36:01\"",
        "\"2024-03-31 02:59:59\"",
        "\"2024-03-10 02:00:00\"",
        "\"2024-10-27 02:30:00\"",
        "\"2024-11-03 01:30:00\"",
    ];
    for (name, from, to) in [
        ("DateTime", 1971, 2105),
        ("DateTime('UTC')", 1971, 2105),
        ("DateTime('Europe/Madrid')", 1971, 2036),
        ("DateTime64(3)", 1901, 2298),
        ("DateTime64(6)", 1901, 2298),
        ("DateTime64(0)", 1901, 2298),
        ("DateTime64(9)", 1901, 2260),
        ("DateTime64(3, 'America/New_York')", 1971, 2036),
    ] {
        let mut values: Vec<_> = (0..MANY).map(|_| moment(random, from, to)).collect();
        values.extend(fixed(&special));
        res.push((name, values));
    }
    for (name, limit, digits) in [
        ("Decimal(9, 2)", 1_000_000u64, 2u32),
        ("Decimal(18, 6)", 1_000_000_000, 6),
        ("Decimal(38, 10)", u64::MAX, 10),
        ("Decimal(76, 20)", u64::MAX, 20),
    ] {
        let mut values: Vec<_> = (0..MANY)
            .map(|_| {
                let sign = if random.random() { "-" } else { "" };
                let fraction: String = (0..random.random_range(1..digits + 4))
                    .map(|_| char::from(b'0' + random.random_range(0..10u8)))
                    .collect();
                format!("{sign}{}.{fraction}", random.random_range(0..limit))
            })
            .collect();
        values.extend(fixed(&["0", "-0", "1e2", "\"1e-1\"", "\"+1.5\"", "1.239", "-0.019", "1E+3"]));
        res.push((name, values));
    }
    res.push((
        "UUID",
        (0..MANY)
            .map(|at| {
                let it = format!("{:032x}", random.random::<u128>());
                match at % 3 {
                    0 => format!("\"{it}\""),
                    1 => format!("\"{}-{}-{}-{}-{}\"", &it[..8], &it[8..12], &it[12..16], &it[16..20], &it[20..])
                        .to_uppercase(),
                    _ => format!("\"{}-{}-{}-{}-{}\"", &it[..8], &it[8..12], &it[12..16], &it[16..20], &it[20..]),
                }
            })
            .collect(),
    ));
    res.push((
        "IPv4",
        (0..MANY).map(|_| format!("\"{}\"", std::net::Ipv4Addr::from(random.random::<u32>()))).collect(),
    ));
    let mut values: Vec<_> =
        (0..MANY).map(|_| format!("\"{}\"", std::net::Ipv6Addr::from(random.random::<u128>()))).collect();
    values.extend(fixed(&["\"::1\"", "\"1.2.3.4\"", "\"::ffff:1.2.3.4\"", "\"fe80::1\""]));
    res.push(("IPv6", values));
    res.push(("Enum8('a' = 1, 'b' = -2, 'it\\'s' = 3)", fixed(&["\"a\"", "\"b\"", "\"it's\"", "1", "\"1\"", "-2"])));
    res.push(("Enum16('x' = 1000, 'y' = 1001)", fixed(&["\"x\"", "\"y\"", "1001"])));
    res.push(("FixedString(4)", fixed(&["\"ab\"", "\"abcd\"", "\"\"", "\"é\""])));
    let text = |random: &mut StdRng| {
        let text: String = (0..random.random_range(0..20))
            .map(|_| match random.random_range(0..4u8) {
                0 => char::from(random.random_range(0..128u8)),
                1 => char::from_u32(random.random_range(0x1F600..0x1F640)).unwrap(),
                _ => char::from(random.random_range(b'a'..=b'z')),
            })
            .collect();
        Value::from(text).to_string()
    };
    let mut values: Vec<_> = (0..MANY).map(|_| text(random)).collect();
    values.extend(fixed(&[
        "12",
        "1.50",
        "true",
        "{\"a\": [1, {}]}",
        "[1, 2]",
        "\"\\ud83d\\ude00\"",
        "\"a\\u0000b\"",
        "1e5",
        "\"\\/\\b\\f\"",
    ]));
    res.push(("String", values.clone()));
    res.push(("LowCardinality(String)", values.clone()));
    values.push("null".to_owned());
    res.push(("Nullable(String)", values.clone()));
    res.push(("LowCardinality(Nullable(String))", values));
    res.push(("Nullable(Int16)", fixed(&["null", "5", "-5"])));
    res.push(("Nullable(DateTime64(3))", fixed(&["null", "\"2024-01-02T03:04:05.678Z\""])));
    res.push(("Array(String)", fixed(&["[]", "[\"a\",1,true,{\"a\":1}]", "[\"\\n\"]"])));
    res.push(("Array(Nullable(Int32))", fixed(&["[1,null,3]", "[]"])));
    res.push(("Array(Array(LowCardinality(String)))", fixed(&["[[],[\"a\",\"b\"]]", "[]"])));
    res.push(("Map(String, String)", fixed(&["{}", "{\"a\":1,\"b\":{\"c\":1}}", "{\"a\":\"x\",\"a\":\"y\"}"])));
    res.push(("Map(LowCardinality(String), Array(Int8))", fixed(&["{\"a\":[1,2]}"])));
    res.push(("Tuple(a Int8, b String)", fixed(&["{\"a\":1,\"b\":\"x\"}", "{\"b\":\"x\",\"a\":1,\"c\":3}"])));
    res.push(("Tuple(Int8, String)", fixed(&["[1,\"x\"]"])));
    res.push(("JSON", fixed(&["{}", "{\"a\":1,\"b\":{\"c\":[1,2,{\"d\":\"x\"}]}}", "{\"a\":\"2024-01-02\"}"])));
    res.push(("SimpleAggregateFunction(sum, UInt64)", fixed(&["1", "18446744073709551615"])));
    res.push(("SimpleAggregateFunction(any, Nullable(String))", fixed(&["null", "\"x\""])));
    res
}
