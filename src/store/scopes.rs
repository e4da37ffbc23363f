//! Scopes as they are kept: a list of records. A filter may hold any character, so they are not one text.

use crate::auth::{Scope, ScopeKind};
use serde_json::{Value, json};

pub(super) fn print(scopes: &[Scope]) -> String {
    let record = |it: &Scope| json!({ "kind": it.kind.name(), "resource": it.resource, "filter": it.filter });
    let scopes = scopes.iter().map(record);
    Value::Array(scopes.collect()).to_string()
}

/// A scope that cannot be read is an error, never left out: without its filter a token would see more.
pub(super) fn parse(text: &str) -> Result<Vec<Scope>, String> {
    let bad = || "the scopes of a token cannot be read".to_owned();
    let records: Vec<Value> = serde_json::from_str(text).map_err(|_| bad())?;
    let text = |record: &Value, field: &str| match record.get(field) {
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Null) => Ok(None),
        _ => Err(bad()),
    };
    let scope = |record: &Value| {
        let word = text(record, "kind")?.ok_or_else(bad)?;
        let kind = ScopeKind::parse(&word).ok_or_else(bad)?;
        Ok(Scope { kind, resource: text(record, "resource")?, filter: text(record, "filter")? })
    };
    records.iter().map(scope).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back() {
        let scopes: Vec<_> = ScopeKind::ALL
            .into_iter()
            .map(|kind| Scope { kind, resource: Some("x".to_owned()), filter: Some("a = 'b:c'".to_owned()) })
            .chain([Scope { kind: ScopeKind::Admin, resource: None, filter: None }])
            .collect();
        assert_eq!(parse(&print(&scopes)).as_ref(), Ok(&scopes));
    }

    #[test]
    fn a_scope_that_lost_a_field_is_refused() {
        assert!(parse(r#"[{"kind": "PIPES:READ", "resource": "x"}]"#).is_err());
        assert!(parse(r#"[{"kind": "PIPES:FLY", "resource": "x", "filter": null}]"#).is_err());
    }
}
