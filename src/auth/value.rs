//! The form of a static token's value: `p.ey..`, so that clients mask it, and a last part that is hard to guess.
//!
//! In: a token's content and randomness. Out: the value. Its last part ends in a checksum, by which a scanner of
//! texts can tell a leaked token from a look-alike without asking anybody.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

const CHECKSUM: usize = 4;

/// A value with 256 random bits. `content` is JSON that everybody may read.
pub fn token_value(content: &str, random: [u8; 32]) -> String {
    let content = BASE64_URL_SAFE_NO_PAD.encode(content);
    let last = [&random[..], &checksum(&content, &random)].concat();
    format!("p.{content}.{}", BASE64_URL_SAFE_NO_PAD.encode(last))
}

/// Whether a text is a value that [`token_value`] could have made.
pub fn is_token_value(text: &str) -> bool {
    let parts = text.strip_prefix("p.").and_then(|it| it.split_once('.'));
    let Some((content, last)) = parts else { return false };
    let Ok(last) = BASE64_URL_SAFE_NO_PAD.decode(last) else { return false };
    last.len() == 32 + CHECKSUM && last[32..] == checksum(content, &last[..32])
}

fn checksum(content: &str, random: &[u8]) -> [u8; CHECKSUM] {
    let digest = Sha256::new().chain_update(b"token\0").chain_update(content).chain_update(random).finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_by_its_checksum() {
        let value = token_value(r#"{"u":"w","id":"1","host":null}"#, [7; 32]);
        assert!(value.starts_with("p.ey") && is_token_value(&value));
        assert_ne!(value, token_value(r#"{"u":"w","id":"1","host":null}"#, [8; 32]));
        for at in 2..value.len() {
            let other = if value.as_bytes()[at] == b'A' { "B" } else { "A" };
            let mut wrong = value.clone();
            wrong.replace_range(at..=at, other);
            assert!(!is_token_value(&wrong), "{at}");
        }
    }
}
