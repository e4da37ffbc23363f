//! Secrets in connection and datasource files: the same language with one function and no quoting.
//!
//! In: the text of a setting and the secrets' values. Out: the text with the values in it. It is for settings of
//! connections, never for SQL.

use super::{
    TemplateError,
    ast::{Const, Expr, Kind, Node},
    error::problem,
    tree,
};
use indexmap::IndexMap;

/// Renders `{{ tb_secret('name', 'default') }}` in a datafile's setting. An empty value prints `""`, or is
/// refused with `refuse_empty`.
pub fn render_secrets(
    text: &str,
    secrets: &IndexMap<String, String>,
    refuse_empty: bool,
) -> Result<String, TemplateError> {
    let tree = tree::build(text)?;
    if let Some(defect) = tree.defect {
        return Err(defect);
    }
    let mut out = String::new();
    for node in &tree.nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Print(exprs, _) => {
                for expr in exprs {
                    let value = value(expr, secrets)?;
                    if !value.is_empty() {
                        out.push_str(&value);
                    } else if refuse_empty {
                        return Err(problem("secret", expr.span, "this secret is empty"));
                    } else {
                        out.push_str("\"\"");
                    }
                }
            }
            _ => {
                let message = "only `{{ tb_secret('name') }}` can stand in a setting";
                return Err(problem("secret_render", crate::diagnostic::Span::default(), message));
            }
        }
    }
    Ok(out)
}

fn value(expr: &Expr, secrets: &IndexMap<String, String>) -> Result<String, TemplateError> {
    let unknown = || problem("secret_render", expr.span, "only `tb_secret('name', 'default')` can stand in a setting");
    match &expr.kind {
        Kind::Call(call) if call.function.as_name().is_some_and(|it| &**it == "tb_secret") => {
            let argument = |at: usize, word: &str| {
                let named = call.keywords.iter().find(|it| it.name.as_deref() == Some(word)).map(|it| &it.value);
                call.args.get(at).or(named)
            };
            let name = match argument(0, "name").map(|it| &it.kind) {
                Some(Kind::Const(Const::Str(name))) => name.clone(),
                _ => return Err(unknown()),
            };
            if let Some(value) = secrets.get(&*name) {
                return Ok(value.clone());
            }
            match argument(1, "default").map(|it| &it.kind) {
                None | Some(Kind::Const(Const::None)) => {
                    Err(problem("secret", expr.span, format!("there is no secret `{name}` and it has no default")))
                }
                Some(Kind::Const(Const::Str(it))) => Ok(it.to_string()),
                Some(Kind::Const(Const::Int(it))) => Ok(it.to_string()),
                Some(Kind::Const(Const::Bool(it))) => Ok(if *it { "True" } else { "False" }.to_owned()),
                Some(Kind::Const(Const::Float(it))) => Ok(super::text::float(*it)),
                Some(_) => Err(unknown()),
            }
        }
        Kind::Call(_) => Err(problem("forbidden", expr.span, "only `tb_secret` can be called in a setting")),
        _ => super::constant_expression(expr).ok_or_else(unknown),
    }
}
