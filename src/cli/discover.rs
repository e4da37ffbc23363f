//! Finds the files of a project: the only reader of project files.
//!
//! In: a folder. Out: its datafiles as sources, its fixtures, its environment, and what could not be read. What
//! the files say is not known here.

use crate::{
    datafile::{Kind, is_test_file},
    diagnostic::{Diagnostic, Place, Source, Span, line_column},
    threads::each,
};
use ignore::{DirEntry, WalkBuilder};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// The files of a project, read.
#[derive(Debug, Clone, Default)]
pub(super) struct ProjectFiles {
    pub(super) root: PathBuf,
    /// Datafiles, by path relative to `root` with `/` between its parts, in order.
    pub(super) sources: Vec<Source>,
    /// Test files, likewise.
    pub(super) tests: Vec<Source>,
    /// Data sources of other workspaces, as nodes name them: `workspace.name`, from `vendor/workspace/`.
    pub(super) vendored: BTreeSet<String>,
    /// The first fixture of each data source.
    pub(super) fixtures: Vec<Fixture>,
    /// The files in the folders of fixtures, by path relative to `root`.
    pub(super) fixture_files: Vec<String>,
    /// The pairs of `.env`, and of `.env.local` over them.
    pub(super) environment: BTreeMap<String, String>,
    /// What could not be read.
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// A file of rows for a data source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fixture {
    /// The name of the data source, as the file's name tells it.
    pub(super) datasource: String,
    /// On disk.
    pub(super) path: PathBuf,
}

/// A project that has one of these folders is in these folders and beside them, and nowhere else.
const FOLDERS: &[&str] = &[
    "datasources",
    "endpoints",
    "pipes",
    "materializations",
    "copies",
    "sinks",
    "connections",
    "fixtures",
    "tests",
    "tokens",
    "vendor",
    "includes",
];

/// Where fixtures are, in the order in which they are looked for.
const FIXTURES: &[(&str, &str)] = &[
    ("fixtures", "csv"),
    ("datasources/fixtures", "csv"),
    ("fixtures", "ndjson"),
    ("datasources/fixtures", "ndjson"),
    ("fixtures", "parquet"),
    ("datasources/fixtures", "parquet"),
];

/// How deep a project without those folders is searched: its root and two levels of folders.
const DEPTH: usize = 3;
/// Fragments may lie deeper than what includes them.
const FRAGMENT_DEPTH: usize = 5;
/// No datafile is as large as this.
const MAX_BYTES: u64 = 64 << 20;

/// Reads the project in a folder. An error is about the folder itself; what is wrong with files is told in the
/// diagnostics.
pub(super) fn project(root: &Path) -> io::Result<ProjectFiles> {
    fs::read_dir(root)?;
    let mut files = ProjectFiles { root: root.to_owned(), ..ProjectFiles::default() };
    let conventional = is_conventional(root);
    let mut walk = WalkBuilder::new(root);
    walk.follow_links(true).max_depth(Some(if conventional { FRAGMENT_DEPTH } else { DEPTH })).require_git(false);
    walk.sort_by_file_name(OsStr::cmp);
    let base = root.to_owned();
    walk.filter_entry(move |entry| is_wanted(entry, &base, conventional));
    let mut found: Vec<(PathBuf, String, bool)> = Vec::new();
    let mut tests: Vec<(PathBuf, String, bool)> = Vec::new();
    for entry in walk.build() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                files.diagnostics.push(walk_error(&error, root));
                continue;
            }
        };
        let relative = relative(entry.path(), root);
        let depth = entry.depth();
        let is_file = entry.file_type().is_some_and(|it| it.is_file());
        if is_test_file(&relative) && (depth == 2 || !conventional) {
            tests.push((entry.into_path(), relative, is_file));
            continue;
        }
        let Some(kind) = Kind::of(&relative) else { continue };
        let beyond = conventional && depth > 2;
        if (beyond && kind != Kind::Include) || depth == 0 {
            continue;
        }
        if entry.file_type().is_some_and(|it| it.is_dir()) {
            let message = format!("`{relative}` is called like a datafile, but is a folder");
            files.diagnostics.push(Diagnostic::error("folder_as_datafile", message).at(whole(&relative)));
            continue;
        }
        found.push((entry.into_path(), relative, is_file));
    }
    // A folder of tests that no datafiles stand beside is somebody else's.
    tests.retain(|(_, test, _)| {
        let beside = test.split_once("tests/").map_or("", |(folder, _)| folder);
        found.iter().any(|(_, it, _)| it.starts_with(beside)) || conventional
    });
    found.extend(tests);
    let read_one = |(path, relative, is_file): &(PathBuf, String, bool)| match is_file {
        true => read_file(path, relative),
        false => read(path, relative),
    };
    for read in each(&found, read_one) {
        match read {
            Ok(source) if is_test_file(&source.path) => files.tests.push(source),
            Ok(source) => files.sources.push(source),
            Err(diagnostic) => files.diagnostics.push(*diagnostic),
        }
    }
    files.fixtures = fixtures(root, &files.sources);
    files.fixture_files = ["fixtures", "datasources/fixtures"]
        .iter()
        .flat_map(|folder| names(&root.join(folder)).into_iter().map(move |name| format!("{folder}/{name}")))
        .collect();
    files.fixture_files.sort_unstable();
    files.vendored = vendored(root);
    for name in [".env", ".env.local"] {
        environment(&root.join(name), name, &mut files);
    }
    Ok(files)
}

