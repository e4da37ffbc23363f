//! Why rows are in a data source's quarantine, and what would let them in.

use super::{AppError, Workspace, verify};
use crate::{ddl, name::ResourceName, project::Column};
use serde::{Deserialize, Serialize};

/// Rows that were refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Empty where the whole row is wrong.
    pub column: String,
    pub reason: String,
    pub rows: u64,
    pub first: String,
    pub last: String,
    /// The shortest row, or its begin.
    pub example: String,
    /// Where that came from: topic, partition and offset; file and line; request and line.
    pub source: String,
    /// A type that would take every value that was looked at.
    #[serde(default)]
    pub suggestion: Option<String>,
}

#[derive(Deserialize)]
struct Values {
    /// Each in an array of its own: nulls among others are left out of a collection.
    values: Vec<[Option<String>; 1]>,
}

impl Workspace {
    /// The most frequent reasons first.
    pub async fn quarantine_reasons(&self, datasource: &ResourceName) -> Result<Vec<Reason>, AppError> {
        self.shared.running()?;
        let project = self.project();
        let datasource = project
            .datasource(datasource.as_str())
            .ok_or_else(|| AppError::NotFound { kind: "data source", name: datasource.to_string() })?;
        let quarantine = self.namespace.table(&datasource.name.quarantine());
        let bytes = self.shared.engine.command(&ddl::reasons(&quarantine)).await?;
        let mut reasons = verify::rows::<Reason>(&bytes)?;
        for reason in &mut reasons {
            let Some(column) = datasource.columns.iter().find(|it| it.name.as_str() == reason.column) else { continue };
            let bytes = self.shared.engine.command(&ddl::refused_values(&quarantine, &column.name)).await?;
            let found = verify::rows::<Values>(&bytes)?;
            let values: Vec<_> = found.into_iter().flat_map(|it| it.values).map(|[it]| it).collect();
            reason.suggestion = suggest(column, &values);
        }
        Ok(reasons)
    }
}

/// The narrowest type that takes the values, if the column's is not it.
fn suggest(column: &Column, values: &[Option<String>]) -> Option<String> {
    let present: Vec<&str> = values.iter().flatten().map(String::as_str).collect();
    let nullable = column.column_type.is_nullable() || present.len() < values.len();
    let own = column.column_type.inner().to_string();
    let all = |fits: &dyn Fn(&str) -> bool| present.iter().all(|it| fits(it));
    let holds = |name: &str| match name {
        "Int8" => all(&|it| it.parse::<i8>().is_ok()),
        "Int16" => all(&|it| it.parse::<i16>().is_ok()),
        "Int32" => all(&|it| it.parse::<i32>().is_ok()),
        "Int64" => all(&|it| it.parse::<i64>().is_ok()),
        "UInt64" => all(&|it| it.parse::<u64>().is_ok()),
        "Float64" => all(&|it| it.parse::<f64>().is_ok_and(f64::is_finite)),
        _ => true,
    };
    let inner = match present.is_empty() {
        // Nothing but nulls: the type itself is right.
        true => own,
        false => ["Int8", "Int16", "Int32", "Int64", "UInt64", "Float64", "String"]
            .into_iter()
            .find(|it| holds(it))?
            .to_owned(),
    };
    let suggestion = if nullable { format!("Nullable({inner})") } else { inner };
    (suggestion != column.column_type.to_string()).then_some(suggestion)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnostic::{Source, Span},
        name::ColumnName,
        sql::ColumnType,
    };

    #[test]
    fn the_narrowest_type_that_takes_all_is_suggested() {
        let suggestion = |column_type: &str, values: &[Option<&str>]| {
            let column = Column {
                name: ColumnName::new("c").unwrap(),
                column_type: ColumnType::parse(column_type).unwrap(),
                default: None,
                codec: None,
                jsonpath: None,
                kafka_meta: None,
                place: Source::new("t.datasource", "").place(Span::at(0)),
            };
            suggest(&column, &values.iter().map(|it| it.map(str::to_owned)).collect::<Vec<_>>())
        };
        assert_eq!(suggestion("Int8", &[Some("300"), Some("-4")]).as_deref(), Some("Int16"));
        assert_eq!(suggestion("Int8", &[Some("18446744073709551615")]).as_deref(), Some("UInt64"));
        assert_eq!(suggestion("Int8", &[None]).as_deref(), Some("Nullable(Int8)"));
        assert_eq!(suggestion("Int8", &[None, Some("1.5")]).as_deref(), Some("Nullable(Float64)"));
        assert_eq!(suggestion("DateTime", &[Some("yesterday")]).as_deref(), Some("String"));
        assert_eq!(suggestion("String", &[Some("x")]), None);
    }
}
