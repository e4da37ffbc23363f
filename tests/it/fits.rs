//! A view's columns and its target's: what fits is what the engine turns into the other type and back without a change,
//! the largest and the smallest values included.

use birdhouse::{
    engine::Engine,
    project::fits,
    sql::{ColumnType, Sql},
};

/// Types, each with texts of values at its ends.
const TYPES: &[(&str, &[&str])] = &[
    ("Int8", &["-128", "127"]),
    ("Int16", &["-32768", "32767"]),
    ("Int32", &["-2147483648", "2147483647"]),
    ("Int64", &["-9223372036854775808", "9223372036854775807"]),
    ("UInt8", &["0", "255"]),
    ("UInt16", &["0", "65535"]),
    ("UInt32", &["0", "4294967295"]),
    ("UInt64", &["0", "18446744073709551615"]),
    ("Float32", &["1.5", "16777217", "3.4e38"]),
    ("Float64", &["0.1", "1.7e308"]),
    ("String", &["", "x", "a text that is longer than most"]),
    ("LowCardinality(String)", &["", "x", "a text that is longer than most"]),
    ("LowCardinality(Nullable(String))", &["NULL", "a text that is longer than most"]),
    ("Nullable(String)", &["NULL", "", "a text that is longer than most"]),
    ("Nullable(Int8)", &["NULL", "-128", "127"]),
    ("FixedString(3)", &["abc"]),
    ("FixedString(5)", &["abcde"]),
    ("Bool", &["true", "false"]),
    ("Date", &["1970-01-01", "2149-06-06"]),
    ("Date32", &["1900-01-01", "2299-12-31"]),
    ("DateTime", &["1970-01-01 00:00:00", "2106-02-07 06:28:15"]),
    ("DateTime('Europe/Madrid')", &["1970-01-01 01:00:00", "2106-02-07 07:28:15"]),
    ("DateTime64(3)", &["1900-01-01 00:00:00.001", "2299-12-31 23:59:59.999"]),
    ("DateTime64(6)", &["1900-01-01 00:00:00.000001", "2299-12-31 23:59:59.999999"]),
    ("UUID", &["61f0c404-5cb3-11e7-907b-a6006ad3dba0"]),
    ("IPv4", &["0.0.0.0", "255.255.255.255"]),
    ("IPv6", &["::1", "ffff::ffff"]),
    ("Decimal(9, 2)", &["-9999999.99", "9999999.99"]),
    ("Decimal(18, 4)", &["-99999999999999.9999", "99999999999999.9999"]),
    ("Enum8('a' = 1)", &["a"]),
    ("Enum8('a' = 1, 'b' = 2)", &["a", "b"]),
    ("Enum16('a' = 1, 'b' = 1000)", &["a", "b"]),
    ("Array(UInt8)", &["[]", "[0,255]"]),
    ("Array(UInt64)", &["[]", "[18446744073709551615]"]),
    ("Array(Nullable(String))", &["[NULL,'a']"]),
    ("Array(LowCardinality(String))", &["[]", "['a']"]),
    ("Map(String, UInt8)", &["map('a', 255)"]),
    ("Map(LowCardinality(String), UInt16)", &["map('a', 65535)"]),
    ("Tuple(UInt8, String)", &["tuple(255, 'a')"]),
    ("Tuple(a UInt16, b String)", &["tuple(65535, 'a')"]),
];

/// Fits although values could be lost: the two are used for each other, the years after 2106 are far, and what a text is
/// filled up with is no loss.
const LOOSE: &[(&str, &str)] = &[
    ("UInt8", "Bool"),
    ("Date", "DateTime"),
    ("Date", "DateTime('Europe/Madrid')"),
    ("FixedString(3)", "FixedString(5)"),
];

/// What a type is about: whether a time is a number, or the word of an Enum, is not for a check to say.
fn kind(column_type: &ColumnType) -> &'static str {
    match column_type.inner() {
        ColumnType::Plain(name) if name.starts_with("Date") => "time",
        ColumnType::DateTime { .. } | ColumnType::DateTime64 { .. } => "time",
        ColumnType::Plain("String") | ColumnType::FixedString(_) => "text",
        ColumnType::Plain("UUID") => "id",
        ColumnType::Plain(name) if name.starts_with("IP") => "address",
        ColumnType::Plain(_) | ColumnType::Decimal { .. } => "number",
        ColumnType::Array(_) => "list",
        ColumnType::Map(..) => "map",
        ColumnType::Tuple(_) => "tuple",
        _ => "other",
    }
}

