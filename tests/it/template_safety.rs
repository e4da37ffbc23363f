//! No value leaves its place: every typed function in every quoting context, with generated values and with the
//! payloads of sqlmap, judged by the scanner that guards the engine.

use birdhouse::{
    sql::scan,
    template::{Budgets, Params, RenderOptions, Template},
};
use proptest::prelude::*;
use serde_json::json;
use std::{env, fs, path::PathBuf};

/// A template whose parameter is `x`, a harmless value of it, and whether the value may be a bare name there.
struct Place {
    template: Template,
    text: String,
    shape: Vec<String>,
    is_name: bool,
}

const TYPES: &[(&str, &str)] = &[
    ("String(x)", "v"),
    ("String(x, 'd', description='k')", "v"),
    ("x", "v"),
    ("Int8(x)", "5"),
    ("Int16(x)", "5"),
    ("Int32(x)", "5"),
    ("Int64(x)", "5"),
    ("Int128(x)", "5"),
    ("Int256(x)", "5"),
    ("UInt8(x)", "5"),
    ("UInt16(x)", "5"),
    ("UInt32(x)", "5"),
    ("UInt64(x)", "5"),
    ("UInt128(x)", "5"),
    ("UInt256(x)", "5"),
    ("Int(x)", "5"),
    ("Integer(x)", "5"),
    ("Float32(x)", "1.5"),
    ("Float64(x)", "1.5"),
    ("Boolean(x)", "1"),
    ("Date(x)", "2024-01-01"),
    ("DateTime(x)", "2024-01-01 00:00:00"),
    ("DateTime64(x)", "2024-01-01 00:00:00.000"),
    ("JSON(x)", "{\"a\": \"b\"}"),
    ("Array(x, 'String')", "v"),
    ("Array(x, 'Int32')", "5"),
    ("Array(x, 'Float64')", "1.5"),
    ("Array(x, 'Date')", "2024-01-01"),
    ("Array(x, 'DateTime')", "2024-01-01 00:00:00"),
    ("Array(x, 'DateTime64')", "2024-01-01 00:00:00.000"),
    ("Array(x, 'Boolean')", "1"),
    ("Array(x, 'Symbol')", "v"),
    ("Array(x, 'UUID')", "v"),
    ("Array(x)", "v"),
    ("sql_unescape(String(x), '%')", "v"),
    ("sql_unescape(x, '_')", "v"),
    ("split_to_array(x)[0]", "v"),
    ("split_to_array(x)", "v"),
    ("x.split(',')[0]", "v"),
    ("x.replace('a', 'b')", "v"),
    ("'a' + x", "v"),
    ("f'{x}'", "v"),
    ("[x]", "v"),
];

/// What stands around a value.
const CONTEXTS: &[(&str, &str)] = &[
    ("SELECT ", " AS a FROM t"),
    ("SELECT * FROM t WHERE a = ", " AND b = 1"),
    ("SELECT * FROM t WHERE a IN (", ") AND b"),
    ("SELECT * FROM t WHERE a LIKE concat('%', ", ", '%')"),
    ("SELECT f(", ", 2) FROM t"),
    ("SELECT [", ", 1] FROM t"),
    ("SELECT (1, ", ") FROM t"),
    ("SELECT 1 -- a comment\n, ", " /* another */ FROM t"),
    ("SELECT `a b`, \"c\", 'd', ", ", 'e' FROM t"),
    ("SELECT * FROM t LIMIT ", ""),
    ("SELECT a FROM t ORDER BY ", " DESC"),
];

/// Names, whose quoting depends on what they are.
const NAMES: &[&str] = &[
    "SELECT {{ column(x) }} FROM t",
    "SELECT {{ column(x, 'd') }} FROM t",
    "SELECT {{ columns(x) }} FROM t",
    "SELECT {{ columns(x, fn='max') }} FROM t",
    "SELECT {{ symbol(x) }} FROM t",
    "SELECT {{ symbol(x, quote='') }} FROM t",
    "SELECT {{ symbol(x, '\"') }} FROM t",
    "SELECT * FROM {{ table(x) }} WHERE 1",
    "SELECT 1 FROM t {{ backend_hint(x) }} WHERE 1",
    "SELECT 1 FROM t {{ max_threads(x) }} WHERE 1",
    "SELECT 1 FROM t WHERE {{ sql_and(a=x, b__in=Array(x), c__gt=String(x)) }}",
];

