//! Tells that files of a folder have changed, once for each burst of changes.
//!
//! In: a folder. Out: a wait that ends when something in it was saved. Which files matter is for the caller.

use super::fault::user;
use ignore::WalkBuilder;
use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    sync::mpsc::{self, UnboundedReceiver},
    time::{Instant, timeout_at},
};

pub(super) struct Watch {
    watcher: RecommendedWatcher,
    events: UnboundedReceiver<notify::Result<Event>>,
    root: PathBuf,
    skipped: PathBuf,
    watched: BTreeSet<PathBuf>,
}

/// Editors save in several steps: a burst is over when nothing happens for so long.
const BURST: Duration = Duration::from_millis(25);
/// A folder that never rests is looked at all the same.
const LONGEST_BURST: Duration = Duration::from_millis(120);

impl Watch {
    /// Watches a folder, but for `skipped` in it and what git ignores.
    pub(super) fn new(root: &Path, skipped: &Path) -> anyhow::Result<Watch> {
        let (sender, events) = mpsc::unbounded_channel();
        let watcher = notify::recommended_watcher(move |event| {
            // Nobody listens any more when the receiver has gone: the command is ending.
            let _ = sender.send(event);
        });
        let watcher = watcher.map_err(|error| cannot(root, &error))?;
        let (root, skipped, watched) = (root.to_owned(), skipped.to_owned(), BTreeSet::new());
        let mut res = Watch { watcher, events, root, skipped, watched };
        res.watch_folders()?;
        Ok(res)
    }

    /// Waits for the end of a burst of changes.
    pub(super) async fn changed(&mut self) -> anyhow::Result<()> {
        loop {
            let event = self.events.recv().await.ok_or_else(|| anyhow::anyhow!("the watcher has ended"))?;
            if self.matters(event) {
                break;
            }
        }
        let longest = Instant::now() + LONGEST_BURST;
        loop {
            let quiet = (Instant::now() + BURST).min(longest);
            match timeout_at(quiet, self.events.recv()).await {
                Ok(Some(_)) if Instant::now() < longest => (),
                _ => break,
            }
        }
        self.watch_folders()
    }

    fn matters(&self, event: notify::Result<Event>) -> bool {
        // An error may mean that events were lost: better to look once too often.
        let Ok(event) = event else { return true };
        let reads = matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
        !reads && !event.paths.iter().all(|path| path.starts_with(&self.skipped) || is_hidden(path))
    }

    /// Watches the folders there are now. Each by itself: a build's output of a million files must not be watched.
    fn watch_folders(&mut self) -> anyhow::Result<()> {
        let skipped = self.skipped.clone();
        let walk = WalkBuilder::new(&self.root)
            .require_git(false)
            .filter_entry(move |entry| {
                entry.file_type().is_some_and(|it| it.is_dir()) && !entry.path().starts_with(&skipped)
            })
            .build();
        let folders: BTreeSet<PathBuf> = walk.flatten().map(|entry| entry.into_path()).collect();
        for folder in folders.difference(&self.watched) {
            match self.watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => (),
                // It has gone since it was seen.
                Err(_) if !folder.exists() => (),
                Err(error) => return Err(cannot(folder, &error)),
            }
        }
        // A folder that was removed and made again is a new one to the system.
        self.watched = folders;
        Ok(())
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().and_then(|it| it.to_str()).is_some_and(|it| it.starts_with('.'))
}

fn cannot(folder: &Path, error: &notify::Error) -> anyhow::Error {
    user(format!("changes in {} cannot be watched: {error}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[tokio::test]
    async fn a_save_is_seen_and_so_is_one_in_a_new_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let data = root.join("data");
        fs::create_dir(&data).unwrap();
        let mut watch = Watch::new(&root, &data).unwrap();
        let patience = Duration::from_secs(10);
        fs::create_dir(root.join("pipes")).unwrap();
        tokio::time::timeout(patience, watch.changed()).await.unwrap().unwrap();
        fs::write(root.join("pipes/a.pipe"), "NODE a").unwrap();
        tokio::time::timeout(patience, watch.changed()).await.unwrap().unwrap();
        fs::write(data.join("rows"), "").unwrap();
        fs::read_to_string(root.join("pipes/a.pipe")).unwrap();
        let silence = tokio::time::timeout(Duration::from_millis(300), watch.changed()).await;
        assert!(silence.is_err(), "the data directory and reads do not matter");
    }
}
