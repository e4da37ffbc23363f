use super::*;
use crate::{
    diagnostic::{Place, Source, Span},
    name::{ColumnName, ResourceName},
    project::{Column, ColumnDefault, Datasource, JsonPath, KafkaMeta, KafkaSource, OffsetReset, TableEngine},
    sql::{ColumnType, UserSql},
};
use proptest::prelude::*;

/// A data source from `name Type [$.path] [:= default]` lines, fed from Kafka if a name is a meta column.
fn datasource(lines: &[&str]) -> Datasource {
    let place: Place = Source::new("t.datasource", "").place(Span::at(0));
    let columns: Vec<_> = lines
        .iter()
        .map(|line| {
            let (line, default) = match line.split_once(" := ") {
                Some((line, default)) => (line, Some(default)),
                None => (*line, None),
            };
            let (line, path) = match line.split_once(" $") {
                Some((line, path)) => (line, Some(JsonPath::parse(&format!("${path}")).unwrap())),
                None => (line, None),
            };
            let (name, column_type) = line.split_once(' ').unwrap();
            let meta = match name {
                "__value" => Some(KafkaMeta::Value),
                "topic" => Some(KafkaMeta::Topic),
                "partition" => Some(KafkaMeta::Partition),
                "offset" => Some(KafkaMeta::Offset),
                "timestamp" => Some(KafkaMeta::Timestamp),
                "__key" => Some(KafkaMeta::Key),
                "__headers" => Some(KafkaMeta::Headers),
                _ => None,
            };
            Column {
                name: ColumnName::new(name).unwrap(),
                column_type: ColumnType::parse(column_type).unwrap(),
                default: default.map(|it| ColumnDefault::Default(UserSql::expression(it, Span::at(0)).unwrap())),
                codec: None,
                jsonpath: path,
                kafka_meta: meta,
                place: place.clone(),
            }
        })
        .collect();
    let kafka = columns.iter().any(|it| it.kafka_meta.is_some()).then(|| KafkaSource {
        connection: ResourceName::new("c").unwrap(),
        topic: "t".to_owned(),
        group_id: "g".to_owned(),
        offset_reset: OffsetReset::Earliest,
        store_raw_value: true,
        store_headers: true,
        key_format: Default::default(),
        value_format: Default::default(),
        place: place.clone(),
    });
    Datasource {
        name: ResourceName::new("t").unwrap(),
        description: None,
        columns,
        indexes: Vec::new(),
        engine: TableEngine::plain(),
        tokens: Vec::new(),
        tags: Vec::new(),
        kafka,
        version: None,
        place,
    }
}

fn decoder(lines: &[&str]) -> Decoder {
    Decoder::new(Arc::new(Schema::compile(&datasource(lines)).unwrap()))
}

fn decode(lines: &[&str], rows: &[&str]) -> Decoded {
    let mut decoder = decoder(lines);
    for (at, row) in rows.iter().enumerate() {
        decoder.json(row.as_bytes(), || at.to_string());
    }
    decoder.finish()
}

