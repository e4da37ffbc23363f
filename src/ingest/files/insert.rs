//! Chunks of a spool go in, each once, under tokens made of the file's id and the chunk's number.
//!
//! In: a folder with a spool, an [`Intent`]. Out: rows, and the intent further on.

use super::{
    Intent, LoadError, Upload, read,
    spool::{self, Chunk},
    unpack, upload_path,
};
use crate::{
    ingest::{
        batch::{Aborted, Cuts, Ledger, Rows, Writer},
        decode::{Decoded, Decoder, Problem, Rejected, Schema},
        failpoint,
    },
    project::Datasource,
    store::Store,
};
use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// A file whose rows are on the disk and on their way in.
#[derive(Debug)]
pub struct Loading {
    store: Arc<Store>,
    workspace: String,
    folder: PathBuf,
    intent: Intent,
    /// What its rows were read by, as long as the process lasts: a deploy may change it before they are all in.
    schema: Option<Arc<Schema>>,
}

/// Why a file is not in. What is left of it waits for the next start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// The server stops.
    Aborted,
    /// Its spool cannot be read.
    Broken(String),
}

/// How often trouble is told.
const LOOK: Duration = Duration::from_millis(100);

impl Loading {
    /// Keeps the intent: from here on the rows go in, whatever happens.
    pub async fn begin(
        store: Arc<Store>,
        workspace: String,
        folder: PathBuf,
        intent: Intent,
        schema: Arc<Schema>,
    ) -> Result<Loading, String> {
        let loading = Loading { store, workspace, folder, intent, schema: Some(schema) };
        failpoint::reach("file-spooled");
        loading.keep().await?;
        failpoint::reach("file-intent");
        Ok(loading)
    }

    /// One that an earlier process has begun.
    pub fn resume(store: Arc<Store>, workspace: String, folder: PathBuf, intent: Intent) -> Loading {
        Loading { store, workspace, folder, intent, schema: None }
    }

    /// What its rows were read by, whatever was pushed since.
    pub fn schema(&mut self, datasource: &Datasource) -> Result<Arc<Schema>, Stopped> {
        if let Some(schema) = &self.schema {
            return Ok(schema.clone());
        }
        let schema = Arc::new(
            Schema::as_then(&self.intent.reading, datasource).map_err(|error| Stopped::Broken(error.to_string()))?,
        );
        self.schema = Some(schema.clone());
        Ok(schema)
    }

    pub fn intent(&self) -> &Intent {
        &self.intent
    }

    /// Inserts the next chunk; false says that there is none. `tell` hears of what is in the way, and when it no
    /// longer is.
    pub async fn insert(
        &mut self,
        writer: &Writer,
        schema: &Arc<Schema>,
        stop: &CancellationToken,
        tell: &(dyn Fn(Option<String>) + Sync),
    ) -> Result<bool, Stopped> {
        let (folder, at, columns) = (self.folder.clone(), self.intent.at, schema.clone());
        let chunk = tokio::task::spawn_blocking(move || spool::chunk(&folder, at, &columns)).await;
        let chunk = chunk.map_err(io::Error::other).and_then(|it| it);
        let Some(chunk) = chunk.map_err(|error| Stopped::Broken(error.to_string()))? else { return Ok(false) };
        let Chunk { decoded, first, taken, end } = chunk;
        let rows = ChunkRows {
            import_id: self.intent.id.clone(),
            token: format!("f:{}:{}", self.intent.id, self.intent.done),
            path: upload_path(&self.folder),
            upload: self.intent.upload.clone(),
            schema: schema.clone(),
            first,
            taken: taken as usize,
            again: OnceLock::new(),
        };
        let written = {
            let write = writer.write(&rows, decoded, self, stop);
            tokio::pin!(write);
            loop {
                tokio::select! {
                    written = &mut write => break written,
                    () = tokio::time::sleep(LOOK) => {
                        let (attempts, message) = writer.trouble();
                        if let Some(message) = message.filter(|_| attempts > 0) {
                            tell(Some(message));
                        }
                    }
                }
            }
        };
        let written = written.map_err(|Aborted| Stopped::Aborted)?;
        tell(None);
        failpoint::reach("file-chunk");
        let intent = &mut self.intent;
        intent.done += 1;
        intent.at = end;
        intent.written = (intent.written.0 + written.rows, intent.written.1 + written.quarantined);
        intent.cuts = Cuts::default();
        let more = intent.done < intent.chunks;
        // The last one's end is kept with the end of all.
        if more {
            self.insist(stop).await.map_err(|Aborted| Stopped::Aborted)?;
        }
        Ok(more)
    }

    /// Keeps the id of the table that is about to take the place of the data source's.
    pub async fn note_swap(&mut self, table: String, stop: &CancellationToken) -> Result<(), Stopped> {
        self.intent.swap = Some(table);
        self.insist(stop).await.map_err(|Aborted| Stopped::Aborted)
    }

