//! Test files: YAML lists of three forms.
//!
//! Data-quality tests and regression rules are Classic's, expected answers of a pipe are Forward's.

use super::Dialect;
use crate::diagnostic::{Diagnostic, Source, Span};
use serde_json::{Map, Value, json};

/// A test file, read.
#[derive(Debug, Clone, PartialEq)]
pub struct TestFile {
    pub form: TestForm,
    /// The file's name without its extension: in Forward's form that is the pipe's name.
    pub name: String,
    /// The list as it stands in the file.
    pub items: Vec<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestForm {
    /// Queries that must give no rows.
    Quality,
    /// Rules by which two workspaces are compared.
    Regression,
    /// Requests of a pipe with the answers that are expected.
    Answers,
}

/// A test of [`TestForm::Quality`].
#[derive(Debug, Clone, PartialEq)]
pub struct QualityTest<'a> {
    pub name: &'a str,
    pub sql: Option<&'a str>,
    pub pipe: Option<&'a Map<String, Value>>,
    pub max_time: &'a Value,
    pub max_bytes_read: &'a Value,
}

/// What every test of [`TestForm::Answers`] needs.
const NEEDED: &[&str] = &["name", "parameters", "expected_result"];

/// Whether a path is that of a test file.
pub fn is_test_file(path: &str) -> bool {
    let Some((folder, file)) = path.rsplit_once('/') else { return false };
    folder.split('/').any(|it| it == "tests") && (file.ends_with(".yaml") || file.ends_with(".yml"))
}

/// Reads a test file.
pub fn parse_tests(source: &Source, dialect: Dialect) -> (Option<TestFile>, Vec<Diagnostic>) {
    let whole = || source.place(Span::at(0));
    let wrong = |code, message: String| (None, vec![Diagnostic::error(code, message).at(whole())]);
    let value: Value = match serde_yaml::from_str(&source.text) {
        Ok(value) => value,
        Err(error) => {
            let at = error.location().map_or(0, |it| it.index().min(source.text.len()));
            let message = format!("this is no YAML: {error}");
            return (None, vec![Diagnostic::error("test_file_syntax", message).at(source.place(Span::at(at)))]);
        }
    };
    let file = source.path.rsplit('/').next().unwrap_or(&source.path);
    let name = file.rsplit_once('.').map_or(file, |(stem, _)| stem).to_owned();
    let items = match value {
        Value::Array(items) => items,
        Value::Null => Vec::new(),
        _ => return wrong("test_file_shape", "a test file is a list: each test begins with `-`".to_owned()),
    };
    let form = form(&name, &items, dialect);
    let tests = TestFile { form, name, items };
    let mut diagnostics = Vec::new();
    match form {
        TestForm::Quality => {
            let shaped =
                |it: &Value| it.as_object().is_some_and(|it| it.values().all(|it| it.is_object() || it.is_null()));
            if !tests.items.iter().all(shaped) {
                let message = "a data-quality test is a name with sql, max_time, max_bytes_read or pipe below it";
                return wrong("test_file_shape", message.to_owned());
            }
        }
        TestForm::Regression => {
            if !tests.items.iter().all(|it| it.get("pipe").is_some_and(Value::is_string)) {
                return wrong("test_file_shape", "a regression rule has a `pipe` and `tests`".to_owned());
            }
        }
        TestForm::Answers => {
            for (index, item) in tests.items.iter().enumerate() {
                let missing: Vec<&str> = NEEDED.iter().copied().filter(|it| item.get(it).is_none()).collect();
                if !missing.is_empty() && dialect == Dialect::Auto {
                    let message = format!("test {} of this file lacks {}", index + 1, missing.join(", "));
                    diagnostics.push(Diagnostic::error("test_case_incomplete", message).at(whole()));
                }
            }
        }
    }
    (Some(tests), diagnostics)
}

fn form(name: &str, items: &[Value], dialect: Dialect) -> TestForm {
    let regression = name.ends_with("regression");
    let quality = |it: &Value| it.as_object().is_some_and(|it| it.values().all(|it| it.is_object() || it.is_null()));
    match dialect {
        Dialect::Forward => TestForm::Answers,
        _ if regression => TestForm::Regression,
        Dialect::Classic => TestForm::Quality,
        Dialect::Auto if !items.is_empty() && items.iter().all(quality) => TestForm::Quality,
        Dialect::Auto => TestForm::Answers,
    }
}

impl TestFile {
    /// The tests of a file of [`TestForm::Quality`]; an entry with several names is several tests.
    pub fn quality(&self) -> impl Iterator<Item = QualityTest<'_>> {
        let entries = self.items.iter().filter_map(Value::as_object).flatten();
        entries.filter(|_| self.form == TestForm::Quality).map(|(name, body)| QualityTest {
            name,
            sql: body.get("sql").and_then(Value::as_str),
            pipe: body.get("pipe").and_then(Value::as_object),
            max_time: body.get("max_time").unwrap_or(&Value::Null),
            max_bytes_read: body.get("max_bytes_read").unwrap_or(&Value::Null),
        })
    }

    /// What the file says, in the shape that tools read.
    pub fn facts(&self) -> Value {
        match self.form {
            TestForm::Quality => {
                let case = |it: QualityTest<'_>| {
                    json!({
                        "name": it.name,
                        "sql": it.sql,
                        "max_time": it.max_time,
                        "max_bytes_read": it.max_bytes_read,
                        "pipe": it.pipe,
                        "runnable": it.sql.is_some() || it.pipe.is_some(),
                    })
                };
                json!({"kind": "quality", "cases": self.quality().map(case).collect::<Vec<_>>()})
            }
            TestForm::Regression => json!({"kind": "regression", "is_list": true, "rules": self.items}),
            TestForm::Answers => {
                let complete = self.items.iter().all(|item| NEEDED.iter().all(|it| item.get(it).is_some()));
                // Only what stands after a question mark counts, where there is one.
                let query = |it: &Value| {
                    let text = it.get("parameters").and_then(Value::as_str).unwrap_or_default();
                    text.split_once('?').map_or(text, |(_, query)| query).to_owned()
                };
                let queries = complete.then(|| self.items.iter().map(query).collect::<Vec<_>>());
                json!({"cases": self.items, "has_required_keys": complete, "query_strings": queries})
            }
        }
    }
}