async fn is_lossless(engine: &Engine, from: &str, values: &[&str], to: &str) -> bool {
    let quoted = |it: &&str| match *it {
        it if it == "NULL" || it.starts_with("map(") || it.starts_with("tuple(") => it.to_owned(),
        it => format!("'{}'", it.replace('\'', "\\'")),
    };
    let values: Vec<String> = values.iter().map(quoted).collect();
    let is_integer = |it: &str| it.trim_start_matches("Nullable(").trim_start_matches('U').starts_with("Int");
    let parse = |text| ColumnType::parse(text).unwrap();
    let same = if is_integer(from) && is_integer(to) {
        // The same bits are another number with a sign and without.
        format!("ifNull(toString(CAST(v AS {to})), '-') = ifNull(toString(v), '-')")
    } else if kind(&parse(from)) == "time" {
        // Times of two zones look different and are the same.
        format!("CAST(CAST(v AS {to}) AS {from}) = v")
    } else {
        format!("ifNull(toString(CAST(CAST(v AS {to}) AS {from})), '-') = ifNull(toString(v), '-')")
    };
    let text =
        format!("SELECT min({same}) AS same FROM (SELECT CAST(arrayJoin([{}]) AS {from}) AS v)", values.join(", "));
    match engine.command(&Sql::new(Box::leak(text.into_boxed_str()))).await {
        Ok(answer) => String::from_utf8_lossy(&answer).contains(":1"),
        Err(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fits_loses_nothing_and_nothing_else_does() {
    let engine = super::engine::engine().await;
    let mut wrong = Vec::new();
    for (from, values) in TYPES {
        for (to, _) in TYPES {
            let parse = |text| ColumnType::parse(text).unwrap();
            let (parsed, wanted) = (parse(from), parse(to));
            // The engine reads no text as a map, so it cannot say whether one is lost in it.
            if (kind(&parsed), kind(&wanted)) == ("map", "text") {
                continue;
            }
            let said = fits(&parsed, &wanted);
            let lossless = is_lossless(engine, from, values, to).await;
            let same_kind = kind(&parsed) != "other" && kind(&parsed) == kind(&wanted);
            let is_judged = same_kind || *wanted.inner() == ColumnType::Plain("String");
            if said != lossless && (said || is_judged) && !LOOSE.contains(&(from, to)) {
                wrong.push(format!("{from} -> {to}: {}", if said { "fits, and loses" } else { "loses nothing" }));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), TYPES.len() * TYPES.len(), wrong.join("\n"));
}

/// States are the same where the engine takes one for the other.
#[tokio::test(flavor = "multi_thread")]
async fn states_fit_where_the_engine_takes_them() {
    let engine = super::engine::engine().await;
    for (value, from, to) in [
        ("countState()", "AggregateFunction(count)", "AggregateFunction(count, UInt64)"),
        ("countIfState(1)", "AggregateFunction(countIf, UInt8)", "AggregateFunction(count)"),
        (
            "countIfState(toNullable(1))",
            "AggregateFunction(countIf, Nullable(UInt8))",
            "AggregateFunction(countIf, UInt8)",
        ),
        (
            "uniqState(toLowCardinality('a'))",
            "AggregateFunction(uniq, LowCardinality(String))",
            "AggregateFunction(uniq, String)",
        ),
        ("uniqState(toNullable('a'))", "AggregateFunction(uniq, Nullable(String))", "AggregateFunction(uniq, String)"),
        ("sumState(toUInt8(1))", "AggregateFunction(sum, UInt8)", "AggregateFunction(sum, UInt64)"),
        ("maxState(now())", "AggregateFunction(max, DateTime)", "AggregateFunction(max, DateTime('UTC'))"),
        (
            "argMaxState(toLowCardinality('a'), now())",
            "AggregateFunction(argMax, LowCardinality(String), DateTime)",
            "AggregateFunction(argMax, String, DateTime('UTC'))",
        ),
        (
            "quantileState(0.9)(toFloat64(1))",
            "AggregateFunction(quantile(0.9), Float64)",
            "AggregateFunction(quantile(0.5), Float64)",
        ),
        ("topKState(5)('a')", "AggregateFunction(topK(5), String)", "AggregateFunction(topK(10), String)"),
        ("avgState(toInt8(1))", "AggregateFunction(avg, Int8)", "AggregateFunction(avg, Int64)"),
        ("anyState('a')", "AggregateFunction(any, String)", "AggregateFunction(any, Nullable(String))"),
    ] {
        let text = format!("SELECT toTypeName(CAST({value} AS {to})) AS name");
        let taken = engine.command(&Sql::new(Box::leak(text.into_boxed_str()))).await;
        let parse = |text| ColumnType::parse(text).unwrap();
        assert_eq!(fits(&parse(from), &parse(to)), taken.is_ok(), "{from} -> {to}: {taken:?}");
    }
}
