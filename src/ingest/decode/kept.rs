//! How a data source's rows are read, as a text that is kept with what is half in: after a push and a restart the
//! same bytes are the same rows again.
//!
//! In: a [`Datasource`]. Out: JSON, and the [`Schema`] that it once was. Where the text is kept is not known here.

use super::{Schema, schema::OfMessages};
use crate::{
    diagnostic::{Source, Span},
    name::ColumnName,
    project::{Column, ColumnDefault, JsonPath, KafkaMeta, KafkaSource, ValueFormat},
    sql::{ColumnType, UserSql},
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Kept {
    columns: Vec<KeptColumn>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kafka: Option<KeptKafka>,
}

#[derive(Serialize, Deserialize)]
struct KeptColumn {
    name: String,
    #[serde(rename = "type")]
    column_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    is_materialized: bool,
    /// It holds what its name says of a message.
    #[serde(default, skip_serializing_if = "is_false")]
    is_meta: bool,
}

#[derive(Serialize, Deserialize)]
struct KeptKafka {
    raw_value: bool,
    headers: bool,
    key: Format,
    value: Format,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Format {
    Json,
    JsonWithSchema,
    Avro,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(it: &bool) -> bool {
    !it
}

pub(super) fn write(columns: &[Column], kafka: Option<&KafkaSource>) -> String {
    let columns = columns.iter().map(|it| {
        let (default, is_materialized) = match &it.default {
            None => (None, false),
            Some(ColumnDefault::Default(text)) => (Some(text), false),
            Some(ColumnDefault::Materialized(text)) => (Some(text), true),
        };
        KeptColumn {
            name: it.name.to_string(),
            column_type: it.column_type.to_string(),
            path: it.jsonpath.as_ref().map(|it| it.text.clone()),
            default: default.map(|it| it.text().to_owned()),
            is_materialized,
            is_meta: it.kafka_meta.is_some(),
        }
    });
    let kafka = kafka.map(|it| KeptKafka {
        raw_value: it.store_raw_value,
        headers: it.store_headers,
        key: it.key_format.into(),
        value: it.value_format.into(),
    });
    serde_json::to_string(&Kept { columns: columns.collect(), kafka }).expect("texts are JSON")
}

impl Schema {
    /// What [`Schema::text`] was of. The error says what is wrong with the text.
    pub fn read(text: &str) -> Result<Schema, String> {
        let Kept { columns, kafka } = serde_json::from_str(text).map_err(|it| it.to_string())?;
        let columns = columns.into_iter().map(column).collect::<Result<Vec<_>, _>>()?;
        let of_messages = kafka.map(|it| OfMessages {
            store_raw_value: it.raw_value,
            store_headers: it.headers,
            formats: (it.key.into(), it.value.into()),
        });
        Schema::of(&columns, of_messages, text.to_owned()).map_err(|it| it.to_string())
    }
}

fn column(it: KeptColumn) -> Result<Column, String> {
    let name = ColumnName::new(&it.name).map_err(|error| error.to_string())?;
    let default = it.default.map(|text| UserSql::expression(&text, Span::at(0))).transpose();
    let default = default.map_err(|error| format!("the default of `{name}`: {error}"))?;
    Ok(Column {
        column_type: ColumnType::parse(&it.column_type).map_err(|error| error.to_string())?,
        default: default.map(if it.is_materialized { ColumnDefault::Materialized } else { ColumnDefault::Default }),
        codec: None,
        jsonpath: it.path.map(|it| JsonPath::parse(&it)).transpose().map_err(|(_, message)| message)?,
        kafka_meta: it.is_meta.then(|| KafkaMeta::of(name.as_str())).flatten(),
        place: Source::new("", "").place(Span::at(0)),
        name,
    })
}

impl From<ValueFormat> for Format {
    fn from(it: ValueFormat) -> Format {
        match it {
            ValueFormat::Json => Format::Json,
            ValueFormat::JsonWithSchema => Format::JsonWithSchema,
            ValueFormat::Avro => Format::Avro,
        }
    }
}

impl From<Format> for ValueFormat {
    fn from(it: Format) -> ValueFormat {
        match it {
            Format::Json => ValueFormat::Json,
            Format::JsonWithSchema => ValueFormat::JsonWithSchema,
            Format::Avro => ValueFormat::Avro,
        }
    }
}
