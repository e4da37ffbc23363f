//! Fetches the engine: its npm package becomes a library in the user's cache directory.
//!
//! In: a cache directory, and who hears of progress. Out: the path of the library, whole or not there: it is
//! checked against the value pinned here and moved into place in one step. Which registry npm asks is npm's
//! configuration, and not known here.

use super::library::{self, VERSION};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha512};
use std::{
    fs::{self, File, TryLockError},
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// What an installation does next, and how far it is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Another process installs the engine now.
    Waiting,
    Fetching {
        done: u64,
        total: u64,
    },
    Checking,
    Unpacking {
        done: u64,
        total: u64,
    },
}

/// How an installation ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installed {
    /// It was there already.
    Before(PathBuf),
    Now(PathBuf),
}

/// The package for one kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    pub name: &'static str,
    /// The value that npm calls integrity. Without one only npm's own check against its registry is left.
    pub integrity: Option<&'static str>,
}

/// About what the packed package and its library weigh, in bytes.
pub const PACKED: u64 = 178_000_000;
pub const UNPACKED: u64 = 566_000_000;

#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("there is no engine for {os} on {arch}; name a libchdb.so in BIRDHOUSE_LIBCHDB if you have one")]
    NoPackage { os: &'static str, arch: &'static str },
    #[error(
        "the engine for this machine, {package} {VERSION}, has no checksum in this version of birdhouse: only npm's \
         own check against its registry is left. `birdhouse engine install --allow-unpinned` takes it so"
    )]
    Unpinned { package: &'static str },
    #[error(
        "npm is needed to fetch the engine and cannot be run ({0}): install Node.js with npm, or name a libchdb.so \
         in BIRDHOUSE_LIBCHDB"
    )]
    NoNpm(io::Error),
    #[error("npm could not fetch {package} {VERSION}: {message}")]
    Fetch { package: &'static str, message: String },
    #[error("the fetched package is not the one that was pinned: its sha512 is {found}, not {wanted}. It was removed")]
    Integrity { found: String, wanted: &'static str },
    #[error("the package could not be unpacked: {0}")]
    Unpack(String),
    #[error("{} needs {} MB of free space and has {} MB", .folder.display(), .needed >> 20, .free >> 20)]
    NoSpace { folder: PathBuf, needed: u64, free: u64 },
    #[error("{}: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
}

const PACKAGES: [(&str, &str, Package); 4] = [
    (
        "linux",
        "x86_64",
        Package {
            name: "@chdb/lib-linux-x64-gnu",
            integrity: Some(
                "sha512-XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw==",
            ),
        },
    ),
    ("linux", "aarch64", Package { name: "@chdb/lib-linux-arm64-gnu", integrity: None }),
    ("macos", "aarch64", Package { name: "@chdb/lib-darwin-arm64", integrity: None }),
    ("macos", "x86_64", Package { name: "@chdb/lib-darwin-x64", integrity: None }),
];

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The package for this machine.
pub fn package() -> Result<Package, InstallError> {
    use std::env::consts::{ARCH, OS};
    let package = PACKAGES.into_iter().find(|(os, arch, _)| (*os, *arch) == (OS, ARCH));
    package.map(|(_, _, package)| package).ok_or(InstallError::NoPackage { os: OS, arch: ARCH })
}

/// Installs the engine unless it is there. `unpinned` says what to do with a package that has no pinned value.
pub fn install(
    cache_directory: &Path,
    unpinned: Unpinned,
    mut progress: impl FnMut(Step),
) -> Result<Installed, InstallError> {
    let library = library::installed(cache_directory);
    if library.exists() {
        return Ok(Installed::Before(library));
    }
    let package = package()?;
    if package.integrity.is_none() && unpinned == Unpinned::Refuse {
        return Err(InstallError::Unpinned { package: package.name });
    }
    let root = cache_directory.join("engine");
    fs::create_dir_all(&root).map_err(io_error(&root))?;
    let _lock = lock(&root, &mut progress)?;
    if library.exists() {
        return Ok(Installed::Before(library));
    }
    // What an installation that was cut off has left is of no use, but for a package that came whole.
    let part = root.join(format!("{VERSION}.part"));
    check_space(&root)?;
    fs::create_dir_all(&part).map_err(io_error(&part))?;
    let packed = fetch(package, &part, &mut progress)?;
    progress(Step::Checking);
    check(package, &packed)?;
    let unpacked = unpack(&packed, &part, &mut progress)?;
    let folder = root.join(VERSION);
    fs::create_dir_all(&folder).map_err(io_error(&folder))?;
    File::open(&unpacked).and_then(|it| it.sync_all()).map_err(io_error(&unpacked))?;
    fs::rename(&unpacked, &library).map_err(io_error(&library))?;
    fs::remove_dir_all(&part).map_err(io_error(&part))?;
    Ok(Installed::Now(library))
}

/// What to do with a package that has no pinned value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpinned {
    Refuse,
    Allow,
}

/// One installation at a time; the lock goes with the process.
fn lock(root: &Path, progress: &mut impl FnMut(Step)) -> Result<File, InstallError> {
    let path = root.join("install.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io_error(&path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => progress(Step::Waiting),
        Err(TryLockError::Error(error)) => return Err(io_error(&path)(error)),
    }
    file.lock().map_err(io_error(&path))?;
    Ok(file)
}

