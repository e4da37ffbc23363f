//! What machines read of a check, judged by the rules of those forms; files that cannot be read; a file of rows in
//! Parquet.

use super::language::{folder, run, text};
use birdhouse::sql::Sql;
use serde_json::Value;
use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

/// A project with errors, warnings, related places and characters that need escaping.
const FILES: &[(&str, &str)] = &[
    ("datasources/a b.datasource", "SCHEMA >\n    `id` Int32\n"),
    ("datasources/e.datasource", "SCHEMA >\n    `id` Int32,\n    `id` String\n"),
    ("pipes/p.pipe", "NODE n\nSQL >\n    SELECT id FROM \"<&'é>\"\n\nTYPE endpoint\n"),
    ("pipes/q.pipe", "NODE n\nSQL >\n    SELECT 1 AS x\n\nTYPE endpoint\n"),
];

/// By the schema of SARIF 2.1.0, and by what a schema cannot say.
#[test]
fn sarif_is_what_its_schema_requires() {
    let folder = folder(FILES);
    let printed = text(&run(folder.path(), &["check", "--no-engine", "--format", "sarif"], ""));
    fs::write(folder.path().join("report.sarif"), &printed).unwrap();
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv");
    let schema = tools.join("sarif-2.1.0.json");
    assert!(schema.exists(), "the schema of SARIF is missing: `make setup` fetches it");
    let script = "import json, sys\nfrom jsonschema import Draft4Validator, FormatChecker\nload = lambda it: \
                  json.load(open(it))\nfound = [(list(it.path), it.message) for it in \
                  Draft4Validator(load(sys.argv[1]), \
                  format_checker=FormatChecker()).iter_errors(load('report.sarif'))]\nassert not found, found\n";
    let mut python = Command::new(tools.join("bin/python3"));
    let output = python.args(["-c", script]).arg(&schema).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let sarif: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    let driver = &run["tool"]["driver"];
    assert!(driver["name"].as_str().is_some_and(|it| !it.is_empty()));
    let rules: Vec<&Value> = driver["rules"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
    assert!(driver["rules"].as_array().unwrap().iter().all(|it| it["shortDescription"]["text"].is_string()));
    let results = run["results"].as_array().unwrap();
    assert!(results.len() >= 4 && results.iter().any(|it| it["relatedLocations"][0].is_object()), "{sarif:#}");
    for result in results {
        assert!(rules.contains(&&result["ruleId"]), "{result:#}");
        assert!(["none", "note", "warning", "error"].contains(&result["level"].as_str().unwrap()));
        assert!(result["message"]["text"].as_str().is_some_and(|it| !it.is_empty()));
        let locations = ["locations", "relatedLocations"].map(|it| result[it].as_array().unwrap());
        for location in locations.into_iter().flatten() {
            let physical = &location["physicalLocation"];
            // A URI reference holds no blank.
            assert!(!physical["artifactLocation"]["uri"].as_str().unwrap().contains(' '), "{physical:#}");
            let region = |name: &str| physical["region"][name].as_u64().unwrap();
            assert!(region("startLine") >= 1 && region("startColumn") >= 1 && region("endColumn") >= 1);
            assert!((region("startLine"), region("startColumn")) <= (region("endLine"), region("endColumn")));
        }
    }
}

/// Read by Python's XML parser: well formed, and the counts are those of what is listed.
#[test]
fn junit_is_read_by_an_xml_parser() {
    let folder = folder(FILES);
    fs::write(
        folder.path().join("report.xml"),
        run(folder.path(), &["check", "--no-engine", "--format", "junit"], "").stdout,
    )
    .unwrap();
    let script = "import xml.etree.ElementTree as x\nsuite = x.parse('report.xml').getroot()[0]\ncases = \
                  suite.findall('testcase')\nassert len(cases) == int(suite.get('tests')) > 3\nassert all(suite.get(it) \
                  == '0' for it in ('errors', 'skipped'))\nassert all(c.get('classname') and c.get('time') for c in \
                  cases)\nassert all(f.get('type') for c in cases for f in c.findall('failure'))\nfailed = [c for c in \
                  cases if c.find('failure') is not None]\nassert len(failed) == int(suite.get('failures')) == 3, \
                  len(failed)\nassert any(\"<&'\\u00e9>\" in f.get('message') for c in failed for f in \
                  c.findall('failure'))\n";
    let output = Command::new("python3").args(["-c", script]).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Whatever stands where a datafile should be is told by name, and the rest is checked all the same. (A mode without
/// the right to read means nothing to root, as whom tests may run.)
#[test]
fn what_is_no_file_is_told() {
    let folder = folder(&[("datasources/good.datasource", "SCHEMA >\n    `id` Int32\n")]);
    let at = |name: &str| folder.path().join("pipes").join(name);
    fs::create_dir_all(at("folder.pipe")).unwrap();
    symlink("nowhere", at("gone.pipe")).unwrap();
    symlink("self.pipe", at("self.pipe")).unwrap();
    symlink("..", at("up")).unwrap();
    assert!(Command::new("mkfifo").arg(at("queue.pipe")).status().unwrap().success());
    fs::write(at("latin.pipe"), b"NODE n\nSQL >\n    SELECT '\xe9' AS x\n").unwrap();
    fs::write(at("marked.pipe"), "\u{feff}TOKEN t READ\rNODE n\rSQL >\r    SELECT 1 AS x\r").unwrap();
    fs::write(at("null.pipe"), "TOKEN t READ\nNODE n\nSQL >\n    SELECT \0 AS x\n").unwrap();
    let output = run(folder.path(), &["check", "--no-engine", "--json"], "");
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let said: Vec<String> = found["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| format!("{} {}", it["code"], it["message"]).replace('"', ""))
        .collect();
    for (code, name) in [
        ("folder_as_datafile", "folder.pipe"),
        ("file_unreadable", "gone.pipe"),
        ("file_unreadable", "self.pipe"),
        ("file_unreadable", "queue.pipe"),
        ("symlink_loop", "pipes/up"),
        ("not_utf8", "0xE9 at line 3, column 13"),
    ] {
        assert!(said.iter().any(|it| it.starts_with(code) && it.contains(name)), "no {code} about {name}: {said:#?}");
    }
    assert!(!said.iter().any(|it| it.contains("marked.pipe")), "{said:#?}");
    let diagnostics = found["diagnostics"].as_array().unwrap();
    assert!(diagnostics.iter().all(|it| it["file"].is_string()), "each has a place: {found:#}");
    // Where the byte stands that is none is shown, and a line may end with a carriage return alone.
    fs::write(at("cr.pipe"), "TOKEN t READ\rNODE n\rSQL >\r    SELECT x FROM nothing\r").unwrap();
    let shown = text(&run(folder.path(), &["check", "--no-engine"], ""));
    assert!(shown.contains("pipes/latin.pipe:3:13") && shown.contains("pipes/cr.pipe:4:19"), "{shown}");
    assert!(found["diagnostics"].as_array().unwrap().iter().any(|it| it["file"] == "pipes/null.pipe"), "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_becomes_a_data_source() {
    let engine = super::engine::engine().await;
    let rows = Sql::new("SELECT toInt64(1) AS id, 'a' AS name, [1.5, 2] AS parts FORMAT Parquet");
    let bytes = engine.command(&rows).await.unwrap();
    let folder = folder(&[]);
    fs::write(folder.path().join("rows.parquet"), bytes).unwrap();
    let output = run(folder.path(), &["datasource", "generate", "rows.parquet"], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let written = fs::read_to_string(folder.path().join("datasources/rows.datasource")).unwrap();
    for column in ["`id` Int64 `json:$.id`", "`name` String `json:$.name`", "`parts` Array(Float64) `json:$.parts[:]`"]
    {
        assert!(written.contains(column), "{written}");
    }
    assert_eq!(text(&run(folder.path(), &["check"], "")), "nothing is wrong in 1 file\n");
}
