//! The data directory: its layout, its format, its lock.
//!
//! ```text
//! format         the version of this layout, a number
//! lock           locked while a process has the directory, with its process id
//! key            what secrets are encrypted under, for the owner's eyes only
//! store.sqlite   the store
//! engine/        the engine's
//! files/         files that are being taken in, a folder each
//! events/        the log of events
//! ```

use super::{Store, StoreError, key::Key};
use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

/// The layout that this program writes, and the newest that it can read.
const FORMAT: u32 = 1;

/// A data directory that is ours: made where it was missing, its format known, locked for this process.
/// Dropping it lets go of the lock.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    key: Key,
    _lock: File,
}

impl DataDirectory {
    pub fn open(path: &Path) -> Result<DataDirectory, StoreError> {
        make_private(path).map_err(|error| StoreError::file(path, error))?;
        let lock = lock(path)?;
        check_format(path)?;
        let key = read_key(path)?;
        Ok(DataDirectory { path: path.to_owned(), key, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the engine keeps its tables.
    pub fn engine_path(&self) -> PathBuf {
        self.path.join("engine")
    }

    pub fn store(&self) -> Result<Store, StoreError> {
        Store::open(&self.path.join("store.sqlite"), &self.path.join("key"), self.key.clone())
    }
}

/// Makes a directory that only its owner may enter; one that is there keeps its rights.
fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join("lock");
    let failed = |error| StoreError::file(&path, error);
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // The owner may be about to write it; the lock itself is what counts.
            let _ = file.read_to_string(&mut pid);
            let pid = pid.trim();
            let pid = if pid.is_empty() { "unknown".to_owned() } else { pid.to_owned() };
            return Err(StoreError::Locked { path: directory.to_owned(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0).map_err(failed)?;
    file.rewind().map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

fn check_format(directory: &Path) -> Result<(), StoreError> {
    let path = directory.join("format");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return write_new(&path, format!("{FORMAT}\n").as_bytes());
        }
        Err(error) => return Err(StoreError::file(&path, error)),
    };
    let found = text.trim().to_owned();
    match found.parse::<u32>() {
        Ok(format) if (1..=FORMAT).contains(&format) => Ok(()),
        Ok(format) if format > FORMAT => {
            Err(StoreError::NewerFormat { path: directory.to_owned(), found, known: FORMAT })
        }
        _ => Err(StoreError::Damaged(format!("{} says `{found}`, which is no format", path.display()))),
    }
}

fn read_key(directory: &Path) -> Result<Key, StoreError> {
    let path = directory.join("key");
    match fs::read_to_string(&path) {
        Ok(text) => Key::parse(&text).ok_or(StoreError::WrongKey { path }),
        // A store without its key must not get a new one: every secret in it would be lost without a word.
        Err(error) if error.kind() == io::ErrorKind::NotFound && directory.join("store.sqlite").exists() => {
            Err(StoreError::MissingKey { path })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = Key::random();
            write_new(&path, key.print().as_bytes())?;
            Ok(key)
        }
        Err(error) => Err(StoreError::file(&path, error)),
    }
}

/// Writes a file that is there whole or not at all, readable by its owner alone.
fn write_new(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|error| StoreError::file(path, error))
}
