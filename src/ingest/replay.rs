//! Refused rows that are tried once more, in batches whose tokens make each of them count once.
//!
//! In: rows as the engine gives them. Out: [`Rows`] for a flush. Where they wait, and who asked, is not known here.

use super::{
    batch::Rows,
    decode::{Decoded, Decoder, Refused, Rejected, Schema},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use std::sync::Arc;

#[derive(Debug)]
pub struct Batch {
    schema: Arc<Schema>,
    rows: Vec<Refused>,
    token: String,
}

/// A row as [`refused_rows`](crate::ddl::refused_rows) names its parts.
#[derive(Deserialize)]
struct Wire {
    /// In base64: what was refused need not be text.
    raw: String,
    source: String,
    values: Vec<Option<String>>,
}

impl Batch {
    /// Rows of JSON, one a line. The error says what is wrong with them.
    pub fn read(schema: &Arc<Schema>, lines: &[u8], token: String) -> Result<Batch, String> {
        let rows = serde_json::Deserializer::from_slice(lines).into_iter::<Wire>().map(|row| {
            let Wire { raw, source, values } = row.map_err(|it| it.to_string())?;
            let raw = BASE64_STANDARD.decode(raw).map_err(|it| it.to_string())?;
            Ok(Refused { raw, source, values })
        });
        Ok(Batch { schema: schema.clone(), rows: rows.collect::<Result<_, String>>()?, token })
    }

    /// What all of them become.
    pub fn decode_all(&self) -> Decoded {
        self.decoded(self.rows.iter())
    }

    fn decoded<'a>(&self, rows: impl Iterator<Item = &'a Refused>) -> Decoded {
        let mut decoder = Decoder::new(self.schema.clone());
        rows.for_each(|row| decoder.again(row));
        decoder.finish()
    }
}

impl Rows for Batch {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn decode(&self, rows: &[u32]) -> Decoded {
        self.decoded(rows.iter().map(|it| &self.rows[*it as usize]))
    }

    fn refuse(&self, index: usize, message: &str) -> Rejected {
        self.rows[index].refuse(message)
    }

    fn token(&self) -> String {
        self.token.clone()
    }
}