fn places() -> Vec<Place> {
    let values = TYPES.iter().flat_map(|(function, harmless)| {
        CONTEXTS.iter().map(move |(before, after)| (format!("{before}{{{{ {function} }}}}{after}"), *harmless, false))
    });
    let names = NAMES.iter().map(|text| ((*text).to_owned(), "a-b", true));
    let place = |(text, harmless, is_name): (String, &str, bool)| {
        let template = Template::parse(&text).unwrap();
        let sql = render(&template, harmless).unwrap_or_else(|| panic!("{text} with {harmless}"));
        let shape = shape(&sql, is_name).unwrap_or_else(|| panic!("{sql}"));
        Place { template, text, shape, is_name }
    };
    values.chain(names).map(place).collect()
}

fn render(template: &Template, value: &str) -> Option<String> {
    let params = Params::from_iter([("x".to_owned(), json!(value))]);
    template.render(&params, &RenderOptions::default()).ok().map(|it| it.sql)
}

/// The tokens of a text, its literals alike; a repetition of items with commas counts once.
fn shape(sql: &str, is_name: bool) -> Option<Vec<String>> {
    let tokens = scan::shape(sql).ok()?;
    let is_value = |it: &str| matches!(it, "''" | "0" | "``") || it == "inf" || it == "nan";
    let mut shape: Vec<String> = Vec::new();
    for token in tokens {
        let bare = token.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && token.chars().all(|c| c == '_' || c.is_alphanumeric());
        let token = if token == "inf" || token == "nan" { "0".to_owned() } else { token };
        let token = if is_name && (token == "``" || bare) { "name".to_owned() } else { token };
        // A sign belongs to a number.
        if token == "0" && shape.last().is_some_and(|it| it == "-" || it == "+") {
            shape.pop();
        }
        shape.push(token);
        // `v, v` is `v`, `v.v` is `v`: there are as many items as the value has commas or dots.
        loop {
            let is_item = |it: &String| is_value(it) || it == "name";
            match &shape[..] {
                [.., a, mark, b] if (mark == "," || mark == ".") && a == b && is_item(a) => {
                    shape.truncate(shape.len() - 2);
                }
                _ => break,
            }
        }
    }
    Some(shape)
}

/// Whether a value keeps to its place wherever it renders at all. How often it rendered.
fn hold(places: &[Place], value: &str) -> usize {
    let mut rendered = 0;
    for place in places {
        // Each item of it is a call of its own.
        let one = place.text.contains("fn=").then(|| value.replace(',', " "));
        let value = one.as_deref().unwrap_or(value);
        let Some(sql) = render(&place.template, value) else { continue };
        rendered += 1;
        // Dots alone are no name and no harm: the engine says so.
        if place.is_name && value.split([',', '.']).any(|it| it.trim().is_empty()) {
            continue;
        }
        // JSON prints whatever structure the text has: as literals, which is all that is promised.
        if place.text.contains("JSON(") {
            continue;
        }
        let Some(shape) = shape(&sql, place.is_name) else {
            // The scanner refuses to read some texts, as with NUL: nothing runs then.
            continue;
        };
        assert_eq!(shape, place.shape, "{} with {value:?}\n{sql}", place.text);
    }
    rendered
}

/// How much to try: `make torture` gives more.
fn rounds(usual: u32) -> u32 {
    env::var_os("TORTURE_CASES").map_or(usual, |it| it.to_str().unwrap().parse().unwrap())
}

#[test]
fn no_value_changes_the_tokens() {
    let places = places();
    let value = "[^,]{0,12}|['\"`\\\\%a \n;()-]{0,10}|[0-9+-]{1,5}['\" -]{0,3}|2024-01-01 00:00:00[^,]{0,9}|[{\\[\"':a0-9}\\]]{0,12}";
    let config = ProptestConfig { cases: rounds(150), failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(value in value)| {
        hold(&places, &value);
    });
}

#[test]
fn sqlmaps_payloads_change_no_tokens() {
    let payloads = sqlmap_payloads();
    assert!(payloads.len() > 500, "only {} payloads; `make setup` installs sqlmap", payloads.len());
    let places = places();
    // All of them take half a minute without optimisation; each run takes every so many of them, all kinds among them.
    let step = if cfg!(debug_assertions) && env::var_os("TORTURE_CASES").is_none() { 12 } else { 1 };
    let chosen = payloads.iter().step_by(step);
    let tried = chosen.len();
    let rendered: usize = chosen.map(|it| hold(&places, it)).sum();
    println!("sqlmap: {tried} of {} payloads in {} places, {rendered} renderings", payloads.len(), places.len());
    assert!(rendered > tried * 10);
}

