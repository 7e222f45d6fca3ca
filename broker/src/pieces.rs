//! A document that is written in pieces, so that a long one is never in memory as a whole.
//!
//! Comes in: bytes, in order. Goes out: a piece whenever enough has come together, to whoever takes them; the whole
//! where nobody does. Does not know what is written, or where it goes.

use std::io;

/// Size of a piece, bytes; what is written at a time comes on top.
pub const PIECE: usize = 64 << 10;

/// The taker of a document's pieces.
pub trait Outlet: Send {
    /// Takes a piece; returns when there is room for another. False if no more are wanted.
    fn take(&mut self, piece: Vec<u8>) -> bool;
}

/// A document that is being written.
#[derive(Default)]
pub struct Pieces {
    buffer: Vec<u8>,
    outlet: Option<Box<dyn Outlet>>,
    closed: bool,
}

impl Pieces {
    /// A document that stays in one piece.
    pub fn whole() -> Self {
        Self::default()
    }

    /// A document whose pieces go here.
    pub fn to(outlet: Box<dyn Outlet>) -> Self {
        Self {
            outlet: Some(outlet),
            ..Self::default()
        }
    }

    /// Writes a byte.
    pub fn push(&mut self, byte: u8) {
        self.buffer.push(byte);
    }

    /// Writes some bytes.
    pub fn put(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Passes on what has been written, if that is a piece. To be called between the parts of a long document: what a
    /// caller writes between two calls is in memory at once.
    pub fn pause(&mut self) {
        if self.buffer.len() < PIECE {
            return;
        }
        let Some(outlet) = &mut self.outlet else { return };
        if self.closed {
            self.buffer.clear();
            return;
        }
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE));
        self.closed = !outlet.take(piece);
    }

    /// True if nobody reads on: a long document may end here.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The bytes since the last piece.
    pub fn into_rest(self) -> Vec<u8> {
        self.buffer
    }
}

/// Formatted text. Nothing fails: bytes that nobody wants are dropped.
impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::sync::Arc;

    struct Taker(Arc<Mutex<Vec<usize>>>);

    impl Outlet for Taker {
        fn take(&mut self, piece: Vec<u8>) -> bool {
            self.0.lock().push(piece.len());
            self.0.lock().len() < 2
        }
    }

    #[test]
    fn a_long_document_is_never_held_as_a_whole() {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let mut pieces = Pieces::to(Box::new(Taker(taken.clone())));
        for _ in 0..PIECE {
            pieces.put(b"abc");
            pieces.pause();
        }
        assert!(pieces.is_closed(), "the taker wants two");
        assert!(taken.lock().iter().all(|len| *len < PIECE + 3), "{:?}", taken.lock());
        assert!(pieces.into_rest().len() < PIECE + 3);
        let mut whole = Pieces::whole();
        for _ in 0..PIECE {
            whole.put(b"abc");
            whole.pause();
        }
        assert_eq!(whole.into_rest().len(), 3 * PIECE);
    }
}
