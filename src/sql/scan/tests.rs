//! What the scan finds and refuses, on small texts; the vectors are in `tests/it/sql.rs`.

use super::*;
use proptest::prelude::*;

fn tables(text: &str) -> Vec<String> {
    let scan = scan(text).unwrap_or_else(|error| panic!("{text}: {error} at {:?}", error.span));
    scan.tables.into_iter().map(|it| it.name).collect()
}

fn refused(text: &str) -> Option<Refused> {
    scan(text).err().map(|it| it.category)
}

#[test]
fn tables_are_found_wherever_they_stand() {
    for (text, expected) in [
        ("SELECT 1 FROM (a JOIN b USING (x)), c WHERE y IN d AND z IN (SELECT 1 FROM e)", "a b c d e"),
        ("SELECT 1 FROM a LEFT OUTER JOIN b ON a.x = b.x, c", "a b c"),
        ("SELECT 1 FROM a AS where, b", "a b"),
        ("SELECT 1 FROM a GROUP, b", "a b"),
        ("SELECT 1 FROM a JOIN b USING (x), c", "a b c"),
        ("SELECT 1 FROM a JOIN b USING x, c", "a b"),
        ("SELECT 1 FROM a AS array JOIN b ON 1", "a b"),
        ("SELECT 1 FROM a ARRAY JOIN b JOIN c ON 1", "a c"),
        ("SELECT uuid, interval FROM a GROUP BY interval ORDER BY uuid", "a"),
        ("SELECT x, FROM a", "a"),
        ("SELECT count() OVER (PARTITION BY (SELECT max(x) FROM b)) FROM a", "b a"),
        ("FROM a SELECT 1", "a"),
        ("SELECT CASE WHEN (x) THEN (1) ELSE (2) END FROM a", "a"),
        ("SELECT * EXCEPT (x) REPLACE (1 AS y) FROM a EXCEPT SELECT 1 FROM b", "a b"),
        ("SELECT a.x::Decimal(10, 2) AS y, 'z' AS from FROM a", "a"),
        ("WITH b(x) AS MATERIALIZED (SELECT 1) SELECT 1 FROM b, a", "a"),
        ("WITH RECURSIVE b AS (SELECT 1 FROM b) SELECT 1 FROM b, a", "a"),
        ("WITH b AS (SELECT 1 FROM b) SELECT 1 FROM b", "b"),
        ("WITH x -> x + 1 AS f SELECT f(1) FROM a", "a"),
    ] {
        assert_eq!(tables(text).join(" "), expected, "{text}");
    }
}

#[test]
fn clauses_that_a_splice_touches_are_marked() {
    let text = "SELECT 1 FROM a AS x FINAL SAMPLE 1/2 OFFSET 1/4 PREWHERE p = 1 WHERE q = 2 GROUP BY r";
    let scan = scan(text).unwrap();
    let part = |span: Span| &text[span.start..span.end];
    let table = &scan.tables[0];
    assert_eq!(table.alias.map(part), Some("x"));
    assert_eq!(table.final_.map(part), Some("FINAL"));
    assert_eq!(table.sample.map(part), Some("SAMPLE 1/2 OFFSET 1/4"));
    let (prewhere, end) = scan.selects[table.select].prewhere.unwrap();
    assert_eq!(&text[prewhere.start..end], "PREWHERE p = 1");
    let (condition, end) = scan.selects[table.select].where_.unwrap();
    assert_eq!(&text[condition.start..end], "WHERE q = 2");
}

#[test]
fn what_could_hide_a_table_is_refused() {
    for text in [
        "SELECT 1 FROM a JOIN b ON a.x = where, default.c",
        "SELECT 1 FROM a JOIN b ON a.x = limit, default.c",
        "SELECT 1 FROM a JOIN b ON a.x = array JOIN default.c",
        "SELECT 1 FROM a JOIN b ON a.x = union, default.c",
        "SELECT 1 FROM a WHERE b, default.c",
        "SELECT a * FROM FROM default.c",
        "SELECT a FROM FROM default.c",
        "SELECT AS FROM a, default.c",
        "SELECT 1 FROM a SELECT, default.c",
        "SELECT 1 FROM a WHERE x IN default.c",
        "SELECT in(1, system.c)",
        "SELECT 1 FROM (default.c)",
        "SELECT (1 FROM default.c)",
        "SELECT extract(DAY FROM x FROM default.c)",
        "SELECT 1 FROM 'c'",
        "SELECT 1 FROM $$c$$",
        "SELECT 1 FROM {c:Identifier}",
        "SELECT {c:String}",
        "SELECT 1 FROM a UNION b",
        "SELECT 1 FROM a FROM b",
    ] {
        assert!(scan(text).is_err(), "{text}");
    }
}

