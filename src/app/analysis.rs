//! What a file would be as a data source of a workspace. Nothing is kept.

use super::{AppError, FetchRules, Workspace, words};
use crate::{
    ingest::{
        files::{self, LoadError},
        sample::{self, SampleColumn, SampleFormat},
    },
    sql::statement,
};
use bytes::Bytes;
use std::time::Duration;

/// What a file looks like.
#[derive(Debug, Clone)]
pub struct Analysis {
    pub format: SampleFormat,
    pub columns: Vec<AnalysedColumn>,
    /// The columns as one text of a SCHEMA.
    pub schema: String,
    /// The first rows, as objects; none of what is no text.
    pub rows: Vec<serde_json::Value>,
}

#[derive(Debug, Clone)]
pub struct AnalysedColumn {
    pub column: SampleColumn,
    /// The part of the first rows that have a value.
    pub present: f64,
}

/// How long a URL may take to give a file that is only looked at: whoever asks waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

impl Workspace {
    /// Looks at the first rows of a file.
    pub async fn analyse(&self, file: Bytes) -> Result<Analysis, AppError> {
        self.shared.running()?;
        let (engine, format) = (&self.shared.engine, SampleFormat::of(&file));
        let (columns, present, rows) = if format == SampleFormat::Parquet {
            (self.parquet_columns(&file).await?, vec![], vec![])
        } else {
            let text = sample::first_lines(&file);
            let columns = sample::columns(engine, &statement::describe_text(&text, format.name())).await?;
            let (present, rows) = match columns.is_empty() {
                true => Default::default(),
                false => sample::look(engine, &text, format, &columns).await?,
            };
            (columns, present, rows)
        };
        if columns.is_empty() {
            return Err(AppError::Invalid("the file holds no rows to tell columns from".to_owned()));
        }
        let lines: Vec<_> = columns.iter().map(|it| sample::definition(it, !format.is_csv())).collect();
        let present = present.into_iter().chain(std::iter::repeat(1.0));
        let columns = columns.into_iter().zip(present).map(|(column, present)| AnalysedColumn { column, present });
        Ok(Analysis { format, schema: lines.join(", "), columns: columns.collect(), rows })
    }

    /// Looks at the first rows of what a URL gives.
    pub async fn analyse_url(&self, url: &str, most: u64) -> Result<Analysis, AppError> {
        let rules = FetchRules { max_bytes: most, ..self.shared.settings.fetch.clone() };
        let incoming = self.receive()?;
        let (url, path, stop) = (files::url(url, &rules)?, incoming.path(), self.files.stopping());
        let fetched = tokio::time::timeout(PATIENCE, files::fetch(url, &path, &rules, &stop)).await;
        fetched.map_err(|_| LoadError::Unreachable(format!("it takes longer than {} s", PATIENCE.as_secs())))??;
        let file = tokio::fs::read(incoming.path()).await.map_err(LoadError::Disk)?;
        self.analyse(file.into()).await
    }

    /// The engine reads such a file from its own folder alone.
    async fn parquet_columns(&self, file: &Bytes) -> Result<Vec<SampleColumn>, AppError> {
        let engine = &self.shared.engine;
        if !engine.opens_files() {
            return Err(AppError::Invalid(crate::ingest::files::NO_PARQUET.to_owned()));
        }
        let name = format!("sample-{}.parquet", words::random_id());
        let path = engine.settings().directory.join("data").join(name);
        let unwritten = |error: std::io::Error| AppError::Invalid(format!("the file could not be looked at: {error}"));
        tokio::fs::write(&path, file).await.map_err(unwritten)?;
        let describe = statement::describe_file(&path.to_string_lossy(), SampleFormat::Parquet.name());
        let columns = sample::columns(engine, &describe).await;
        if let Err(error) = tokio::fs::remove_file(&path).await {
            self.shared.warn(format!("a file that is not needed any more could not be removed: {error}"));
        }
        Ok(columns?)
    }
}
