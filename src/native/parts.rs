//! Bytes on their way out, in pieces, so that large ones are not copied together.

use bytes::Bytes;

/// What is shorter is copied behind what comes before it: a piece has its price too.
const LARGE: usize = 16 << 10;

#[derive(Debug, Default)]
pub(super) struct Parts {
    done: Vec<Bytes>,
    open: Vec<u8>,
}

impl Parts {
    /// Where small things are appended.
    pub(super) fn small(&mut self) -> &mut Vec<u8> {
        &mut self.open
    }

    pub(super) fn push(&mut self, bytes: Vec<u8>) {
        if bytes.len() < LARGE {
            self.open.extend_from_slice(&bytes);
            return;
        }
        self.close();
        self.done.push(bytes.into());
    }

    pub(super) fn finish(mut self) -> Vec<Bytes> {
        self.close();
        self.done
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.done.push(std::mem::take(&mut self.open).into());
        }
    }
}