    /// Nothing is left to be done. What cannot be removed now is at the next start.
    pub async fn end(self) -> Result<(), String> {
        let Loading { store, workspace, folder, intent, .. } = self;
        let forgotten = tokio::task::spawn_blocking(move || {
            store.forget_file_load(&workspace, &intent.id).map_err(|error| error.to_string())?;
            failpoint::reach("file-forgotten");
            fs::remove_dir_all(&folder).map_err(|error| format!("{} cannot be removed: {error}", folder.display()))
        });
        forgotten.await.map_err(|error| error.to_string())?
    }

    async fn keep(&self) -> Result<(), String> {
        let (store, workspace) = (self.store.clone(), self.workspace.clone());
        let (id, record) = (self.intent.id.clone(), self.intent.write());
        let kept = tokio::task::spawn_blocking(move || store.put_file_load(&workspace, &id, &record)).await;
        kept.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// Keeps the intent, however often it takes.
    async fn insist(&self, stop: &CancellationToken) -> Result<(), Aborted> {
        while self.keep().await.is_err() {
            tokio::select! {
                () = stop.cancelled() => return Err(Aborted),
                () = tokio::time::sleep(Duration::from_secs(1)) => (),
            }
        }
        Ok(())
    }
}

impl Ledger for Loading {
    fn started(&self) -> u32 {
        self.intent.started
    }

    fn cuts(&self) -> &Cuts {
        &self.intent.cuts
    }

    async fn cut(&mut self, unit: &str, message: &str) -> Result<(), Aborted> {
        self.intent.cuts.insert(unit, message);
        self.keep().await.map_err(|_| Aborted)
    }
}

/// The rows of a chunk, which can be read again out of the file.
struct ChunkRows {
    import_id: String,
    token: String,
    path: PathBuf,
    upload: Upload,
    schema: Arc<Schema>,
    first: u64,
    taken: usize,
    again: OnceLock<Vec<RawRow>>,
}

/// A row as it was in the file.
#[derive(Debug, Clone)]
struct RawRow {
    raw: Vec<u8>,
    line: u64,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Json,
    /// By column.
    Fields(Vec<Option<String>>),
    Wrong(String),
}

impl ChunkRows {
    fn rows(&self) -> &[RawRow] {
        self.again.get_or_init(|| {
            let mut gathering =
                Gathering { skip: self.first, wanted: self.taken, rows: Vec::with_capacity(self.taken) };
            // It was read to its end once; what cannot be read now is missing from the quarantine's `c__raw` alone.
            if let Ok(input) = unpack::open(&self.path, self.upload.packing()) {
                _ = read::read(&self.upload, &self.schema, input, &mut gathering);
            }
            gathering.rows
        })
    }

    fn source(&self, line: u64) -> String {
        format!("{}:{line}", self.upload.name)
    }
}

impl Rows for ChunkRows {
    fn len(&self) -> usize {
        self.taken
    }

    fn decode(&self, rows: &[u32]) -> Decoded {
        let mut decoder = Decoder::new(self.schema.clone());
        for row in rows.iter().filter_map(|it| self.rows().get(*it as usize)) {
            match &row.kind {
                Kind::Json => decoder.json(&row.raw, || self.source(row.line)),
                Kind::Fields(fields) => {
                    let fields: Vec<_> = fields.iter().map(Option::as_deref).collect();
                    decoder.fields(&fields, || row.raw.clone(), || self.source(row.line));
                }
                Kind::Wrong(message) => decoder.reject(&row.raw, message.clone(), self.source(row.line)),
            }
        }
        decoder.finish()
    }

    fn refuse(&self, index: usize, message: &str) -> Rejected {
        let errors = vec![Problem { column: String::new(), message: message.to_owned() }];
        let Some(row) = self.rows().get(index) else { return Rejected { errors, ..Rejected::default() } };
        let values = match &row.kind {
            Kind::Fields(fields) => fields.clone(),
            Kind::Json | Kind::Wrong(_) => Vec::new(),
        };
        Rejected { raw: row.raw.clone(), values, errors, source: self.source(row.line) }
    }

    fn token(&self) -> String {
        self.token.clone()
    }

    fn import_id(&self) -> Option<&str> {
        Some(&self.import_id)
    }
}

/// Keeps some rows out of the middle of a file.
struct Gathering {
    skip: u64,
    wanted: usize,
    rows: Vec<RawRow>,
}

impl Gathering {
    fn take(&mut self, row: impl FnOnce() -> RawRow) {
        match self.skip {
            0 => self.rows.push(row()),
            _ => self.skip -= 1,
        }
    }
}

impl read::Take for Gathering {
    fn json(&mut self, row: &[u8], line: u64) {
        self.take(|| RawRow { raw: row.to_vec(), line, kind: Kind::Json });
    }

    fn fields(&mut self, fields: &[Option<&str>], record: &csv::ByteRecord, line: u64) {
        let kind = || Kind::Fields(fields.iter().map(|it| it.map(str::to_owned)).collect());
        self.take(|| RawRow { raw: read::joined(record), line, kind: kind() });
    }

    fn reject(&mut self, raw: Vec<u8>, message: String, line: u64) {
        self.take(|| RawRow { raw, line, kind: Kind::Wrong(message) });
    }

    fn go_on(&mut self) -> Result<bool, LoadError> {
        Ok(self.rows.len() < self.wanted)
    }
}
