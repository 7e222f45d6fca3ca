//! Octets received after the handshake, up to whole messages and commands.
//!
//! Comes in: the buffer that a connection reads into. Goes out: everything whole at its start, in one piece, judged.
//! Lengths are compared with the limits as soon as they are announced, before their octets are there.
//! Does not know what a message means.

use bytes::BytesMut;

use crate::batch::Batch;
use crate::curve::messages::{OVERHEAD, Opener};
use crate::error::Error;
use crate::frame;
use crate::limits::Limits;

/// Frames up to whole messages.
mod scan;

use scan::Scan;

/// The receiving direction of a connection after its handshake.
#[derive(Debug)]
pub struct Decoder {
    scan: Scan,
    subscriptions: bool,
    boxed: Option<Box<Boxed>>,
}

/// The part that CURVE needs.
#[derive(Debug)]
struct Boxed {
    opener: Opener,
    /// Frames that were opened and are no whole message yet.
    plain: BytesMut,
    /// The fault of the box behind them.
    fault: Option<Error>,
    /// Octets that the frame at the start of the buffer has.
    wanted: usize,
}

impl Decoder {
    /// Without boxes. `subscriptions`: messages that begin with 01 or 00 are subscriptions.
    pub(crate) fn plain(limits: Limits, subscriptions: bool) -> Self {
        Self {
            scan: Scan::new(limits),
            subscriptions,
            boxed: None,
        }
    }

    /// With boxes.
    pub(crate) fn boxed(limits: Limits, subscriptions: bool, opener: Opener) -> Self {
        let boxed = Boxed {
            opener,
            plain: BytesMut::new(),
            fault: None,
            wanted: 0,
        };
        Self {
            boxed: Some(Box::new(boxed)),
            ..Self::plain(limits, subscriptions)
        }
    }

    /// Takes all whole messages and commands from the start of `buffer`; an empty batch if there are none. Nothing of
    /// them is copied.
    ///
    /// # Errors
    /// Anything that a peer can do wrong; it is told only when everything before it has been taken, so call this until
    /// a batch is empty. There is no way on after an error.
    pub fn take(&mut self, buffer: &mut BytesMut) -> Result<Batch, Error> {
        let Some(boxed) = &mut self.boxed else {
            let (early, octets) = self.scan.take(buffer)?;
            return Ok(Batch::new(early, octets, self.subscriptions));
        };
        let fault = boxed.open(buffer, &self.scan);
        let (early, octets) = self.scan.take(&mut boxed.plain)?;
        let batch = Batch::new(early, octets, self.subscriptions);
        boxed.let_go(&batch);
        match fault {
            Some(fault) if batch.is_empty() => Err(fault),
            _ => Ok(batch),
        }
    }

    /// Octets that the buffer has to hold for the next frame to be whole, as far as it is known: for a caller that
    /// wants to make room for a long one at once. Never more than the limits allow, and a few octets.
    #[must_use]
    pub fn wanted(&self) -> usize {
        self.boxed.as_ref().map_or(self.scan.wanted(), |boxed| boxed.wanted)
    }

    /// Octets that are kept here instead of in the caller's buffer: under CURVE, the frames of a message that isn't
    /// whole.
    #[must_use]
    pub fn held(&self) -> usize {
        self.boxed.as_ref().map_or(0, |boxed| boxed.plain.capacity())
    }
}

impl Boxed {
    /// The beginning of a message is not to keep the memory of all that came before it.
    fn let_go(&mut self, batch: &Batch) {
        if self.plain.is_empty() {
            self.plain = BytesMut::new();
        } else if !batch.is_empty() {
            self.plain = BytesMut::from(self.plain.as_ref());
        }
    }

    /// Opens all whole frames at the start of `buffer`. Gives what is wrong with the first that can't be opened.
    fn open(&mut self, buffer: &mut BytesMut, scan: &Scan) -> Option<Error> {
        if self.fault.is_some() {
            return self.fault.clone();
        }
        let (whole, ahead) = self.whole(buffer, scan);
        if whole > 0 {
            let mut octets = buffer.split_to(whole);
            let (opened, fault) = self.opener.open(&mut octets);
            octets.truncate(opened);
            match self.plain.is_empty() {
                true => self.plain = octets,
                false => self.plain.extend_from_slice(&octets),
            }
            self.fault = fault;
        }
        self.fault.clone().or(ahead)
    }

    /// Octets of the whole frames at the start; and what is wrong with the frame behind them.
    fn whole(&mut self, buffer: &[u8], scan: &Scan) -> (usize, Option<Error>) {
        let mut at = 0;
        loop {
            let rest = buffer.get(at..).unwrap_or_default();
            let head = match frame::head(rest) {
                Ok(Some(head)) => head,
                Ok(None) => {
                    self.wanted = 0;
                    return (at, None);
                }
                Err(error) => return (at, Some(error)),
            };
            // A box may hold a command, and then it may be longer than a message may: which it is can't be seen yet.
            if let Err(error) = scan.judge_box(head.body_len.saturating_sub(OVERHEAD as u64)) {
                return (at, Some(error));
            }
            if rest.len() < head.wire_len() {
                self.wanted = head.wire_len();
                return (at, None);
            }
            at += head.wire_len();
        }
    }
}
