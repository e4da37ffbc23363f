//! Random names and the time as replies show it.

pub(super) use crate::jobs::now;

/// A random id in the form of a UUID.
pub(super) fn random_id() -> String {
    let hex = format!("{:032x}", rand::random::<u128>());
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// `count` random lower-case letters and digits.
pub(super) fn random_letters(count: usize) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    (0..count).map(|_| char::from(LETTERS[usize::from(rand::random::<u8>() % 32)])).collect()
}

/// Seconds since 1970.
pub(super) fn seconds() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default()
}