/// The rows of a block as `a|b|c`, strings and numbers alike.
fn shown(block: &Block) -> Vec<String> {
    let bytes = block.parts.concat();
    let mut rest = &bytes[..];
    assert_eq!(length(&mut rest), block.columns.len());
    assert_eq!(length(&mut rest), block.rows);
    let mut rows = vec![Vec::new(); block.rows];
    for (name, column_type) in &block.columns {
        assert_eq!(text(&mut rest), name.as_str());
        assert_eq!(text(&mut rest), column_type.to_string());
        for (row, value) in rows.iter_mut().zip(column(&mut rest, column_type, block.rows)) {
            row.push(value);
        }
    }
    assert!(rest.is_empty());
    return rows.iter().map(|it| it.join("|")).collect();

    fn take<'a>(rest: &mut &'a [u8], count: usize) -> &'a [u8] {
        let (taken, after) = rest.split_at(count);
        *rest = after;
        taken
    }

    fn length(rest: &mut &[u8]) -> usize {
        let mut res = 0;
        for shift in (0..).step_by(7) {
            let byte = take(rest, 1)[0];
            res |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        res
    }

    fn text(rest: &mut &[u8]) -> String {
        let length = length(rest);
        String::from_utf8_lossy(take(rest, length)).into_owned()
    }

    fn column(rest: &mut &[u8], column_type: &ColumnType, rows: usize) -> Vec<String> {
        let fixed = |rest: &mut &[u8], width: usize| {
            (0..rows)
                .map(|_| {
                    let bytes = take(rest, width);
                    let mut wide = if bytes[width - 1] & 0x80 != 0 { [0xff; 16] } else { [0; 16] };
                    wide[..width.min(16)].copy_from_slice(&bytes[..width.min(16)]);
                    i128::from_le_bytes(wide).to_string()
                })
                .collect()
        };
        match column_type {
            ColumnType::Plain("String") => (0..rows).map(|_| text(rest)).collect(),
            ColumnType::Plain(name) => fixed(rest, crate::native::fixed_width(name).unwrap()),
            ColumnType::DateTime { .. } => fixed(rest, 4),
            ColumnType::DateTime64 { .. } => fixed(rest, 8),
            ColumnType::Decimal { precision, .. } => fixed(rest, crate::native::decimal_width(*precision)),
            ColumnType::Enum { width, .. } => fixed(rest, usize::from(*width) / 8),
            ColumnType::Nullable(inner) => {
                let nulls = take(rest, rows);
                let values = column(rest, inner, rows).into_iter().zip(nulls);
                values.map(|(value, null)| if *null == 1 { "NULL".to_owned() } else { value }).collect()
            }
            ColumnType::Array(inner) => array(rest, rows, |rest, count| column(rest, inner, count)),
            ColumnType::Map(key, value) => array(rest, rows, |rest, count| {
                let keys = column(rest, key, count);
                keys.iter().zip(column(rest, value, count)).map(|(key, value)| format!("{key}:{value}")).collect()
            }),
            other => panic!("no column of {other} is read here"),
        }
    }

    fn array(rest: &mut &[u8], rows: usize, items: impl Fn(&mut &[u8], usize) -> Vec<String>) -> Vec<String> {
        let ends = take(rest, rows * 8).chunks(8).map(|it| u64::from_le_bytes(it.try_into().unwrap()) as usize);
        let ends: Vec<_> = ends.collect();
        let items = items(rest, ends.last().copied().unwrap_or(0));
        let starts = std::iter::once(0).chain(ends.iter().copied());
        starts.zip(&ends).map(|(start, end)| format!("[{}]", items[start..*end].join(","))).collect()
    }
}

fn rows(decoded: &Decoded) -> Vec<String> {
    decoded.blocks.iter().flat_map(shown).collect()
}

fn reasons(decoded: &Decoded) -> Vec<String> {
    decoded.rejected.iter().flat_map(|it| it.errors.iter().map(|it| it.message.clone())).collect()
}

const EVENT: &[&str] = &[
    "company_id Int8 $.company_id",
    "at DateTime64(3) $.datetime",
    "os LowCardinality(String) $.device.OS",
    "browser String $.device.browser",
    "author Nullable(String) $.payload.author",
];

#[test]
fn a_nested_row_becomes_typed_columns_whatever_its_order() {
    let decoded = decode(
        EVENT,
        &[
            r#"{"datetime":"2024-01-02T03:04:05.678901","company_id":1,"device":{"OS":"iOS","browser":"a\n\u00e9"},"payload":{"author":"x@y"},"more":[{}]}"#,
            r#" {"payload":{},"device":{"browser":"b","OS":"Linux","x":1},"company_id":"-5","datetime":"1704164645"} "#,
        ],
    );
    assert_eq!(rows(&decoded), ["1|1704164645678|iOS|a\né|x@y", "-5|1704164645000|Linux|b|NULL"]);
    assert_eq!(decoded.rejected, []);
}

