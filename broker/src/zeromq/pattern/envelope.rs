//! The envelope of a request: the frames that its sender wants to have back before the reply.
//!
//! Comes in: the frames of a request. Goes out: its envelope, which ends with the first empty frame, and its body. A
//! request without an empty frame has no envelope (RFC 28). Pure.

/// Octets of an envelope, at most: addresses of a few sockets on the way.
const LONGEST: usize = 2048;
/// Octets of a frame's length in what is kept.
const LENGTH: usize = 2;

/// Frames of an envelope, the empty one included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// None.
    None,
    /// The empty frame alone: what REQ sends.
    Delimiter,
    /// More frames, each behind its length.
    Frames(Box<[u8]>),
}

/// Takes envelope and body apart. `None` if the envelope is longer than any should be.
pub fn split<'a, I>(mut parts: I) -> Option<(Envelope, I)>
where
    I: Iterator<Item = &'a [u8]> + Clone,
{
    let all = parts.clone();
    match all.clone().position(<[u8]>::is_empty) {
        None => Some((Envelope::None, all)),
        Some(0) => {
            parts.next();
            Some((Envelope::Delimiter, parts))
        }
        Some(at) => {
            let mut frames = Vec::new();
            for frame in parts.by_ref().take(at + 1) {
                if frames.len() + LENGTH + frame.len() > LONGEST {
                    return None;
                }
                frames.extend_from_slice(&(frame.len() as u16).to_be_bytes());
                frames.extend_from_slice(frame);
            }
            Some((Envelope::Frames(frames.into()), parts))
        }
    }
}

impl Envelope {
    /// Octets that it takes beside itself.
    pub fn octets(&self) -> usize {
        match self {
            Self::None | Self::Delimiter => 0,
            Self::Frames(frames) => frames.len(),
        }
    }

    /// Its frames.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        let (mut rest, delimiter) = match self {
            Self::None => (&[][..], None),
            Self::Delimiter => (&[][..], Some(&[][..])),
            Self::Frames(frames) => (&frames[..], None),
        };
        let kept = std::iter::from_fn(move || {
            let (length, frames) = rest.split_first_chunk::<LENGTH>()?;
            let (frame, others) = frames.split_at_checked(u16::from_be_bytes(*length).into())?;
            rest = others;
            Some(frame)
        });
        kept.chain(delimiter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_envelope_and_its_body_are_the_request(
            frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..4), 1..8),
        ) {
            let parts = frames.iter().map(|frame| &frame[..]);
            let (envelope, body) = split(parts.clone()).expect("short");
            let all: Vec<&[u8]> = envelope.frames().chain(body.clone()).collect();
            prop_assert_eq!(&all, &parts.collect::<Vec<_>>());
            let empty = frames.iter().position(Vec::is_empty);
            prop_assert_eq!(envelope.frames().count(), empty.map_or(0, |at| at + 1));
            prop_assert_eq!(envelope == Envelope::None, empty.is_none());
        }
    }

    #[test]
    fn an_envelope_without_end_is_refused() {
        let frame = [1; 255];
        let long = std::iter::repeat_n(&frame[..], 9).chain([&[][..], b"body"]);
        assert!(split(long).is_none());
        let fits = std::iter::repeat_n(&frame[..], 7).chain([&[][..], b"body"]);
        assert_eq!(split(fits).map(|(_, body)| body.count()), Some(1));
    }
}
