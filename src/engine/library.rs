//! Which engine this is, and where an installed one lies.

use std::path::{Path, PathBuf};

/// The version of the engine's packages that this birdhouse is made for.
pub const VERSION: &str = "26.7.3-stable.1";

/// Where `birdhouse engine install` puts the library below the user's cache directory.
pub fn installed(cache_directory: &Path) -> PathBuf {
    cache_directory.join("engine").join(VERSION).join("libchdb.so")
}
