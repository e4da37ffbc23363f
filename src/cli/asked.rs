//! The files that somebody asks about: paths on the command line, or what comes on standard input.
//!
//! In: arguments. Out: projects, and the files in them. What the files say is not known here.

use super::{discover, fault::user};
use crate::datafile::{Kind, is_test_file};
use anyhow::Context as _;
use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

/// A project of which files are asked about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) root: PathBuf,
    /// None means all.
    pub(super) files: BTreeSet<PathBuf>,
}

/// The projects that paths belong to; without a path, the one in `folder`.
pub(super) fn projects(paths: &[PathBuf], folder: &Path) -> anyhow::Result<Vec<Asked>> {
    if paths.is_empty() {
        return Ok(vec![Asked { root: folder.to_owned(), files: BTreeSet::new() }]);
    }
    let mut projects: Vec<Asked> = Vec::new();
    for path in paths {
        let full = fs::canonicalize(folder.join(path))
            .map_err(|error| user(format!("`{}` cannot be read: {error}", path.display())))?;
        let name = full.to_string_lossy();
        let (root, file) = if full.is_dir() {
            (full, None)
        } else if Kind::of(&name).is_some() || is_test_file(&name) {
            (discover::root_of(&full), Some(full))
        } else {
            let message =
                format!("`{}` is no datafile: those end with .datasource, .pipe, .connection", path.display());
            return Err(user(message));
        };
        match projects.iter_mut().find(|it| it.root == root && file.is_some() != it.files.is_empty()) {
            Some(known) => known.files.extend(file),
            None => projects.push(Asked { root, files: file.into_iter().collect() }),
        }
    }
    Ok(projects)
}

/// What standard input holds and what it is called: as `name` says, else as its text looks.
pub(super) fn standard_input(name: Option<&str>) -> anyhow::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).context("standard input cannot be read")?;
    let name = name.map_or_else(|| looks_like(&bytes).to_owned(), str::to_owned);
    if Kind::of(&name).is_none() && !is_test_file(&name) {
        return Err(user(format!("`{name}` is no name of a datafile: those end with .datasource, .pipe, .connection")));
    }
    Ok((name, bytes))
}

fn looks_like(bytes: &[u8]) -> &'static str {
    let text = String::from_utf8_lossy(bytes);
    let begins = |line: &str, word: &str| line.get(..word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word));
    match text.lines().any(|it| begins(it, "node ") || begins(it, "sql ")) {
        true => "stdin.pipe",
        false => "stdin.datasource",
    }
}

/// How paths in a project are shown to a reader in the current folder.
pub(super) struct Shown {
    prefix: String,
}

impl Shown {
    pub(super) fn new(root: &Path, folder: &Path) -> Shown {
        let absolute = |it: &Path| fs::canonicalize(it).unwrap_or_else(|_| it.to_owned());
        let (root, here) = (absolute(root), absolute(folder));
        let prefix = match root.strip_prefix(&here) {
            Ok(inside) => discover::relative(inside, Path::new("")),
            Err(_) => root.display().to_string(),
        };
        Shown { prefix }
    }

    /// Paths are shown as they are.
    pub(super) fn is_plain(&self) -> bool {
        self.prefix.is_empty()
    }

    pub(super) fn path(&self, path: &str) -> String {
        if self.is_plain() { path.to_owned() } else { format!("{}/{path}", self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_without_a_name_looks_like_something() {
        assert_eq!(looks_like(b"# x\nNode a\nSQL >\n"), "stdin.pipe");
        assert_eq!(looks_like(b"SCHEMA >\n    `node` String\n"), "stdin.datasource");
    }

    #[test]
    fn files_are_gathered_by_project() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        for file in ["a/pipes/x.pipe", "a/pipes/y.pipe", "b/pipes/z.pipe", "b/readme.md"] {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            fs::write(root.join(file), "").unwrap();
        }
        let paths = |it: &[&str]| it.iter().map(|it| PathBuf::from(*it)).collect::<Vec<_>>();
        let found = projects(&paths(&["a/pipes/x.pipe", "b", "a/pipes/y.pipe"]), &root).unwrap();
        let files = ["x.pipe", "y.pipe"].map(|it| root.join("a/pipes").join(it));
        let first = Asked { root: root.join("a"), files: files.into() };
        assert_eq!(found, [first, Asked { root: root.join("b"), files: BTreeSet::new() }]);
        assert!(projects(&paths(&["b/readme.md"]), &root).is_err());
        assert_eq!(Shown::new(&root.join("a"), &root).path("pipes/x.pipe"), "a/pipes/x.pipe");
        assert_eq!(Shown::new(&root, &root).path("x.pipe"), "x.pipe");
    }
}
