//! Unit tests of the template language.

use super::*;

fn render(text: &str, params: serde_json::Value) -> Result<String, TemplateError> {
    let params: Params = params.as_object().cloned().unwrap_or_default().into_iter().collect();
    Template::parse(text)?.render(&params, &RenderOptions::default()).map(|it| it.sql)
}

#[test]
fn plain_cases_render() {
    assert_eq!(render("SELECT {{ Int32(n, 1) }}", serde_json::json!({})).unwrap(), "SELECT toInt32('1')");
}
