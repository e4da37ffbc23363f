//! What the log asks of the file system: little, so that a test can be one that loses power.

use std::{
    fmt,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

pub(super) trait Disk: fmt::Debug + Send + Sync {
    /// A new file, whose name survives the loss of power.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Storage>>;
    /// Removes a file; it stays removed.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

pub(super) trait Storage: fmt::Debug + Send {
    fn write(&mut self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// What was written survives the loss of power.
    fn sync(&mut self) -> io::Result<()>;
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

/// The real one.
#[derive(Debug)]
pub(super) struct Folder;

impl Disk for Folder {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Storage>> {
        // One that a failed attempt left is begun anew.
        let file = File::options().write(true).create(true).truncate(true).open(path)?;
        sync_parent(path)?;
        Ok(Box::new(file))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => sync_parent(path),
        }
    }
}

impl Storage for File {
    fn write(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |it| File::open(it)?.sync_all())
}
