//! Commands of a handshake, one frame each, under a limit of their own.
//!
//! Comes in: the octets read so far, or a command's data. Goes out: the data of the first command, or a frame.
//! Does not know which command is due.

use bytes::{Buf, Bytes, BytesMut};

use crate::command;
use crate::error::Error;
use crate::frame::{self, COMMAND};
use crate::greeting::{GREETING_LEN, Greeting};
use crate::mechanism::Mechanism;

/// The name of ERROR, with its length, as libzmq writes and expects it under PLAIN: its source says `"\x05ERROR"`, and
/// C++ takes the E for the third digit of the escape.
const LIBZMQ_PLAIN_ERROR: &[u8] = b"\x5eRROR";

/// Takes the peer's greeting, if it is all there, and judges its mechanism. Gives the minor version that is spoken.
pub(crate) fn take_greeting(input: &mut BytesMut, ours: Mechanism) -> Result<Option<u8>, Error> {
    let Some(greeting) = Greeting::parse(input)? else {
        return Ok(None);
    };
    input.advance(GREETING_LEN);
    greeting.require(ours)?;
    Ok(Some(greeting.agreed_minor()))
}

/// Takes the first command, if it is all there: its data, if it is the one that is due.
///
/// # Errors
/// [`Error::Refused`] if it is an ERROR, and all that can be wrong with it.
pub(crate) fn take(input: &mut BytesMut, wanted: &'static str, most: usize) -> Result<Option<Bytes>, Error> {
    let Some(head) = frame::head(input)? else {
        return Ok(None);
    };
    if !head.is_command() {
        let found = "a message".to_owned();
        return Err(Error::Unexpected { wanted, found });
    }
    if head.body_len > most as u64 {
        return Err(Error::CommandTooLong {
            announced: head.body_len,
            most,
        });
    }
    if input.len() < head.wire_len() {
        return Ok(None);
    }
    let frame = input.split_to(head.wire_len()).freeze();
    let body = frame.get(head.head_len..).unwrap_or_default();
    match command::split(body) {
        Some((name, data)) if name == wanted.as_bytes() => Ok(Some(frame.slice_ref(data))),
        Some((b"ERROR", data)) => Err(Error::Refused(shown(command::reason(data)?))),
        Some((name, _)) => Err(Error::Unexpected {
            wanted,
            found: shown(name),
        }),
        None => match body.strip_prefix(LIBZMQ_PLAIN_ERROR) {
            Some(data) => Err(Error::Refused(shown(command::reason(data)?))),
            None => Err(Error::Malformed("without a name")),
        },
    }
}

/// A peer's text, as it may stand in a log.
fn shown(octets: &[u8]) -> String {
    octets.escape_ascii().to_string()
}

/// Appends a command whose data `data` appends.
pub(crate) fn put<T>(out: &mut Vec<u8>, name: &str, data: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut body = vec![u8::try_from(name.len()).unwrap_or(u8::MAX)];
    body.extend_from_slice(name.as_bytes());
    let value = data(&mut body);
    frame::put_frame(out, COMMAND, &body);
    value
}

/// Appends a command whose data `data` appends, if it can: otherwise nothing.
pub(crate) fn put_or<T>(
    out: &mut Vec<u8>,
    name: &str,
    data: impl FnOnce(&mut Vec<u8>) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut frame = Vec::new();
    let value = put(&mut frame, name, data)?;
    out.extend_from_slice(&frame);
    Ok(value)
}

/// Appends an ERROR under PLAIN with a status of three digits, in libzmq's form. In the form of RFC 24 its clients, and
/// those of all languages that are built on it, would report a violation of the protocol instead of a wrong password.
pub(crate) fn put_plain_status(out: &mut Vec<u8>, status: &str) {
    let mut body = LIBZMQ_PLAIN_ERROR.to_vec();
    body.push(u8::try_from(status.len()).unwrap_or(u8::MAX));
    body.extend_from_slice(status.as_bytes());
    frame::put_frame(out, COMMAND, &body);
}

/// Appends an ERROR. A reason has printable characters of ASCII only, and 255 at most.
pub(crate) fn put_error(out: &mut Vec<u8>, reason: &str) {
    let printable = |character: char| {
        if (' '..='~').contains(&character) {
            character
        } else {
            '?'
        }
    };
    let reason: String = reason.chars().take(255).map(printable).collect();
    put(out, "ERROR", |out| {
        out.push(u8::try_from(reason.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(reason.as_bytes());
    });
}