#[test]
fn refusals_have_their_category() {
    use Refused::*;
    for (text, expected) in [
        ("SELECT arrayMap(file, ['x'])", Function),
        ("SELECT arrayMap((`file` AS f), ['x'])", Function),
        ("SELECT * APPLY(file) FROM a", Function),
        ("SELECT * APPLY file FROM a", Function),
        ("SELECT \"file\"('x')", Function),
        ("SELECT FILE('x')", Function),
        ("SELECT nosuchfunction(1)", Function),
        ("SELECT dictGetIf(1)", Function),
        ("WITH x -> x AS file SELECT file('x')", Function),
        ("SELECT 1 FROM `file`('x')", TableFunction),
        ("SELECT 1 FROM a, LATERAL('x')", TableFunction),
        ("SELECT 1 FROM a AS settings SETTINGS readonly = 0", Settings),
        ("SELECT (SELECT 1 SETTINGS readonly = 0)", Settings),
        ("SELECT 1 AS settings readonly = 0", Settings),
        ("SELECT (SELECT 1 FORMAT JSON)", Format),
        ("SELECT 1 FROM (EXPLAIN SELECT 1)", NotSelect),
        ("SELECT (EXPLAIN SELECT 1)", NotSelect),
        ("EXPLAIN SELECT 1", NotSelect),
        ("FROM a INSERT INTO b", NotSelect),
        ("SELECT 1 FROM system.tables", SystemTable),
        ("SELECT a.`_database` FROM a", DatabasePrefix),
        ("SELECT 1;SELECT 2;", MultiStatement),
        ("SELECT 1 INTO/**/OUTFILE 'x'", Outfile),
        ("SELECT @@max_threads", Syntax),
        ("SELECT 1\\G", Syntax),
        ("SELECT 1\0", Syntax),
        ("SELECT имя", Syntax),
    ] {
        assert_eq!(refused(text), Some(expected), "{text}");
    }
    assert_eq!(refused(&format!("SELECT {}1{}", "(".repeat(500), ")".repeat(500))), Some(Syntax));
    assert_eq!(refused(&" ".repeat(2 << 20)), Some(Syntax));
}

#[test]
fn secrets_are_the_only_placeholders() {
    let secrets = ["key".to_owned()];
    let scan = scan_with("SELECT {key: String}, {key:String}", &secrets, &[]).unwrap();
    assert_eq!(scan.placeholders.len(), 2);
    assert!(scan_with("SELECT {key: Identifier}", &secrets, &[]).is_err());
    assert!(scan_with("SELECT {other: String}", &secrets, &[]).is_err());
    assert!(scan_with("SELECT 1 FROM {key: String}", &secrets, &[]).is_err());
}

#[test]
fn a_filter_is_one_expression() {
    for text in [
        "company_id=1",
        "name in (select name from companies where company_id = 1)",
        "a = 1 or (b = 2 and c like 'x%') -- mine",
        "x is not null and y between 1 and 2",
        "not has(tags, 'a')",
    ] {
        assert!(scan_filter(text).is_ok(), "{text}: {:?}", scan_filter(text));
    }
    for text in [
        "",
        "1) OR (1",
        "1, 2",
        "1 ORDER BY 2",
        "1 LIMIT 1",
        "1 UNION ALL SELECT 2",
        "1; SELECT 2",
        "a = 1 SETTINGS x = 1",
        "a WHERE b",
        "a FROM b",
        "SELECT 1",
        "file('x') = ''",
        "a = 'x",
        "1 /*",
        "x = ",
        "1 FORMAT JSON",
    ] {
        assert!(scan_filter(text).is_err(), "{text}");
    }
    assert_eq!(scan_filter("name in (select name from companies)").unwrap().tables[0].name, "companies");
}

#[test]
fn expressions_of_datafiles_stay_in_their_clause() {
    for text in [
        "timestamp",
        "toYYYYMM(timestamp)",
        "company_id, plan, size",
        "tuple()",
        "ZSTD(1)",
        "Delta(4), LZ4",
        "d + INTERVAL 1 MONTH DELETE",
        "index_granularity = 8192, ttl_only_drop_parts = 1",
        "(comment, format, ttl)",
        "bloom_filter(0.01)",
        "now()",
        "'a;b'",
    ] {
        assert_eq!(check_expression(text), Ok(()), "{text}");
    }
    for text in [
        "",
        "x) ENGINE = File(CSV",
        "x; DROP TABLE y",
        "x SETTINGS a = 1",
        "x PARTITION BY y",
        "(SELECT 1)",
        "file('x')",
        "x AS SELECT 1",
        "'x",
        "{a:String}",
        "x TTL y",
        "x COMMENT 'y'",
    ] {
        assert!(check_expression(text).is_err(), "{text}");
    }
}