#[test]
fn a_refused_row_says_why_and_leaves_nothing() {
    let good = r#"{"company_id":1,"datetime":"2024-01-02","device":{"OS":"a","browser":"b"}}"#;
    let decoded = decode(
        EVENT,
        &[
            good,
            r#"{"company_id":300,"datetime":"2024-02-30","device":{"OS":"a","browser":"b"}}"#,
            r#"{"company_id":null,"datetime":"2024-01-02","device":{"OS":"a"}}"#,
            r#"{"company_id":1,"datetime":"2024-01-02","device":"#,
            r#"[1]"#,
            r#""text""#,
            good,
        ],
    );
    assert_eq!(rows(&decoded), ["1|1704153600000|a|b|NULL"; 2]);
    assert_eq!(
        reasons(&decoded),
        [
            "value '300' on column 'company_id' is not Int8",
            "value '2024-02-30' on column 'at' is not DateTime64(3)",
            "value 'null' on column 'company_id' is not Int8",
            "there is no value for column 'browser': `$.device.browser` is missing",
            "not JSON: EOF while parsing a value at line 1 column 49",
            "there is no value for column 'company_id': `$.company_id` is missing",
            "there is no value for column 'at': `$.datetime` is missing",
            "there is no value for column 'os': `$.device.OS` is missing",
            "there is no value for column 'browser': `$.device.browser` is missing",
            "not a JSON object",
        ]
    );
    assert_eq!(decoded.rejected[0].values[..3], [Some("300".into()), Some("2024-02-30".into()), Some("a".into())]);
    assert_eq!(decoded.rejected[2].values, vec![None; 5]);
    assert_eq!(decoded.rejected[0].source, "1");
}

