//! The vectors: measured facts about other tools, kept here as they were measured.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// Where the original stands beside the checkout, the copy is the same, file by file.
#[test]
fn the_copy_is_true() {
    let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors");
    let copy = files(&folder());
    assert!(copy.len() > 200, "the vectors are missing");
    if original.is_dir() {
        let original = files(&original);
        let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&copy), names(&original));
        for (path, bytes) in &original {
            assert!(copy[path] == *bytes, "{} differs from the original", path.display());
        }
    }
}

fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}