/// The first fixture of each data source.
fn fixtures(root: &Path, sources: &[Source]) -> Vec<Fixture> {
    let there: Vec<BTreeSet<String>> =
        FIXTURES.iter().map(|(folder, _)| names(&root.join(folder)).into_iter().collect()).collect();
    let datasources = sources.iter().filter(|it| Kind::of(&it.path) == Some(Kind::Datasource));
    let datasources: BTreeSet<String> = datasources.map(|it| Kind::Datasource.resource_name(&it.path)).collect();
    let first = |datasource: String| {
        let mut candidates = FIXTURES.iter().zip(&there).filter_map(|((folder, kind), there)| {
            let name = format!("{datasource}.{kind}");
            there.contains(&name).then(|| root.join(folder).join(name))
        });
        let path = candidates.find(|it| it.is_file())?;
        Some(Fixture { datasource, path })
    };
    datasources.into_iter().filter_map(first).collect()
}

/// The names of what is in a folder; none where it cannot be read.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|it| it.file_name().to_string_lossy().into_owned()).collect()
}

/// What other workspaces share: their files only say that it is there.
fn vendored(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for workspace in names(&root.join("vendor")) {
        for (folder, kind) in [("datasources", Kind::Datasource), ("pipes", Kind::Pipe), ("endpoints", Kind::Pipe)] {
            let files = names(&root.join("vendor").join(&workspace).join(folder));
            let files = files.into_iter().filter(|it| Kind::of(it) == Some(kind));
            found.extend(files.map(|it| format!("{workspace}.{}", kind.resource_name(&it))));
        }
    }
    found
}

/// The folder of the project that a file belongs to: the nearest one above it that looks like a project's.
pub(super) fn root_of(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let absolute = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let project = |it: &&Path| is_conventional(it) || it.join(".tinyb").exists() || it.join(".git").exists();
    absolute.ancestors().find(project).map_or(absolute.clone(), Path::to_owned)
}

/// Reads one datafile; `shown` is its path for whoever reads messages.
pub(super) fn read(path: &Path, shown: &str) -> Result<Source, Box<Diagnostic>> {
    let about = fs::metadata(path).map_err(|error| unreadable(shown, &error))?;
    if !about.is_file() {
        return Err(unreadable(shown, &"it is no file"));
    }
    read_file(path, shown)
}

