//! The cluster that a server is one of.
//!
//! In: its name. Out: how many shards it has, which is kept: tables are laid out for that number, and no other.

use super::{ask, request::Connection};
use crate::{
    engine::{EngineCluster, EngineError, EngineErrorKind, EngineSettings, FoundCluster},
    sql::statement,
};
use std::{fs, io, num::NonZero};

pub(super) async fn find(
    connection: &Connection,
    cluster: &EngineCluster,
    settings: &EngineSettings,
) -> Result<FoundCluster, EngineError> {
    let shards = shards(connection, &cluster.name).await?;
    let path = settings.directory.join("cluster");
    let failed = |error: io::Error| EngineError::own(EngineErrorKind::Internal, format!("{}: {error}", path.display()));
    let found = format!("{} {shards}", cluster.name);
    fs::create_dir_all(&settings.directory).map_err(failed)?;
    match fs::read_to_string(&path) {
        Ok(kept) if kept.trim() == found => (),
        Ok(kept) => {
            let (name, number) = kept.trim().rsplit_once(' ').unwrap_or_default();
            return Err(EngineError::own(
                EngineErrorKind::Query,
                format!(
                    "the tables lie on the cluster `{name}` of {number} shards, and this is `{}` of {shards}: rows are not \
                     moved to other shards. Use the old cluster, or another data directory and the rows from their source",
                    cluster.name
                ),
            ));
        }
        Err(_) => fs::write(&path, &found).map_err(failed)?,
    }
    Ok(FoundCluster { name: cluster.name.clone(), shards, shard_by: cluster.shard_by.clone() })
}

/// How many shards a cluster has; an error where the server knows no such cluster.
pub(super) async fn shards(connection: &Connection, name: &str) -> Result<NonZero<u64>, EngineError> {
    #[derive(serde::Deserialize)]
    struct Row {
        cluster: String,
        shards: String,
    }
    let answer = ask(connection, &statement::clusters()).await?;
    let rows: Result<Vec<Row>, _> =
        answer.split(|it| *it == b'\n').filter(|it| !it.is_empty()).map(serde_json::from_slice).collect();
    let rows = rows.map_err(|error| EngineError::own(EngineErrorKind::Internal, error.to_string()))?;
    let found = rows.iter().find(|it| it.cluster == name).and_then(|it| it.shards.parse().ok());
    found.ok_or_else(|| {
        let known: Vec<_> = rows.iter().map(|it| format!("`{}`", it.cluster)).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let message = format!("the server knows no cluster `{name}` in its remote_servers; it knows {known}");
        EngineError::own(EngineErrorKind::Query, message)
    })
}
