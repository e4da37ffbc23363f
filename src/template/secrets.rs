//! Secrets in connection and datasource files: the same language with one function and no quoting.
//!
//! In: the text of a setting and the secrets' values. Out: the text with the values in it. It is for settings of
//! connections, never for SQL.

use super::{
    Program, TemplateError,
    error::{Class, Fault, Result},
    eval, resolve, tree,
    value::Value,
};
use indexmap::IndexMap;

/// The values of secrets, for a text that is no SQL.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawSecrets<'a> {
    values: &'a IndexMap<String, String>,
    refuse_empty: bool,
}

/// Renders `{{ tb_secret('name', 'default') }}` in a datafile's setting. An empty value prints `""`, or is
/// refused with `refuse_empty`.
pub fn render_secrets(
    text: &str,
    secrets: &IndexMap<String, String>,
    refuse_empty: bool,
) -> std::result::Result<String, TemplateError> {
    let tree = tree::build(text)?;
    // Several values in one pair of braces cannot be SQL, and here they need not be.
    if let Some(defect) = tree.defect.filter(|it| it.category != "runtime") {
        return Err(defect);
    }
    let mut nodes = tree.nodes;
    let names = resolve::resolve(&mut nodes);
    let mut lambdas = Vec::new();
    resolve::lambdas(&nodes, &mut lambdas);
    let program =
        Program { nodes, names, arrays: vec![], required: vec![], lambdas, defect: None, text_size: text.len() };
    eval::render_raw(&program, RawSecrets { values: secrets, refuse_empty }).map_err(|fault| {
        let mut error = fault.error;
        if !matches!(error.category, "secret" | "budget") {
            error.category = "secret_render";
        }
        error
    })
}

impl RawSecrets<'_> {
    /// What `tb_secret(name, default)` is in a setting.
    pub(super) fn value(&self, name: &Value, default: Option<Value>) -> Result<Value> {
        let known = name.as_str().and_then(|it| self.values.get(&**it)).map(|it| Value::str(it.as_str()));
        let value = known.or(default.filter(|it| !it.is_none())).ok_or_else(|| {
            let name = name.as_str().map_or_else(|| name.type_name().to_owned(), |it| format!("`{it}`"));
            Fault::new("secret", Class::ValueError, format!("there is no secret {name} and it has no default"))
        })?;
        match value.as_str() {
            Some(text) if text.is_empty() && self.refuse_empty => {
                Err(Fault::new("secret", Class::ValueError, "this secret is empty"))
            }
            Some(text) if text.is_empty() => Ok(Value::str("\"\"")),
            _ => Ok(value),
        }
    }
}
