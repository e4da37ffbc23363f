//! A server in this process: what `serve` and `dev` share.

use std::path::{Path, PathBuf};

/// Where a server keeps its admin token for whoever owns the data directory.
pub(super) fn admin_token_file(data_dir: &Path) -> PathBuf {
    data_dir.join("admin_token")
}
