//! Templates: every public vector of the reference behaviour, and the few places where ours differs on purpose.

use birdhouse::template::{ParamDecl, Params, RenderOptions, Template, TemplateError, render_secrets, template_of};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, fs};

/// Cases where ours differs on purpose, with the reason. Each must differ, or it leaves this table.
pub(crate) const DIFFERENCES: &[(&str, &str)] = &[
    ("expr_allowed.066", "a string in a printed list stays in single quotes: in double quotes it is an identifier"),
    ("fn_identifiers.015", "a table name that is not plain is quoted"),
    ("fn_identifiers.019", "a table name that is not plain is quoted"),
    ("fn_identifiers.031", "a table name that is not plain is quoted"),
    ("fn_identifiers.035", "a table name that is not plain is quoted"),
    ("fn_identifiers.067", "a table name that is not plain is quoted"),
    ("fn_identifiers.071", "a table name that is not plain is quoted"),
    ("fn_identifiers.109", "an alias that is not plain is quoted"),
    ("fn_settings.011", "a value in a comment is kept to its line"),
    ("fn_settings.043", "disable() takes a whole name, not any part of one"),
    ("fn_settings.044", "disable() takes a whole name, not any part of one"),
    ("fn_secrets.018", "the name of a secret is letters, digits and underscores"),
    ("names_reserved.094", "the list of secrets is not a parameter"),
    ("names_reserved.158", "a parameter cannot stand in for a function that is called"),
    ("names_reserved.159", "a parameter cannot stand in for the printer"),
    ("test_mode.110", "a placeholder named x is like any other"),
    ("metadata.125", "`**` is left out of the documentation, which stays readable"),
];

#[test]
fn vectors_of_templates() {
    let text = fs::read_to_string(super::vectors::folder().join("templates/public.jsonl")).unwrap();
    let mut tiers: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    let mut failures = Vec::new();
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let id = case["id"].as_str().unwrap();
        let wrong = compare(&case);
        let expected_difference = DIFFERENCES.iter().any(|(it, _)| *it == id);
        if expected_difference && wrong.is_none() {
            failures.push((0, format!("{id}: no longer differs; take it out of the table")));
        }
        let tier = case["tier"].as_u64().unwrap();
        let counts = tiers.entry(tier).or_default();
        counts.1 += 1;
        if wrong.is_none() || expected_difference {
            counts.0 += 1;
        }
        if let (Some(wrong), false) = (wrong, expected_difference) {
            failures.push((tier, format!("{id}: {}\n    {wrong}", case["template"])));
        }
    }
    let shown: Vec<&str> = failures.iter().map(|(_, it)| it.as_str()).take(200).collect();
    println!("template vectors: {tiers:?} agree of all, {} differ on purpose", DIFFERENCES.len());
    let must_agree = failures.iter().filter(|(tier, _)| *tier < 3).count();
    assert_eq!(must_agree, 0, "{}", shown.join("\n"));
    let (good, all) = tiers[&3];
    assert!(good * 100 >= all * 95, "tier 3: {good} of {all}\n{}", shown.join("\n"));
}

