//! Bytes become rows: decoded, batched, inserted once, and what is malformed kept with its reason.
//!
//! In: Kafka messages, files, bodies. Out: inserts into a data source's table and its quarantine, then an
//! acknowledgement. HTTP is not known here.

pub mod batch;
pub mod claims;
pub mod decode;
pub mod events;
pub mod failpoint;
pub mod files;
pub mod kafka;
pub mod quarantine;
pub mod replay;
pub mod sample;
pub mod service;
pub mod suggest;

use crate::{name::Physical, project::Datasource};
use std::sync::Arc;

/// A data source and where its rows go.
#[derive(Debug, Clone)]
pub struct Target {
    pub datasource: Arc<Datasource>,
    pub table: Physical,
    pub quarantine: Physical,
}
