//! Where the engine's complaints about a node stand in its file: through the template, through the nodes that it reads,
//! and where the same word stands more than once.

use super::language::{folder, run};
use serde_json::Value;

const EVENTS: &str = "SCHEMA >\n    `id` Int32,\n    `name` String,\n    `at` DateTime\n";

/// The only thing that is wrong with a pipe stands where the text says `«` .. `»`, which are taken out.
fn check(code: &str, marked: &str) {
    let before = &marked[..marked.find('«').unwrap()];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
    let word = marked[before.len() + '«'.len_utf8()..marked.find('»').unwrap()].to_owned();
    let text = marked.replace(['«', '»'], "");
    let folder =
        folder(&[("datasources/events.datasource", EVENTS), ("pipes/p.pipe", &format!("TOKEN t READ\n{text}"))]);
    let output = run(folder.path(), &["check", "--format", "json"], "");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let diagnostics = found["diagnostics"].as_array().unwrap();
    assert_eq!(diagnostics.len(), 1, "{marked}: {found:#}");
    let it = &diagnostics[0];
    let place = (it["code"].as_str().unwrap(), it["line"].as_u64().unwrap(), it["column"].as_u64().unwrap());
    assert_eq!(place, (code, line as u64 + 1, column as u64), "{marked}: {it:#}");
    let end = it["end_column"].as_u64().unwrap();
    assert_eq!(end - column as u64, word.chars().count() as u64, "{marked}: {it:#}");
}

#[test]
fn a_word_that_stands_twice_is_the_one_that_is_wrong() {
    // The first `mark` is a column of the subquery, the one in the comment is none at all.
    check(
        "unknown_column",
        "NODE a\nSQL >\n    -- mark\n    SELECT max(mark) AS m, 'mark' AS s FROM (SELECT id AS mark FROM events)\n\nNODE \
         b\nSQL >\n    SELECT m FROM a\n    WHERE m IN (SELECT mark FROM (SELECT id AS mark FROM events))\n    AND \
         «mark» = 1\n",
    );
    check("unknown_column", "NODE a\nSQL >\n    SELECT «x» FROM events WHERE x > 1\n");
    check("sql_syntax", "NODE a\nSQL >\n    SELECT (id > 1) AS a, (id > «>» 1) AS b FROM events\n");
}

#[test]
fn places_go_back_through_templates() {
    // The branch that is not taken and the template's own name say the same word.
    check(
        "unknown_column",
        "NODE a\nSQL >\n    %\n    {% set idd = 1 %}\n    SELECT {{idd}} AS one FROM events\n    {% if False %} WHERE idd \
         = 1 {% else %} WHERE «idd» = {{Int32(x, 1)}} {% end %}\n",
    );
    // What an expression prints is the expression.
    check("unknown_column", "NODE a\nSQL >\n    %\n    SELECT id FROM events ORDER BY {{«column('idd', 'nam')»}}\n");
    // Each round of a loop prints the same place; a line with a comment is not in the SQL.
    check(
        "unknown_column",
        "NODE a\nSQL >\n    %\n    SELECT id\n# a comment\n    {% for it in ['id', 'at'] %}, «nme» = {{it}}{% end %}\n    \
         FROM events\n",
    );
    check(
        "sql_syntax",
        "NODE a\nSQL >\n    %\n    SELECT {{Int32(x, 10)}} AS a, id > 1 AS b, (id > «>» {{Int32(y, 100000)}}) AS c FROM \
         events\n",
    );
}

#[test]
fn a_node_is_blamed_for_its_own_text_only() {
    check(
        "unknown_column",
        "NODE inner\nSQL >\n    %\n    SELECT id, name FROM events WHERE id > {{Int32(name, 1)}}\n\nNODE middle\nSQL >\n    \
         %\n    SELECT id FROM inner {% if True %} WHERE id > 0 {% end %}\n\nNODE outer\nSQL >\n    SELECT id FROM \
         middle WHERE «name» = 'x'\n",
    );
    // A subquery in a join has no name but the alias; the original calls it by either.
    let text = "NODE a\nSQL >\n    SELECT id FROM events\n\nNODE b\nSQL >\n    SELECT e.id FROM events e JOIN a x ON a.id \
                = e.id\n";
    let folder =
        folder(&[("datasources/events.datasource", EVENTS), ("pipes/p.pipe", &format!("TOKEN t READ\n{text}"))]);
    assert!(run(folder.path(), &["check"], "").status.success());
}

/// A pipe whose template gives other columns when a parameter is there is read as a request without it reads it.
#[test]
fn stand_ins_for_parameters_prove_nothing() {
    let inner = "TOKEN t READ\nNODE n\nSQL >\n    %\n    {% if Boolean(count, false) %} SELECT count() AS c FROM events {% \
                 else %} SELECT id FROM events WHERE name = {{String(who, required=True)}} {% end %}\n";
    let outer = "TOKEN t READ\nNODE m\nSQL >\n    SELECT id FROM inner\n";
    let bad = outer.replace("SELECT id", "SELECT idd");
    for (outer, good) in [(outer, true), (bad.as_str(), false)] {
        let files =
            [("datasources/events.datasource", EVENTS), ("pipes/inner.pipe", inner), ("pipes/outer.pipe", outer)];
        let output = run(folder(&files).path(), &["check"], "");
        assert_eq!(output.status.success(), good, "{}", String::from_utf8_lossy(&output.stdout));
    }
}
