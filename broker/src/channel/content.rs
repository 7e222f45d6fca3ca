//! The frames that follow basic.publish, gathered into a message.
//!
//! Comes in: a method, then a header, then body frames, as they were read. Goes out: a whole message. A message that
//! lies in one piece in the read buffer doesn't pass here: `connection/cut.rs` cuts it out where it is.

use crate::error::{Error, Result};
use crate::limits::bodies::Leave;
use crate::message::{BASIC, Growing, Message};
use leveret_amqp::properties::raw;
use leveret_amqp::{PublishView, parse_header};
use std::sync::Arc;

/// Bytes of a body above which RabbitMQ takes a header for a broken one.
const BODY_SIZE_MAX: u64 = 512 * 1024 * 1024;

/// The part of a message that has arrived.
#[derive(Default)]
pub enum Content {
    /// Nothing: a method is expected.
    #[default]
    None,
    /// basic.publish: its header is expected.
    Publish(Publish),
    /// Method and header: the rest of the body is expected.
    Body(Box<Body>),
}

/// The arguments of basic.publish.
pub struct Publish {
    exchange: Box<[u8]>,
    routing_key: Box<[u8]>,
    /// True if the message must be returned if no queue gets it.
    pub mandatory: bool,
}

/// A message without all of its body.
pub struct Body {
    message: Growing,
    mandatory: bool,
    arriving: Option<Arriving>,
}

/// Room for a body until it is whole, or is given up.
pub struct Arriving {
    leave: Leave,
    _unfinished: Arc<()>,
}

impl Arriving {
    /// With leave to receive it. `unfinished` is shared by all bodies of the connection.
    pub fn new(leave: Leave, unfinished: Arc<()>) -> Self {
        Self {
            leave,
            _unfinished: unfinished,
        }
    }
}

impl From<PublishView<'_>> for Publish {
    fn from(view: PublishView<'_>) -> Self {
        Self {
            exchange: view.exchange.into(),
            routing_key: view.routing_key.into(),
            mandatory: view.mandatory,
        }
    }
}

/// Checks a content header; gives its properties and the size of the body.
///
/// # Errors
/// 501 malformed or absurdly large, 505 of another class, 406 larger than `max_size` bytes.
pub fn check_header(payload: &[u8], max_size: u64) -> Result<(&[u8], usize)> {
    let header = parse_header(payload)?;
    if header.class_id != BASIC {
        let text = format!(
            "expected content header for class {BASIC}, got one for class {} instead",
            header.class_id
        );
        return Err(Error::UnexpectedFrame(text.into()));
    }
    if raw::validate(header.properties).is_err() {
        return Err(Error::Frame("content header with malformed properties".into()));
    }
    if header.body_size > BODY_SIZE_MAX {
        let text = format!(
            "content body size {} exceeds maximum allowed size {BODY_SIZE_MAX}",
            header.body_size
        );
        return Err(Error::Frame(text.into()));
    }
    if header.body_size > max_size {
        let text = format!(
            "message size {} is larger than configured max size {max_size}",
            header.body_size
        );
        return Err(Error::Precondition(text.into()));
    }
    Ok((header.properties, header.body_size as usize))
}

impl Content {
    /// True if a method may come now.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// RabbitMQ's text about any other frame than the one that is due.
    pub fn expected(&self) -> &'static str {
        match self {
            Self::None => "expected method frame, got non method frame instead",
            Self::Publish(_) => "expected content header for class 60, got non content header frame instead",
            Self::Body(..) => "expected content body, got non content body frame instead",
        }
    }

    /// True if its body has had its time, and others wait to send theirs.
    pub fn is_overdue(&self) -> bool {
        match self {
            Self::Body(body) => body
                .arriving
                .as_ref()
                .is_some_and(|arriving| arriving.leave.is_overdue()),
            _ => false,
        }
    }

    /// The size of the body that a header announces, if one is due.
    ///
    /// # Errors
    /// Those of [`check_header`].
    pub fn announced(&self, payload: &[u8], max_size: u64) -> Result<usize> {
        match self {
            Self::Publish(_) => check_header(payload, max_size).map(|(_, body_size)| body_size),
            _ => Ok(0),
        }
    }

    /// A content header has arrived, and there is room for the body. Gives the message if it has none.
    ///
    /// # Errors
    /// 505 if none was expected, and those of [`check_header`].
    pub fn header(
        &mut self,
        payload: &[u8],
        max_size: u64,
        arriving: Option<Arriving>,
    ) -> Result<Option<(Message, bool)>> {
        match std::mem::take(self) {
            Self::Publish(publish) => {
                let (properties, body_size) = check_header(payload, max_size)?;
                let (exchange, key) = (&publish.exchange, &publish.routing_key);
                let message = Growing::new(exchange, key, properties, body_size);
                if body_size == 0 {
                    return Ok(Some((message.finish(), publish.mandatory)));
                }
                *self = Self::Body(Box::new(Body {
                    message,
                    mandatory: publish.mandatory,
                    arriving,
                }));
                Ok(None)
            }
            other => Err(Error::UnexpectedFrame(other.expected().into())),
        }
    }

    /// A piece of body has arrived. Gives the message when it is whole.
    ///
    /// # Errors
    /// 505 if none was expected, 501 if there is more than the header announced.
    pub fn body(&mut self, payload: &[u8]) -> Result<Option<(Message, bool)>> {
        let Self::Body(body) = self else {
            return Err(Error::UnexpectedFrame(self.expected().into()));
        };
        if payload.len() > body.message.missing() {
            return Err(Error::Frame("content body frame exceeds remaining content size".into()));
        }
        body.message.push(payload);
        if body.message.missing() > 0 {
            if let Some(arriving) = &body.arriving {
                arriving.leave.arrived(body.message.body_len());
            }
            return Ok(None);
        }
        let Self::Body(body) = std::mem::take(self) else {
            return Ok(None);
        };
        Ok(Some((body.message.finish(), body.mandatory)))
    }
}
