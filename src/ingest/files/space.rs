//! Room on the disk: a file that would fill it is refused while there is still some.

use std::{io, path::Path};

/// There is not enough room.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server's disk has not enough room for the file: {wanted} bytes are wanted and {free} may be used")]
pub struct NoSpace {
    pub wanted: u64,
    pub free: u64,
}

/// This much stays free, or a twentieth of the disk where that is less: tables, logs and the store want to go on.
const KEPT_FREE: u64 = 512 << 20;

/// Whether `wanted` bytes more fit on the disk of `path`.
pub fn check(path: &Path, wanted: u64) -> Result<Result<(), NoSpace>, io::Error> {
    let disk = rustix::fs::statvfs(path)?;
    let kept = KEPT_FREE.min(disk.f_blocks * disk.f_frsize / 20);
    let free = (disk.f_bavail * disk.f_frsize).saturating_sub(kept);
    Ok(if wanted <= free { Ok(()) } else { Err(NoSpace { wanted, free }) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_fits_and_everything_does_not() {
        let folder = std::env::temp_dir();
        assert_eq!(check(&folder, 1).unwrap(), Ok(()));
        assert!(check(&folder, u64::MAX).unwrap().is_err());
        assert!(check(Path::new("/nothing/here"), 1).is_err());
    }
}