/// Every payload alone, and within every boundary, as sqlmap puts them together; its own marks become numbers.
fn sqlmap_payloads() -> Vec<String> {
    let libraries = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".venv/lib");
    let versions = fs::read_dir(&libraries).into_iter().flatten().flatten();
    let folder = versions.map(|it| it.path().join("site-packages/sqlmap/data/xml")).find(|it| it.is_dir());
    let folder = folder.expect("sqlmap is missing: `make setup` installs it");
    let mut files = vec![folder.join("queries.xml")];
    files.extend(fs::read_dir(folder.join("payloads")).unwrap().map(|it| it.unwrap().path()));
    let texts: Vec<String> = files.iter().map(|it| fs::read_to_string(it).unwrap()).collect();
    let mut payloads: Vec<String> = Vec::new();
    for text in &texts {
        for tag in ["payload", "vector", "comparison"] {
            payloads.extend(inside(text, tag));
        }
    }
    // ClickHouse's own expressions.
    let queries = &texts[0];
    let own = queries.split("<dbms value=\"ClickHouse\">").nth(1).map_or("", |it| it.split("</dbms>").next().unwrap());
    payloads.extend(own.split("query=\"").skip(1).map(|it| plain(it.split('"').next().unwrap())));
    payloads.sort();
    payloads.dedup();
    let boundaries = fs::read_to_string(folder.join("boundaries.xml")).unwrap();
    let ends = inside(&boundaries, "prefix").into_iter().zip(inside(&boundaries, "suffix"));
    let mut ends: Vec<(String, String)> = ends.collect();
    ends.sort();
    ends.dedup();
    let mut all = payloads.clone();
    for (index, payload) in payloads.iter().enumerate() {
        let bounded = ends.iter().map(|(prefix, suffix)| format!("{prefix} {payload} {suffix}"));
        // Each boundary meets a good part of the payloads; each payload meets many boundaries.
        all.extend(bounded.skip(index % 3).step_by(3));
    }
    all
}

fn inside(text: &str, tag: &str) -> Vec<String> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    text.split(&open).skip(1).map(|it| plain(it.split(&close).next().unwrap())).collect()
}

fn plain(text: &str) -> String {
    let mut text = text.trim_start_matches('\n').to_owned();
    for (mark, meaning) in
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#x0A;", "\n"), ("&amp;", "&")]
    {
        text = text.replace(mark, meaning);
    }
    for (mark, meaning) in [
        ("[RANDNUM]", "4711"),
        ("[RANDNUM1]", "4712"),
        ("[RANDNUM2]", "4713"),
        ("[SLEEPTIME]", "5"),
        ("[RANDSTR]", "kqxz"),
        ("[GENERIC_SQL_COMMENT]", "-- -"),
        ("[INFERENCE]", "1=1"),
        ("[ORIGVALUE]", "1"),
        ("[QUERY]", "SELECT 1"),
        ("[DELIMITER_START]", "qk"),
        ("[DELIMITER_STOP]", "qz"),
    ] {
        text = text.replace(mark, meaning);
    }
    text
}

#[test]
fn no_template_and_no_value_runs_away() {
    let words = prop::collection::vec(
        prop_oneof![
            Just("{{ "),
            Just(" }}"),
            Just("{% if "),
            Just(" %}"),
            Just("{% end %}"),
            Just("{% for i in "),
            Just("{% set v = "),
            Just("{% while "),
            Just("x"),
            Just("i"),
            Just("v"),
            Just("'a'"),
            Just("9"),
            Just("*"),
            Just("**"),
            Just("+"),
            Just("%"),
            Just("["),
            Just("]"),
            Just("("),
            Just(")"),
            Just(","),
            Just("range("),
            Just("String("),
            Just("Array("),
            Just("'x' * 99999"),
            Just(".join("),
            Just(".split("),
            Just("[i for i in range(99)]"),
            Just("lambda: "),
            Just("f'{x:>999}'"),
            Just("{% try %}"),
            Just("{% except %}"),
        ],
        0..16,
    );
    let budgets = Budgets { steps: 20_000, output: 1 << 16, string: 1 << 16, items: 2_000, ..Budgets::default() };
    let options = RenderOptions { budgets, ..RenderOptions::default() };
    let config = ProptestConfig { cases: rounds(1500), failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(words in words, value in "\\PC{0,20}")| {
        let text = words.concat();
        for text in [text.clone(), format!("{{{{ {text} }}}}"), format!("{{% set v = {text} %}}{{{{ v }}}}")] {
            let Ok(template) = Template::parse(&text) else { continue };
            let params = Params::from_iter([("x".to_owned(), json!(value))]);
            let begin = std::time::Instant::now();
            if let Ok(rendered) = template.render(&params, &options) {
                assert!(rendered.sql.len() <= 1 << 16);
            }
            assert!(begin.elapsed().as_secs() < 20, "{text}");
            _ = (template.params(), template.traps());
        }
    });
}
