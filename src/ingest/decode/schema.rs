//! A data source's columns, made ready for decoding.

use crate::project::Datasource;

#[derive(Debug)]
pub struct Schema {}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SchemaError {
    pub column: String,
    pub message: String,
}

impl Schema {
    pub fn compile(datasource: &Datasource) -> Result<Schema, SchemaError> {
        let _ = datasource;
        Ok(Schema {})
    }
}