/// Room for the package twice (npm keeps its own copy while it works) and for the library.
fn check_space(root: &Path) -> Result<(), InstallError> {
    let needed = 2 * PACKED + UNPACKED;
    let Ok(space) = rustix::fs::statvfs(root) else { return Ok(()) };
    let free = space.f_bavail * space.f_frsize;
    if free < needed {
        return Err(InstallError::NoSpace { folder: root.to_owned(), needed, free });
    }
    Ok(())
}

fn fetch(package: Package, part: &Path, progress: &mut impl FnMut(Step)) -> Result<PathBuf, InstallError> {
    let packed = part.join("package.tgz");
    if packed.exists() && check(package, &packed).is_ok() && package.integrity.is_some() {
        return Ok(packed);
    }
    let (cache, folder) = (part.join("npm"), part.join("packed"));
    for path in [&cache, &folder] {
        _ = fs::remove_dir_all(path);
        fs::create_dir_all(path).map_err(io_error(path))?;
    }
    let specification = format!("{}@{VERSION}", package.name);
    // A cache of its own: what comes in can be watched there, and goes when the work is done.
    let child = Command::new("npm")
        .args(["pack", &specification, "--loglevel", "error", "--pack-destination"])
        .arg(&folder)
        .arg("--cache")
        .arg(&cache)
        .current_dir(part)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(InstallError::NoNpm)?;
    let failed = |message| InstallError::Fetch { package: package.name, message };
    watch(child, || progress(Step::Fetching { done: size(&cache).min(PACKED), total: PACKED })).map_err(failed)?;
    let made = fs::read_dir(&folder).map_err(io_error(&folder))?.flatten().next();
    let made = made.ok_or_else(|| failed("npm made no file".to_owned()))?.path();
    fs::rename(&made, &packed).map_err(io_error(&made))?;
    _ = fs::remove_dir_all(&cache);
    Ok(packed)
}

fn check(package: Package, packed: &Path) -> Result<(), InstallError> {
    let Some(wanted) = package.integrity else { return Ok(()) };
    let found = sha512(packed).map_err(io_error(packed))?;
    if found == wanted {
        return Ok(());
    }
    _ = fs::remove_file(packed);
    Err(InstallError::Integrity { found, wanted })
}

fn sha512(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha512::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => hasher.update(&buffer[..length]),
        }
    }
    Ok(format!("sha512-{}", BASE64_STANDARD.encode(hasher.finalize())))
}

fn unpack(packed: &Path, part: &Path, progress: &mut impl FnMut(Step)) -> Result<PathBuf, InstallError> {
    const MEMBER: &str = "package/libchdb.so";
    let unpacked = part.join(MEMBER);
    _ = fs::remove_file(&unpacked);
    let child = Command::new("tar")
        .arg("-xzf")
        .arg(packed)
        .arg("-C")
        .arg(part)
        .arg(MEMBER)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| InstallError::Unpack(format!("tar cannot be run: {error}")))?;
    let done = || fs::metadata(&unpacked).map_or(0, |it| it.len()).min(UNPACKED);
    watch(child, || progress(Step::Unpacking { done: done(), total: UNPACKED })).map_err(InstallError::Unpack)?;
    if unpacked.exists() { Ok(unpacked) } else { Err(InstallError::Unpack(format!("{MEMBER} is not in the package"))) }
}

/// Waits for a program; what it says on stderr is the error.
fn watch(mut child: Child, mut look: impl FnMut()) -> Result<(), String> {
    let stderr = child.stderr.take();
    let said = thread::spawn(move || {
        let mut text = String::new();
        stderr.map(|mut it| it.read_to_string(&mut text));
        text
    });
    let status = loop {
        look();
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => thread::sleep(LOOK),
            Err(error) => return Err(error.to_string()),
        }
    };
    let said = said.join().unwrap_or_default();
    if status.success() {
        return Ok(());
    }
    let lines: Vec<_> = said.lines().map(|it| it.trim_start_matches("npm error ").trim()).collect();
    // The first lines say what happened; after them come the whereabouts of npm's log.
    let words = lines.into_iter().filter(|it| !it.is_empty()).take(4).collect::<Vec<_>>().join("; ");
    Err(if words.is_empty() { status.to_string() } else { words })
}

/// The bytes of all files below a folder.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => size(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    move |error| InstallError::Io { path, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_left_alone() {
        let cache = tempfile::tempdir().unwrap();
        let library = library::installed(cache.path());
        fs::create_dir_all(library.parent().unwrap()).unwrap();
        fs::write(&library, "x").unwrap();
        let said = install(cache.path(), Unpinned::Refuse, |step| panic!("{step:?}"));
        assert_eq!(said.unwrap(), Installed::Before(library));
    }

    #[test]
    fn another_package_is_refused_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let packed = folder.path().join("package.tgz");
        fs::write(&packed, "abc").unwrap();
        let package = Package { name: "x", integrity: Some("sha512-nothing") };
        let error = check(package, &packed).unwrap_err();
        let abc = "sha512-3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw==";
        assert!(matches!(&error, InstallError::Integrity { found, .. } if found == abc), "{error}");
        assert!(!packed.exists());
    }

    #[test]
    fn a_program_that_fails_says_why() {
        let script = "echo npm error code E404 >&2; exit 1";
        let child = Command::new("sh").args(["-c", script]).stderr(Stdio::piped()).spawn().unwrap();
        assert_eq!(watch(child, || ()), Err("code E404".to_owned()));
    }
}
