//! The key of a data directory: finds tokens without keeping them readable, and seals what must be kept.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chacha20poly1305::{
    XChaCha20Poly1305,
    aead::{Aead, KeyInit, Payload},
};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;

const NONCE: usize = 24;

/// 32 random bytes, from which one key for each use is derived.
#[derive(Clone)]
pub(super) struct Key {
    root: [u8; 32],
}

impl Key {
    pub(super) fn random() -> Key {
        Key { root: rand::random() }
    }

    pub(super) fn parse(text: &str) -> Option<Key> {
        let root = BASE64_URL_SAFE_NO_PAD.decode(text.trim()).ok()?.try_into().ok()?;
        Some(Key { root })
    }

    pub(super) fn print(&self) -> String {
        format!("{}\n", BASE64_URL_SAFE_NO_PAD.encode(self.root))
    }

    /// The key that finds tokens: it can be kept without the key that opens secrets.
    pub(super) fn lookup(&self) -> TokenLookup {
        TokenLookup(self.derive(b"token lookup"))
    }

    /// Seals a text for one purpose: it opens for the same purpose only, so that records cannot be swapped.
    pub(super) fn seal(&self, purpose: &str, text: &str) -> Vec<u8> {
        let nonce: [u8; NONCE] = rand::random();
        let payload = Payload { msg: text.as_bytes(), aad: purpose.as_bytes() };
        let sealed = self.cipher().encrypt(&nonce.into(), payload).expect("a text in memory is not too long to seal");
        [&nonce[..], &sealed].concat()
    }

    /// `None` when the key is another one, or the text was not sealed for this purpose.
    pub(super) fn open(&self, purpose: &str, sealed: &[u8]) -> Option<String> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE)?;
        let nonce: [u8; NONCE] = nonce.try_into().ok()?;
        let text = self.cipher().decrypt(&nonce.into(), Payload { msg: sealed, aad: purpose.as_bytes() }).ok()?;
        String::from_utf8(text).ok()
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.derive(b"secrets").into())
    }

    fn derive(&self, purpose: &[u8]) -> [u8; 32] {
        keyed_hash(&self.root, purpose)
    }
}

/// Turns token values into what they are found by. Who compares two of these learns nothing of a value, so
/// that a map of them leaks nothing by its timing.
#[derive(Clone)]
pub struct TokenLookup([u8; 32]);

impl TokenLookup {
    pub fn hash(&self, value: &str) -> [u8; 32] {
        keyed_hash(&self.0, value.as_bytes())
    }
}

fn keyed_hash(key: &[u8; 32], text: &[u8]) -> [u8; 32] {
    let mut hmac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    hmac.update(text);
    hmac.finalize().into_bytes().into()
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl fmt::Debug for TokenLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenLookup")
    }
}
