//! Scopes of tokens as they stand on the wire: `TYPE:resource:filter` in, objects out.

use crate::{
    auth::{self, Scope},
    server::error::Fault,
};
use serde::Serialize;
use serde_json::Value;

/// Global scopes are their type alone; a filter that is not there is an empty string.
#[derive(Serialize)]
pub(super) struct ScopeWire {
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<String>,
}

pub(super) fn wire(scopes: &[Scope]) -> Vec<ScopeWire> {
    let wire = |scope: &Scope| ScopeWire {
        kind: scope.kind.name().to_owned(),
        resource: scope.resource.clone(),
        filter: scope.resource.as_ref().map(|_| scope.filter.clone().unwrap_or_default()),
    };
    scopes.iter().map(wire).collect()
}

/// A scope as a string or as an object with `type`, `resource`, `filter`.
pub(super) fn read(value: &Value) -> Result<Scope, Fault> {
    let bad = |message: String| Fault::Bad { field: "scope", message };
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let text = |name: &str| fields.get(name).and_then(Value::as_str).filter(|it| !it.is_empty());
            let kind = text("type").ok_or_else(|| bad("a scope has a `type`".to_owned()))?;
            [Some(kind), text("resource"), text("filter")].into_iter().flatten().collect::<Vec<_>>().join(":")
        }
        other => return Err(bad(format!("a scope is a string or an object, not `{other}`"))),
    };
    let scope = Scope::parse(&text).map_err(|error| bad(error.to_string()))?;
    // A filter that cannot be read opens nothing, and whoever uses the token would not hear why.
    if let Some(filter) = &scope.filter {
        auth::check_filter(filter).map_err(|error| bad(format!("the filter `{filter}`: {error}")))?;
    }
    Ok(scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_is_refused() {
        assert!(read(&"DATASOURCES:READ:x:a = 1".into()).is_ok());
        for filter in ["a = 1)) or ((1 = 1", "select 1; select 2", "sleep(3)"] {
            let error = read(&format!("DATASOURCES:READ:x:{filter}").into()).err();
            assert!(matches!(error, Some(Fault::Bad { field: "scope", .. })), "{filter}: {error:?}");
        }
    }
}