/// What is wrong with a case, if anything.
fn compare(case: &Value) -> Option<String> {
    let text = case["template"].as_str().unwrap();
    let mut wrong = Vec::new();
    let mut check = |what: &str, want: &Value, got: Value| {
        if *want != got {
            wrong.push(format!("{what}: want {want} got {got}"));
        }
    };
    if case["entry"] == "datafile_secrets" {
        let secrets = case["options"]["secret_values"].as_object().unwrap();
        let secrets = secrets.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect();
        match render_secrets(text, &secrets, case["options"]["empty_secret_raises"] == true) {
            Ok(sql) => check("sql", case.get("sql").unwrap_or(&Value::Null), json!(sql)),
            Err(error) => check("error", case.get("error_category").unwrap_or(&Value::Null), json!(error.category)),
        }
        return (!wrong.is_empty()).then(|| wrong.join("; "));
    }
    let mut template = text;
    if case["entry"] == "node" {
        let found = template_of(text);
        check("is_template", &case["is_template"], json!(found.is_some()));
        match found {
            Some((inside, _)) => template = inside,
            None => {
                check("sql", &case["sql"], json!(text.trim()));
                return (!wrong.is_empty()).then(|| wrong.join("; "));
            }
        }
    }
    let read = Template::read(template);
    if case.get("ok").is_some() {
        match read.clone().and_then(|it| it.render(&params(case), &options(case))) {
            Ok(rendered) => {
                check("ok", &case["ok"], json!(true));
                check("sql", case.get("sql").unwrap_or(&Value::Null), json!(rendered.sql));
                let settings: Map<String, Value> = rendered.settings.into_iter().collect();
                check("settings", case.get("settings").unwrap_or(&json!({})), Value::Object(settings));
                check("secrets_used", case.get("secrets_used").unwrap_or(&json!([])), json!(rendered.secrets));
                let warnings: Vec<&str> = read.iter().flat_map(|it| it.variable_warnings()).map(|(it, _)| it).collect();
                check("warnings", case.get("variable_warnings").unwrap_or(&json!([])), json!(warnings));
            }
            Err(error) => {
                check("error", case.get("error_category").unwrap_or(&Value::Null), json!(error.category));
                check("status", case.get("http_status").unwrap_or(&json!(400)), json!(error.status));
                if let Some(body) = case.get("body") {
                    check("body", body, error.body.clone().unwrap_or_default());
                }
                if let Some(message) = case["message"].as_str() {
                    check("message", &json!(message), json!(error.message));
                }
            }
        }
    }
    if let Some(want) = case.get("metadata") {
        let got = match &read {
            Ok(template) => documented(template),
            Err(error) => refused(error),
        };
        check("metadata", want, got);
    }
    if let Some(want) = case.get("used_tables") {
        let got = match &read {
            Ok(template) => json!({"ok": true, "tables": template.tables()}),
            Err(error) => refused(error),
        };
        check("used_tables", want, got);
    }
    if let Some(want) = case.get("name_error") {
        let unusable = read.as_ref().is_ok_and(|it| it.unusable_name().is_some());
        check("name_error", want, json!(unusable));
    }
    (!wrong.is_empty()).then(|| wrong.join("; "))
}

fn refused(error: &TemplateError) -> Value {
    json!({"ok": false, "error_category": error.category})
}

fn params(case: &Value) -> Params {
    case["params"].as_object().cloned().unwrap_or_default().into_iter().collect()
}

fn options(case: &Value) -> RenderOptions {
    let options = &case["options"];
    let secrets = options["secrets"].as_array().into_iter().flatten();
    RenderOptions {
        test_mode: options["test_mode"] == true,
        secrets: secrets.map(|it| it.as_str().unwrap().to_owned()).collect(),
        secrets_in_test_mode: options["secrets_in_test_mode"] != false,
        ..RenderOptions::default()
    }
}

fn documented(template: &Template) -> Value {
    match template.params() {
        params if template.has_listed_name() => {
            let _ = params;
            json!({"ok": false, "error_category": "reserved_name"})
        }
        params => json!({"ok": true, "params": params.iter().map(wire).collect::<Vec<_>>()}),
    }
}

fn wire(decl: &ParamDecl) -> Value {
    let mut object: Map<String, Value> = decl.keywords.clone().into_iter().collect();
    object.insert("name".to_owned(), decl.literal_name.clone().unwrap_or_else(|| json!(decl.name)));
    object.insert("type".to_owned(), json!(decl.type_name));
    object.insert("default".to_owned(), decl.default.clone().unwrap_or_default());
    if let Some(used_in) = &decl.used_in {
        object.insert("used_in".to_owned(), json!(used_in));
    }
    Value::Object(object)
}