#[test]
fn a_trailing_format_is_cut_off() {
    for (text, rest, format) in [
        ("SELECT 1 FORMAT JSON", "SELECT 1", Some("JSON")),
        ("SELECT 1 format csvWithNames ; -- x", "SELECT 1", Some("csvWithNames")),
        ("SELECT * FROM a ORDER BY x DESC FORMAT `CSV`", "SELECT * FROM a ORDER BY x DESC", Some("CSV")),
        ("SELECT 1 FROM a FINAL\nFORMAT\nTSV", "SELECT 1 FROM a FINAL", Some("TSV")),
        ("SELECT x FROM a ORDER BY format DESC", "SELECT x FROM a ORDER BY format DESC", None),
        ("SELECT ' FORMAT JSON'", "SELECT ' FORMAT JSON'", None),
        ("SELECT (SELECT 1 FORMAT JSON)", "SELECT (SELECT 1 FORMAT JSON)", None),
        ("SELECT 1 -- FORMAT JSON", "SELECT 1 -- FORMAT JSON", None),
    ] {
        assert_eq!(cut_format(text), (rest, format.map(str::to_owned)), "{text}");
    }
}

#[test]
fn what_is_to_be_explained_is_taken_out_of_brackets() {
    for (text, query, most) in [
        ("explain select 1", "select 1", None),
        ("EXPLAIN PLAN WITH 1 AS x SELECT x", "WITH 1 AS x SELECT x", None),
        ("SELECT * FROM (explain select (1), [2]) LIMIT 100", "select (1), [2]", Some(100)),
        ("select * from ( explain plan select ')' -- (\n)", "select ')' -- (\n", None),
    ] {
        assert_eq!(cut_explain(text), Some(Explained { query, most }), "{text}");
    }
    for text in [
        "SELECT 1",
        "EXPLAIN AST SELECT 1",
        "SELECT explain FROM (EXPLAIN SELECT 1)",
        "SELECT * FROM (EXPLAIN SELECT 1) WHERE 1",
        "SELECT * FROM (EXPLAIN SELECT 1) LIMIT 1, 2",
        "SELECT * FROM (EXPLAIN SELECT 1) LIMIT x",
        "SELECT * FROM (EXPLAIN SELECT 1), (SELECT 2)",
        "SELECT * FROM (EXPLAIN SELECT 1",
        "SELECT * FROM (EXPLAIN ESTIMATE SELECT 1)",
        "SELECT * FROM `(` EXPLAIN SELECT 1)",
        "SELECT * FROM ((EXPLAIN SELECT 1))",
    ] {
        assert_eq!(cut_explain(text), None, "{text}");
    }
}

/// Words of SQL in any order: texts that are nearly right find more than random letters do.
fn sqlish() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "SELECT",
        "FROM",
        "WITH",
        "a",
        "b",
        ",",
        "(",
        ")",
        "AS",
        "IN",
        "JOIN",
        "ON",
        "USING",
        "WHERE",
        "PREWHERE",
        "'x'",
        "`q`",
        "\"",
        "'",
        "--",
        "/*",
        "*/",
        "$$",
        "$t$",
        "[",
        "]",
        "{",
        "}",
        ".",
        "1",
        "1.",
        ".5",
        "0x",
        "::",
        "->",
        "*",
        "=",
        "UNION",
        "ALL",
        "EXCEPT",
        "ORDER",
        "BY",
        "LIMIT",
        "FINAL",
        "SAMPLE",
        "ARRAY",
        "FORMAT",
        "SETTINGS",
        "count",
        "file",
        "APPLY",
        "\u{a0}",
        "“",
        "”",
        "é",
        "\\",
        "#",
        "# ",
        ";",
        "INTERVAL",
        "DAY",
        "CASE",
        "WHEN",
        "END",
        "DISTINCT",
        "NOT",
        "MATERIALIZED",
        "RECURSIVE",
        "-",
    ]);
    prop::collection::vec((word, prop::sample::select(vec!["", " ", "\n"])), 0..60)
        .prop_map(|words| words.into_iter().map(|(word, space)| format!("{word}{space}")).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_scan_never_panics(text in sqlish(), noise in ".{0,40}") {
        for text in [&text, &noise] {
            for scan in [scan(text), scan_filter(text)].into_iter().flatten() {
                for table in scan.tables {
                    prop_assert!(text.get(table.span.start..table.span.end).is_some_and(|it| !it.is_empty()));
                }
                prop_assert!(text.is_char_boundary(scan.end));
            }
            let (rest, _) = cut_format(text);
            prop_assert!(text.starts_with(rest));
            let _ = check_expression(text);
        }
    }
}

#[test]
fn the_scan_is_linear() {
    // Each unit asks for what could be looked for in the whole text: candidates after IN, unknown functions.
    for unit in ["x IN y OR ", "(1) + ", "$$a$$ = ", "a AS b, (SELECT 1 FROM c) IN d OR "] {
        let time = |count: usize| {
            let text = format!("SELECT {} 1", unit.repeat(count));
            let run = || {
                let start = std::time::Instant::now();
                let _ = scan(&text);
                start.elapsed()
            };
            (0..3).map(|_| run()).min().unwrap()
        };
        let (small, large) = (time(200), time(8000));
        assert!(large < small * 400 + std::time::Duration::from_millis(20), "{unit}: {small:?}, {large:?}");
    }
}
