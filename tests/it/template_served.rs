//! Templates as they are served and asked for: parameters merged over nodes and pipes, OpenAPI, unknown names,
//! budgets, secrets, and the command that renders.

use super::{
    cli::Folder,
    http::{ADMIN, Site},
};
use birdhouse::{
    auth::Access,
    datafile::Context,
    diagnostic::Source,
    name::{Namespace, ResourceName},
    project::{Project, resolve},
    query::{self, Request},
    server,
    template::{Budgets, Params},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

const TRIPS: &[(&str, &str)] = &[
    (
        "datasources/trips.datasource",
        "SCHEMA >\n    `city` String,\n    `day` Date,\n    `km` Float64,\n    `tags` Array(String),\n    `note` Nullable(String)\n\n\
         ENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"city\"\n",
    ),
    (
        "pipes/long_trips.pipe",
        "NODE long\nSQL >\n    %\n    SELECT * FROM trips WHERE km >= {{ Float64(min_km, 0, description='From how many km on') }}\n    \
         {% if defined(city) %}AND city = {{ String(city, description='Late words', enum=['Ulm', 'Bonn']) }}{% end %}\n",
    ),
    (
        "endpoints/by_day.pipe",
        "DESCRIPTION >\n    Trips by day\n\nNODE unused\nSQL >\n    %\n    SELECT {{ Int32(never) }} AS a\n\nNODE days\nSQL >\n    %\n    \
         {% set limit_all = 1000 %}\n    SELECT day, sum(km) AS km, groupArray(tags) AS tags, any(note) AS note, {{ city if defined(city) else 'all' }} AS c\n    \
         FROM long_trips WHERE day >= {{ Date(since, required=True, example='2024-01-01') }}\n    \
         AND day NOT IN {{ Array(skip, 'Date', '2024-12-24,2024-12-25') }}\n    \
         {% if Boolean(odd) %}AND toDayOfMonth(day) % 2 = 1{% end %}\n    GROUP BY day LIMIT {{ Int32(page_size, 100) }} OFFSET {{ Int(skipped, 0) }}\n    \
         SETTINGS_FREE\n\nNODE out\nSQL >\n    SELECT * FROM days\n\nTYPE endpoint\n",
    ),
];

fn trips() -> Vec<(&'static str, String)> {
    TRIPS.iter().map(|(path, text)| (*path, text.replace("\n    SETTINGS_FREE", ""))).collect()
}

fn project(files: &[(&str, String)]) -> Project {
    let sources: Vec<Source> = files.iter().map(|(path, text)| Source::new(*path, text.clone())).collect();
    let (project, diagnostics) = resolve(&sources, &Context::default());
    assert!(diagnostics.iter().all(|it| it.severity != birdhouse::diagnostic::Severity::Error), "{diagnostics:?}");
    project
}

#[test]
fn an_endpoints_parameters_are_those_it_reaches_merged() {
    let project = project(&trips());
    let pipe = project.pipe("by_day").unwrap();
    let list = project.parameters(pipe, pipe.output_node());
    let shown: Vec<_> = list
        .iter()
        .map(|it| {
            let places: Vec<_> = it.used_in.iter().map(|it| format!("{}.{}", it.pipe, it.node)).collect();
            (it.name.as_str(), it.type_name.as_str(), it.default.clone(), it.required, places.join(" "))
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("city", "String", None, false, "by_day.days long_trips.long".to_owned()),
            ("since", "Date", None, true, "by_day.days".to_owned()),
            ("skip", "Array(Date)", Some(json!("2024-12-24,2024-12-25")), false, "by_day.days".to_owned()),
            ("odd", "Boolean", None, false, "by_day.days".to_owned()),
            ("page_size", "Int32", Some(json!(100)), false, "by_day.days".to_owned()),
            ("min_km", "Float64", Some(json!(0)), false, "long_trips.long".to_owned()),
        ]
    );
    assert_eq!(list[0].description.as_deref(), Some("Late words"));
    assert_eq!(list[0].enumeration, Some(vec![json!("Ulm"), json!("Bonn")]));
    assert_eq!(list[1].example, Some(json!("2024-01-01")));
    let names = project.parameter_names(pipe, pipe.output_node());
    assert!(names.contains("skipped") && !names.contains("never") && !names.contains("limit_all"), "{names:?}");
}

#[tokio::test]
async fn endpoints_are_described_and_unknown_parameters_told() {
    let site = Site::start().await;
    let files = trips();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let reply = site.deploy(&files, "").await;
    assert_eq!(reply.json()["result"], "success", "{}", reply.text);

    let document = site.get("/v0/pipes/openapi.json", ADMIN).await.json();
    let operation = &document["paths"]["/v0/pipes/by_day.json"]["get"];
    let names: Vec<_> = operation["parameters"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["city", "since", "skip", "odd", "page_size", "min_km"]);
    assert_eq!(operation["parameters"][2]["schema"]["default"], json!(["2024-12-24", "2024-12-25"]));
    let row = &operation["responses"]["200"]["content"]["application/json"]["schema"]["properties"]["data"]["items"];
    assert_eq!(row["properties"]["km"]["type"], "number");
    assert_eq!(row["properties"]["note"]["nullable"], true);
    assert_eq!(row["properties"]["day"]["format"], "date");
    assert_eq!(row["properties"]["tags"]["items"]["items"]["type"], "string");
    validate(&document);

    let token = site.token("nothing", &["PIPES:READ:other"]).await;
    assert_eq!(site.get("/v0/pipes/openapi.json", &token).await.json()["paths"], json!({}));

    let shown = site.get("/v0/pipes/by_day", ADMIN).await.json();
    let since = &shown["nodes"][1]["params"][1];
    assert_eq!((&since["name"], &since["type"], &since["required"]), (&json!("since"), &json!("Date"), &json!(true)));

    let header = "x-birdhouse-unknown-parameters";
    let reply =
        site.get("/v0/pipes/by_day.json?since=2024-01-01&pagesize=5&%C3%A9=1&cli_version=1&skipped=0", ADMIN).await;
    assert_eq!((reply.status.as_u16(), reply.header(header)), (200, "pagesize, %C3%A9"), "{}", reply.text);
    let reply = site.get("/v0/pipes/by_day.json?sinc=2024-01-01", ADMIN).await;
    assert_eq!((reply.status.as_u16(), reply.header(header)), (400, "sinc"), "{}", reply.text);
    let reply = site.get("/v0/pipes/by_day.json?since=2024-01-01&never=1", ADMIN).await;
    assert_eq!(reply.header(header), "never", "a node that the endpoint does not reach");
    let reply = site.get("/v0/pipes/by_day.json?since=2024-01-01&city=Ulm", ADMIN).await;
    assert_eq!(reply.header(header), "");
    site.stop().await;
}

/// By the validator that Python's world trusts.
fn validate(document: &Value) {
    let python = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python3");
    let script = "import json, sys\nfrom openapi_spec_validator import validate\nvalidate(json.load(sys.stdin))";
    let mut child = Command::new(python)
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the validator is missing: `make setup` installs it");
    child.stdin.take().unwrap().write_all(document.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{document:#}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn values_come_in_every_form() {
    let site = Site::start().await;
    let pipe = "NODE n\nSQL >\n    %\n    SELECT {{ Array(l, 'Int32', '0') }} AS l, {{ Int32(n, 0) }} AS n, {{ JSON(o, '{}').get('a', 0) }} AS o, \
                {{ String(s, '') }} AS s\n\nTYPE endpoint\n";
    let reply = site.deploy(&[("endpoints/echo.pipe", pipe)], "").await;
    assert_eq!(reply.json()["result"], "success", "{}", reply.text);
    let row = |reply: super::http::Reply| reply.json()["data"][0].clone();
    let want = json!({"l": [1, 2], "n": 5, "o": 7, "s": "x"});
    let query = "l=1&l=2&n=5&o=%7B%22a%22:7%7D&s=x";
    assert_eq!(row(site.get(&format!("/v0/pipes/echo.json?{query}"), ADMIN).await), want);
    assert_eq!(row(site.get("/v0/pipes/echo.json?l=1,2&n=5&o=%7B%22a%22:7%7D&s=x", ADMIN).await), want);
    let form = [("l", "1"), ("l", "2"), ("n", "5"), ("o", "{\"a\":7}"), ("s", "x")];
    assert_eq!(row(site.form("/v0/pipes/echo.json", ADMIN, &form).await), want);
    let body = json!({"l": [1, 2], "n": 5, "o": {"a": 7}, "s": "x"});
    let request = site.request(reqwest::Method::POST, "/v0/pipes/echo.json").bearer_auth(ADMIN).json(&body);
    assert_eq!(row(super::http::reply(request).await), want);
    site.stop().await;
}

#[tokio::test]
async fn a_budget_that_is_exceeded_is_named() {
    let templates = Budgets { items: 10, ..Budgets::default() };
    let site = Site::with(server::Settings { templates, ..server::Settings::default() }).await;
    let pipe = "NODE n\nSQL >\n    %\n    SELECT {% for i in range(Int32(n, 3)) %}{{ i }} + {% end %}0 AS a\n\nTYPE endpoint\n";
    let reply = site.deploy(&[("endpoints/sums.pipe", pipe)], "").await;
    assert_eq!(reply.json()["result"], "success", "{}", reply.text);
    assert_eq!(site.get("/v0/pipes/sums.json?n=4", ADMIN).await.json()["data"][0]["a"], 6);
    let reply = site.get("/v0/pipes/sums.json?n=11", ADMIN).await;
    assert_eq!(reply.status.as_u16(), 400);
    assert!(reply.error().contains("budget of 10 items in one list or loop"), "{}", reply.text);
    let reply = site.sql(ADMIN, "% select {% for i in range(11) %}{{ i }} + {% end %}0").await;
    assert_eq!((reply.status.as_u16(), reply.error().contains("budget of 10")), (400, true), "{}", reply.text);
    site.stop().await;
}

#[test]
fn secrets_are_parameters_of_the_query() {
    let pipe = "NODE n\nSQL >\n    %\n    SELECT {{ tb_secret('key') }} AS a, {{ tb_secret('none', 'd') }} AS b\n\nTYPE endpoint\n";
    let project = project(&[("endpoints/keys.pipe", pipe.to_owned())]);
    let secrets = Arc::new(BTreeMap::from([("key".to_owned(), "s'e\tc".to_owned())]));
    let request = Request { secrets, ..Request::pipe(ResourceName::new("keys").unwrap(), Params::new()) };
    let compiled = query::compile(&project, &Namespace::new("w"), &Access::owner(), &request).unwrap();
    assert!(compiled.sql().as_str().contains("{key: String} AS a, 'd' AS b"), "{}", compiled.sql().as_str());
    assert!(!compiled.sql().as_str().contains("s'e"));
    assert_eq!(compiled.parameters(), [("key".to_owned(), "s'e\\tc".to_owned())]);
}

#[test]
fn a_check_names_the_traps() {
    let pipe = "NODE n\nSQL >\n    %\n    SELECT * FROM trips WHERE a = {{ String(x, '50%') }} AND b LIKE {{ String(y, '50%') }}\n    \
                AND c LIKE '%{{ String(z) }}%'\n\nTYPE endpoint\n";
    let source = Source::new("endpoints/traps.pipe", pipe);
    let sources = [Source::new(TRIPS[0].0, TRIPS[0].1), source];
    let (project, _) = resolve(&sources, &Context::default());
    let diagnostics = birdhouse::project::lint(&project);
    let found: Vec<_> = diagnostics
        .iter()
        .filter(|it| it.code.starts_with("template_"))
        .map(|it| {
            let span = it.place.as_ref().unwrap().span;
            (it.code, &pipe[span.start..span.end])
        })
        .collect();
    assert_eq!(
        found,
        [("template_percent_never_equal", "'50%'"), ("template_quoted_twice", "String(z)")],
        "{diagnostics:?}"
    );
}

#[test]
fn the_command_gives_what_the_vectors_say() {
    let text = fs::read_to_string(super::vectors::folder().join("templates/public.jsonl")).unwrap();
    let cases: Vec<Value> = text.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let results = rendered(&text);
    assert_eq!(results.len(), cases.len());
    let mut wrong = Vec::new();
    for (case, result) in cases.iter().zip(&results) {
        let id = case["id"].as_str().unwrap();
        if super::template::DIFFERENCES.iter().any(|(it, _)| *it == id) {
            continue;
        }
        for field in [
            "id",
            "ok",
            "sql",
            "settings",
            "secrets_used",
            "variable_warnings",
            "error_category",
            "http_status",
            "body",
            "is_template",
            "metadata",
            "used_tables",
            "name_error",
        ] {
            // What a case does not say is not asked.
            if case.get(field).is_some_and(|it| !it.is_null()) && case.get(field) != result.get(field) {
                wrong.push(format!("{id} {field}: {} for {}", result[field], case[field]));
            }
        }
        let message = case["message"].as_str();
        if message.is_some() && message != result["message"].as_str() {
            wrong.push(format!("{id} message: {}", result["message"]));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

fn rendered(cases: &str) -> Vec<Value> {
    let folder = Folder::new();
    let input = folder.file("cases.jsonl", cases);
    let mut command = folder.command(&["template", "render", "--jsonl"]);
    command.stdin(fs::File::open(input).unwrap());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

#[test]
fn the_command_reads_fragments_and_lists_parameters() {
    let folder = Folder::new();
    folder.file("includes/where.incl", "NODE part\nSQL >\n    %\n    SELECT {{ Int32(a, 1) }} AS a\n");
    folder.file(
        "endpoints/p.pipe",
        "INCLUDE \"../includes/where.incl\"\n\nNODE out\nSQL >\n    SELECT * FROM part\n\nTYPE endpoint\n",
    );
    let shown = folder.ok(&["template", "render", "endpoints/p.pipe", "part", "--param", "a=3"]);
    assert_eq!(shown.trim(), "SELECT toInt32('3') AS a");
    let listed = folder.ok(&["pipe", "params", "p"]);
    assert_eq!(listed, "a  Int32  default 1\n    in p.part\n");
    let listed: Value = serde_json::from_str(&folder.ok(&["pipe", "params", "p", "--json"])).unwrap();
    assert_eq!((&listed[0]["name"], &listed[0]["required"]), (&json!("a"), &json!(false)));
    assert!(Path::new(folder.path()).is_dir());
}
