//! A Parquet file becomes lines of JSON, which are then read like any others.
//!
//! In: a folder with a Parquet file. Out: the same folder with its rows as packed lines. The engine reads the file,
//! out of its own folder: it sees no other.

use super::{
    LoadError, space,
    unpack::{self, Packing},
    upload_path,
};
use crate::{
    engine::{Engine, EngineError},
    query::Format,
    sql::statement,
};
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

const LEVEL: i32 = 1;

/// Room is looked for after so many bytes again.
const LOOKED_FOR: u64 = 64 << 20;

/// Puts the rows in the place of the file.
pub async fn to_lines(engine: &Engine, folder: &Path, id: &str) -> Result<(), LoadError> {
    if !engine.opens_files() {
        return Err(LoadError::Unreadable(super::NO_PARQUET.to_owned()));
    }
    let own = Own(engine.settings().directory.join("data").join(format!("file-{id}.parquet")));
    let (upload, seen) = (upload_path(folder), own.0.clone());
    let placed = tokio::task::spawn_blocking(move || place(&upload, &seen)).await;
    placed.map_err(io::Error::other)??;
    let lines = folder.join("lines");
    write(engine, &own.0, &lines).await?;
    fs::rename(&lines, upload_path(folder))?;
    Ok(())
}

/// The plain file where the engine sees it.
fn place(upload: &Path, seen: &Path) -> Result<(), LoadError> {
    let mut start = [0; 4];
    let read = io::Read::read(&mut File::open(upload)?, &mut start)?;
    if &start[..read] == b"PAR1" {
        return Ok(fs::hard_link(upload, seen)?);
    }
    let mut plain = unpack::open(upload, Packing::Foreign).map_err(super::read::unreadable)?;
    let mut out = File::create(seen)?;
    io::copy(&mut plain, &mut out).map_err(super::read::unreadable)?;
    Ok(())
}

async fn write(engine: &Engine, from: &Path, to: &Path) -> Result<(), LoadError> {
    // What it says of the file names the place that is ours.
    let told = |error: EngineError| {
        let words = error.message.split(": While").next().unwrap_or_default();
        let words = words.replace(&*from.to_string_lossy(), "the file").replace("(in file/uri the file)", "");
        LoadError::Unreadable(format!("as Parquet: {words}"))
    };
    let sql = statement::rows_of_parquet(&from.to_string_lossy());
    let mut rows = engine.read(&sql, Format::JsonEachRow).await.map_err(told)?;
    let file = BufWriter::with_capacity(1 << 20, File::create(to)?);
    let mut packed = zstd::Encoder::new(file, LEVEL)?;
    let mut looked = 0;
    while let Some(chunk) = rows.next().await.transpose().map_err(told)? {
        let written = packed.get_ref().get_ref().metadata()?.len();
        if written >= looked {
            looked = written + LOOKED_FOR;
            space::check(to, LOOKED_FOR)??;
        }
        packed.write_all(&chunk)?;
    }
    packed.finish()?.flush()?;
    Ok(())
}

/// A file in the engine's folder, for a while.
struct Own(PathBuf);

impl Drop for Own {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.0);
    }
}