/// The same for what is known to be a file.
fn read_file(path: &Path, shown: &str) -> Result<Source, Box<Diagnostic>> {
    thread_local! {
        /// Most datafiles are shorter: one is read in one go, without asking for its length before.
        static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 << 10]);
    }
    let failed = |error: io::Error| unreadable(shown, &error);
    let mut file = fs::File::open(path).map_err(failed)?;
    BUFFER.with_borrow_mut(|buffer| {
        let mut length = 0;
        while length < buffer.len() {
            match file.read(&mut buffer[length..]).map_err(failed)? {
                0 => return decode(&buffer[..length], shown),
                more => length += more,
            }
        }
        let mut bytes = buffer.clone();
        let size = file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
        if size as u64 == MAX_BYTES {
            return Err(unreadable(shown, &format!("it is larger than {} MB", MAX_BYTES >> 20)));
        }
        decode(&bytes, shown)
    })
}

fn unreadable(shown: &str, why: &dyn std::fmt::Display) -> Box<Diagnostic> {
    Box::new(Diagnostic::error("file_unreadable", format!("`{shown}` cannot be read: {why}")).at(whole(shown)))
}

/// A file as such.
fn whole(path: &str) -> Place {
    Place { path: path.into(), span: Span::default() }
}

/// The text of a file that was read; a byte that is none is told with its place.
pub(super) fn decode(bytes: &[u8], shown: &str) -> Result<Source, Box<Diagnostic>> {
    str::from_utf8(bytes).map(|text| Source::new(shown, text)).map_err(|error| {
        let good = error.valid_up_to();
        let place = line_column(&String::from_utf8_lossy(&bytes[..good]), good);
        let byte = bytes.get(good).copied().unwrap_or_default();
        let message = format!(
            "`{shown}` is not UTF-8: the byte 0x{byte:02X} at line {}, column {} (offset {good}) begins no character",
            place.line, place.column
        );
        let place = Place { path: shown.into(), span: Span::at(good) };
        Box::new(Diagnostic::error("not_utf8", message).hint("save the file as UTF-8").at(place))
    })
}