#[test]
fn the_last_of_a_repeated_key_counts() {
    let decoded = decode(
        &["a Int8 $.a", "b Nullable(String) $.b.c"],
        &[r#"{"a":1,"b":{"c":"x"},"a":2,"b":{"c":"y"}}"#, r#"{"a":"no","a":3}"#, r#"{"a":1,"a":null}"#],
    );
    assert_eq!(rows(&decoded), ["2|y", "3|NULL"]);
    assert_eq!(reasons(&decoded), ["value 'null' on column 'a' is not Int8"]);
}

#[test]
fn missing_fields_get_their_defaults() {
    let lines = &["a Int8 $.a := 7", "b String $.b := now()", "c String $.c := ''", "d Nullable(Int8) $.d := 5"];
    let decoded =
        decode(lines, &[r#"{"b":"x"}"#, r#"{"a":1}"#, r#"{"a":null,"b":"y","c":"z","d":null}"#, r#"{"b":null}"#]);
    let blocks: Vec<_> = decoded.blocks.iter().map(|it| (it.columns.len(), shown(it))).collect();
    assert_eq!(
        blocks,
        [(4, vec!["7|x||5".into(), "7|y|z|NULL".into()]), (3, vec!["1||5".to_owned(), "7||5".to_owned()])],
        "what only the engine can evaluate is left out of its block"
    );
    assert_eq!(decoded.rows, 4);
}

#[test]
fn arrays_of_items_stay_side_by_side() {
    let lines =
        &["id Array(String) $.items[:].id", "n Array(Nullable(Int32)) $.items[:].n", "first String $.items[0].id"];
    let decoded = decode(
        lines,
        &[
            r#"{"items":[{"id":"a","n":1},{"n":2},{"id":"c"}]}"#,
            r#"{"items":[{"id":"a","n":"x"}]}"#,
            r#"{"items":[{"id":"a","id":"b"}]}"#,
            r#"{"items":[]}"#,
        ],
    );
    assert_eq!(rows(&decoded), ["[a,,c]|[1,2,NULL]|a"]);
    assert_eq!(
        reasons(&decoded)[..2],
        [
            "value '\"x\"' on column 'n' is not Array(Nullable(Int32))".replace("\"", ""),
            "a key of column 'id' is repeated inside an array".to_owned()
        ]
    );
    let nested = decode(&["t Array(Array(Int8)) $.a[:].b[:]"], &[r#"{"a":[{"b":[1,2]},{},{"b":[3]}]}"#]);
    assert_eq!(rows(&nested), ["[[1,2],[],[3]]"]);
}

#[test]
fn text_columns_take_any_json_as_its_text() {
    let decoded = decode(
        &["whole String $", "a String $.a"],
        &[r#"{"a": {"b": 1}}"#, r#"{"a":1.50}"#, r#"{"a":true}"#, r#"{"a":"\ud83d"}"#],
    );
    assert_eq!(rows(&decoded), [r#"{"a": {"b": 1}}|{"b": 1}"#, r#"{"a":1.50}|1.50"#, r#"{"a":true}|true"#]);
    assert_eq!(decoded.rejected.len(), 1, "half a surrogate pair is no text");
}

#[test]
fn containers_are_read_whole() {
    let lines = &["m Map(String, Int8) $.m", "a Array(Int8) $.a", "e Enum8('x' = 1, 'y' = 2) $.e"];
    let decoded = decode(
        lines,
        &[
            r#"{"m":{"k":1,"l":2},"a":[1,2],"e":"y"}"#,
            r#"{"m":{},"a":[],"e":1}"#,
            r#"{"m":{"k":300},"a":[null],"e":"z"}"#,
        ],
    );
    assert_eq!(rows(&decoded), ["[k:1,l:2]|[1,2]|2", "[]|[]|1"]);
    assert_eq!(decoded.rejected[0].errors.len(), 3);
}

#[test]
fn a_message_brings_its_own_columns() {
    let lines = &[
        "__value String",
        "topic LowCardinality(String)",
        "partition Int16",
        "offset Int64",
        "timestamp DateTime",
        "__key String",
        "__headers Map(String, String)",
        "a Int8 $.a",
    ];
    let mut decoder = decoder(lines);
    let headers = [("h".to_owned(), b"1".to_vec()), ("h".to_owned(), b"2".to_vec())];
    let message = Message {
        value: Some(br#"{"a":1}"#),
        key: Some(b"k"),
        topic: "t",
        partition: 3,
        offset: 1 << 40,
        timestamp: 1_700_000_000_999,
        headers: &headers,
    };
    decoder.message(&message);
    decoder.message(&Message { value: Some(b"{\xff}"), ..message });
    decoder.message(&Message { value: None, ..message });
    let decoded = decoder.finish();
    assert_eq!(rows(&decoded), [r#"{"a":1}|t|3|1099511627776|1700000000|k|[h:1,h:2]|1"#]);
    assert_eq!(reasons(&decoded)[0], "not UTF-8 at byte 1");
    assert_eq!(decoded.rejected[0].source, "t:3:1099511627776");
    assert_eq!(decoded.rejected[0].values[2].as_deref(), Some("3"));
}

#[test]
fn wide_numbers_and_decimals_are_exact() {
    let lines = &["i Int128 $.i", "u UInt64 $.u", "d Decimal(10, 2) $.d", "big UInt256 $.b := 0"];
    let decoded = decode(
        lines,
        &[
            r#"{"i":-170141183460469231731687303715884105728,"u":18446744073709551615,"d":12345678.999}"#,
            r#"{"i":1,"u":"9007199254740993","d":1e-1,"b":1}"#,
            r#"{"i":1,"u":18446744073709551616,"d":123456789.1}"#,
            r#"{"i":1.0,"u":-1,"d":"x","b":-1}"#,
        ],
    );
    assert_eq!(
        rows(&decoded),
        [
            "-170141183460469231731687303715884105728|18446744073709551615|1234567899|0"
                .replace("18446744073709551615", "-1"),
            "1|9007199254740993|10|1".to_owned()
        ],
        "the helper shows the highest UInt64 as -1"
    );
    assert_eq!(decoded.rejected.iter().map(|it| it.errors.len()).collect::<Vec<_>>(), [2, 4]);
}

#[test]
fn what_the_engine_would_change_in_silence_is_refused() {
    for (column_type, value) in [
        ("Float64", "1e400"),
        ("Float32", "1e39"),
        ("DateTime", "\"1960-01-01\""),
        ("DateTime", "\"2200-01-01\""),
        ("DateTime", "-1"),
        ("Date", "\"2024-02-30\""),
        ("Date", "\"2200-01-01\""),
        ("Date32", "\"1899-01-02\""),
        ("UInt8", "256"),
        ("Int32", "\"\""),
        ("Int32", "1.5"),
        ("FixedString(3)", "\"abcd\""),
        ("Bool", "2"),
        ("UUID", "\"61f0c404\""),
        ("IPv4", "\"1.2.3\""),
        ("Array(Int8)", "1"),
    ] {
        let decoded = decode(&[&format!("x {column_type} $.x")], &[&format!("{{\"x\":{value}}}")]);
        assert_eq!((decoded.rows, decoded.rejected.len()), (0, 1), "{value} as {column_type}");
    }
}

#[test]
fn csv_fields_go_by_header_or_by_place() {
    let schema = Schema::compile(&datasource(&["a Int8", "b String", "c Nullable(String)", "d Int8 := 9"])).unwrap();
    let header = CsvLayout::from_first_record(&schema, ["b", "a"].into_iter());
    assert!(header.has_header());
    let place = CsvLayout::from_first_record(&schema, ["1", "b", "c", "d"].into_iter());
    assert!(!place.has_header());
    let mut decoder = Decoder::new(Arc::new(schema));
    let mut fields = Vec::new();
    header.arrange(|at| ["x", "1"].get(at).copied(), &mut fields);
    decoder.fields(&fields, || b"x,1".to_vec(), String::new);
    for record in [["2", "y", "z", "3"], ["3", "", "", ""], ["", "y", "\\N", "1"]] {
        fields.clear();
        place.arrange(|at| record.get(at).copied(), &mut fields);
        decoder.fields(&fields, Vec::new, String::new);
    }
    let decoded = decoder.finish();
    assert_eq!(rows(&decoded), ["1|x|NULL|9", "2|y|z|3", "3||NULL|9"]);
    assert_eq!(reasons(&decoded), ["value '' on column 'a' is not Int8"]);
}

#[test]
fn unknown_zones_and_paths_that_cannot_be_are_said_at_push() {
    let error = |line| Schema::compile(&datasource(&[line])).unwrap_err().to_string();
    assert!(error("a DateTime('Mars/North') $.a").contains("Mars/North"));
    assert_eq!(error("a String $.a[:]"), "column `a`: `$.a[:]` gives an array, the column is none");
}

proptest! {
    #[test]
    fn any_bytes_are_taken_or_refused(rows in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20)) {
        let mut decoder = decoder(&["a Int8 $.a", "b Array(String) $.b[:].c", "c Nullable(DateTime) $.c := now()"]);
        for row in &rows {
            decoder.json(row, String::new);
        }
        let decoded = decoder.finish();
        prop_assert_eq!(decoded.rows + decoded.rejected.len(), rows.len());
        prop_assert_eq!(decoded.blocks.iter().map(|it| shown(it).len()).sum::<usize>(), decoded.rows);
    }

    #[test]
    fn mutated_json_is_taken_or_refused(
        mut row in Just(br#"{"a":1,"b":[{"c":"x"},{"c":["y"]}],"c":"2024-01-02","a":2}"#.to_vec()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"{}[]\",:\\0a \xff".to_vec())), 0..6),
    ) {
        for (at, byte) in changes {
            let at = at.index(row.len());
            row[at] = byte;
        }
        let mut decoder = decoder(&["a Int8 $.a", "b Array(String) $.b[:].c", "c Nullable(DateTime) $.c := now()"]);
        decoder.json(&row, String::new);
        let valid = serde_json::from_slice::<serde_json::Value>(&row).is_ok();
        let decoded = decoder.finish();
        prop_assert_eq!(decoded.rows + decoded.rejected.len(), 1);
        prop_assert!(valid || decoded.rows == 0, "what is no JSON is no row");
        prop_assert_eq!(decoded.blocks.iter().map(|it| shown(it).len()).sum::<usize>(), decoded.rows);
    }

    /// A row that looks like one before it is read another way; nothing else about it may be different.
    #[test]
    fn rows_that_look_alike_are_read_as_any_row(
        rows in prop::collection::vec((prop::sample::select(ALIKE.to_vec()), prop::sample::select(VALUES.to_vec()), 0usize..80), 0..60),
    ) {
        let lines = [
            "a Int8 $.a", "at DateTime64(3) $.at", "o Nullable(String) $.d.o := 'none'", "b String $.d.b := 'x'",
            "l Array(Int8) $.l := []", "j JSON $.j := '{}'", "t Tuple(x Int8) $.t := (1)", "n Nullable(Int8) $.n := toInt8(4)",
        ];
        let (mut known, mut walked) = (decoder(&lines), decoder(&lines));
        walked.shapes = Shapes::none();
        for (row, value, cut) in &rows {
            let row = row.replace('?', value);
            let row = if *cut < 3 { &row.as_bytes()[..row.len().saturating_sub(*cut)] } else { row.as_bytes() };
            known.json(row, String::new);
            walked.json(row, String::new);
        }
        let (known, walked) = (known.finish(), walked.finish());
        prop_assert_eq!(&known.rejected, &walked.rejected);
        prop_assert_eq!(&known.origins, &walked.origins);
        let bytes = |it: &Decoded| it.blocks.iter().map(|it| (it.columns.clone(), it.parts.concat())).collect::<Vec<_>>();
        prop_assert_eq!(bytes(&known), bytes(&walked));
    }
}

/// Rows of somebody who sends other keys each time do not fill the memory.
#[test]
fn what_is_known_of_rows_is_bounded() {
    let mut decoder = decoder(&["a Int8 $.a"]);
    let keys = |count: usize| (0..count).map(|it| format!("\"k{it}\": 0, ")).collect::<String>();
    let rows = [keys(100_000), format!("\"{}\": 1, ", "k".repeat(1 << 20))].map(|it| format!("{{{it}\"a\": 1}}"));
    let small = (0..2_000).map(|it| format!("{{\"{it}\": {{}}, \"a\": 1, \"{it}\": 2}}"));
    for row in ["{}".to_owned()].into_iter().chain(rows).chain(small) {
        decoder.json(row.as_bytes(), String::new);
    }
    let (states, text) = decoder.shapes.size();
    assert!((2..=1024).contains(&states) && text <= 64 << 10, "{states} states, {text} bytes");
    assert_eq!(decoder.rows(), 2_002);
}

/// What was half in before a push is read on as it was begun.
#[test]
fn a_schema_is_read_as_it_was_written() {
    for lines in [
        &["a Int8 $.a", "b Array(Tuple(x String, y Nullable(Int8))) $.b[:].['x.y']", "c DateTime('Europe/Madrid')"][..],
        &["a Int8", "b LowCardinality(String) := 'x'", "c DateTime := now()", "d Enum8('b''c' = 2)"],
        &["__value String", "topic String", "__key String", "__headers Map(String, String)", "id UInt8 $.id"],
    ] {
        let mut datasource = datasource(lines);
        if let Some(kafka) = &mut datasource.kafka {
            (kafka.store_raw_value, kafka.value_format) = (false, crate::project::ValueFormat::Avro);
        }
        let schema = Schema::compile(&datasource).unwrap();
        let again = Schema::read(schema.text()).unwrap();
        assert_eq!(format!("{again:?}"), format!("{schema:?}"));
    }
    assert!(Schema::read("").is_err());
}

const ALIKE: &[&str] = &[
    r#"{"a": 1, "at": "2024-01-02T03:04:05.678", "d": {"o": "?", "b": "?"}}"#,
    r#"{"a": 1, "at": "2024-01-02T03:04:05.678", "d": {"o": ?, "b": "?"}}"#,
    r#"{"a": ?, "at": "2024-01-02 03:04:05Z", "d": {"b": "?", "o": "?"}, "n": ?}"#,
    r#"{"a": 1, "at": "?", "d": {"b": "y"}, "more": ?}"#,
    r#"{"a": 1, "at": 1700000000, "d": ?}"#,
    r#"{"a": 1, "at": "2024-01-02", "d":  {"b": "?"}, "l": [?], "j": {"k": ?}, "t": {"x": ?}}"#,
    r#"{"a": 1, "at": "2024-01-02", "l": ?, "j": ?, "t": ?}"#,
    r#"{"a": 1, "at": "2024-01-02", "a": ?}"#,
    r#"{"a": 1, "at": "2024-01-02", "d": {"b": "y"}, "d": ?, "\u0061": ?}"#,
    r#"{"at": "2024-02-3?", "a": 1 }"#,
    r#" {"at": "2024-01-02", "a": ?} "#,
    "?",
];

const VALUES: &[&str] = &[
    "1",
    "-7",
    "300",
    "null",
    "true",
    "\"1\"",
    "x",
    "é\\\"é",
    "\\u00e9",
    "",
    "1.5e2",
    "{}",
    "[1]",
    "[]",
    "{\"b\": \"z\", \"o\": 2}",
    "{\"x\":2}",
    " 1",
    "1 ",
    "01",
    "\"",
    "a\tb",
];