/// A path relative to the root, as messages and requests write it.
pub(super) fn relative(path: &Path, root: &Path) -> String {
    let path = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = path.components().map(|it| it.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}

fn is_conventional(root: &Path) -> bool {
    FOLDERS.iter().any(|it| root.join(it).is_dir())
}

fn is_wanted(entry: &DirEntry, root: &Path, conventional: bool) -> bool {
    let is_folder = entry.file_type().is_some_and(|it| it.is_dir());
    if !is_folder || entry.depth() == 0 {
        return true;
    }
    let name = entry.file_name().to_string_lossy();
    if matches!(&*name, "target" | "node_modules") {
        return false;
    }
    let relative = relative(entry.path(), root);
    let top = relative.split('/').next().unwrap_or_default();
    match conventional {
        // A folder called like a datafile is wanted only to be complained about.
        true if entry.depth() == 1 => FOLDERS.contains(&top) && top != "vendor" || Kind::of(&relative).is_some(),
        true => top != "tests",
        false => top != "vendor",
    }
}

fn walk_error(error: &ignore::Error, root: &Path) -> Diagnostic {
    match error {
        ignore::Error::WithDepth { err, .. } => walk_error(err, root),
        ignore::Error::Loop { child, .. } => {
            let child = relative(child, root);
            let message = format!("`{child}` is a link to a folder that it is in");
            Diagnostic::error("symlink_loop", message).hint("remove the link").at(whole(&child))
        }
        ignore::Error::WithPath { path, err } => {
            // The walker's words name the whole path once more.
            let why = fs::metadata(path).err().map_or_else(|| err.to_string(), |it| it.to_string());
            *unreadable(&relative(path, root), &why)
        }
        error => Diagnostic::error("file_unreadable", error.to_string()),
    }
}

/// Reads the pairs of an environment file. A line that is none is named by its number only: it may be a secret.
fn environment(path: &Path, name: &str, files: &mut ProjectFiles) {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            let message = format!("`{name}` cannot be read: {error}");
            files.diagnostics.push(Diagnostic::warning("environment_file", message));
            return;
        }
    };
    for pair in dotenvy::from_read_iter(text.as_bytes()) {
        match pair {
            Ok((key, value)) => {
                files.environment.insert(key, value);
            }
            Err(error) => {
                let line = match &error {
                    dotenvy::Error::LineParse(line, _) => text.lines().position(|it| it.contains(line.trim())),
                    _ => None,
                };
                let place = line.map_or(String::new(), |line| format!(", line {}", line + 1));
                let message = format!("`{name}`{place}: this is not NAME=value");
                files.diagnostics.push(Diagnostic::warning("environment_file", message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn paths(files: &ProjectFiles) -> Vec<&str> {
        files.sources.iter().map(|it| &*it.path).collect()
    }

    fn codes(files: &ProjectFiles) -> Vec<&str> {
        files.diagnostics.iter().map(|it| it.code).collect()
    }

    #[test]
    fn conventional_folders_are_all_there_is() {
        let root = tree(&[
            ("datasources/a.datasource", ""),
            ("datasources/fixtures/a.csv", ""),
            ("datasources/fixtures/a.ndjson", ""),
            ("pipes/b.pipe", ""),
            ("pipes/parts/c.incl", ""),
            ("pipes/deep/d.pipe", ""),
            ("tests/cases/broken.pipe", ""),
            ("tests/top.pipe", ""),
            ("other/e.pipe", ""),
            ("target/f.pipe", ""),
            (".hidden/g.pipe", ""),
            ("h.pipe", ""),
            ("i.pipe", ""),
            (".gitignore", "i.pipe\n"),
        ]);
        let files = project(root.path()).unwrap();
        assert_eq!(
            paths(&files),
            ["datasources/a.datasource", "h.pipe", "pipes/b.pipe", "pipes/parts/c.incl", "tests/top.pipe"]
        );
        assert_eq!(files.fixture_files, ["datasources/fixtures/a.csv", "datasources/fixtures/a.ndjson"]);
        let path = root.path().join("datasources/fixtures/a.csv");
        assert_eq!(files.fixtures, [Fixture { datasource: "a".to_owned(), path }]);
        assert_eq!(codes(&files), [""; 0]);
    }

    #[test]
    fn other_projects_are_searched_to_a_depth() {
        let root = tree(&[
            ("x/y/b.pipe", ""),
            ("x/y/z/c.pipe", ""),
            ("x/tests/b.yaml", ""),
            ("x/tests/notes.txt", ""),
            ("other/tests/jobs.yaml", "{}"),
            ("node_modules/d.pipe", ""),
        ]);
        let files = project(root.path()).unwrap();
        assert_eq!(paths(&files), ["x/y/b.pipe"]);
        assert_eq!(files.tests.iter().map(|it| &*it.path).collect::<Vec<_>>(), ["x/tests/b.yaml"]);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let root = tree(&[("pipes/b.pipe", ""), (".env", "A=1\nnonsense secret\nB=2\n"), (".env.local", "A=3\n")]);
        fs::write(root.path().join("pipes/bad.pipe"), b"NODE a\nSQL >\n  \xff").unwrap();
        fs::create_dir(root.path().join("pipes/folder.pipe")).unwrap();
        std::os::unix::fs::symlink(root.path().join("pipes"), root.path().join("pipes/loop")).unwrap();
        std::os::unix::fs::symlink(root.path().join("nowhere"), root.path().join("pipes/gone.pipe")).unwrap();
        let files = project(root.path()).unwrap();
        assert_eq!(paths(&files), ["pipes/b.pipe"]);
        let mut found = codes(&files);
        found.sort_unstable();
        assert_eq!(found, ["environment_file", "file_unreadable", "folder_as_datafile", "not_utf8", "symlink_loop"]);
        let said: String = files.diagnostics.iter().map(|it| it.message.clone() + "\n").collect();
        assert!(said.contains("0xFF at line 3, column 3"), "{said}");
        assert!(said.contains("`.env`, line 2") && !said.contains("secret"), "{said}");
        assert_eq!(files.environment["A"], "3");
        assert_eq!(files.environment["B"], "2");
    }
}
