//! Bodies of requests, read: how large, how slowly, how many at a time.
//!
//! Comes in: a body that may never end. Goes out: its bytes, counted as memory until they are dropped; or a refusal. A
//! body is only read for who has logged in: handlers name `Login` before `Input`; but for the short one that a login
//! comes in. Does not know what is in it.

use super::body::{self, values};
use super::error::{Failure, Result};
use super::login::{Gate, Open};
use super::patience::Times;
use super::room::COPIES;
use super::state::Admin;
use crate::limits::held::{Held, Holding};
use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, Request};
use http_body_util::BodyExt;
use std::ops::Deref;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

/// A body that needs no room, bytes.
const SMALL: usize = 16 << 10;
/// Memory of a value once it is parsed, bytes; and of one whose place is known.
const VALUE: usize = 128;
const TYPED: usize = 64;

/// A body that is a document of definitions: it may have more values.
pub struct Definitions(pub Input);

/// A short body, of somebody who hasn't logged in.
pub struct Short(Input);

impl Deref for Short {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// The body of a request.
pub struct Input {
    bytes: Vec<u8>,
    _held: Held,
    _room: Option<OwnedSemaphorePermit>,
}

impl Deref for Input {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl FromRequest<Gate> for Input {
    type Rejection = Failure;

    async fn from_request(request: Request, gate: &Gate) -> Result<Self> {
        let (mut parts, body) = request.into_parts();
        let Open(admin) = Open::from_request_parts(&mut parts, gate).await?;
        read(&admin, body, admin.room.largest, body::VALUES * VALUE).await
    }
}

impl FromRequest<Gate> for Definitions {
    type Rejection = Failure;

    async fn from_request(request: Request, gate: &Gate) -> Result<Self> {
        let (mut parts, body) = request.into_parts();
        let Open(admin) = Open::from_request_parts(&mut parts, gate).await?;
        let (largest, values) = (admin.room.largest, admin.room.values());
        read(&admin, body, largest, values * TYPED).await.map(Self)
    }
}

impl FromRequest<Gate> for Short {
    type Rejection = Failure;

    async fn from_request(request: Request, gate: &Gate) -> Result<Self> {
        let (mut parts, body) = request.into_parts();
        let Open(admin) = Open::from_request_parts(&mut parts, gate).await?;
        read(&admin, body, SMALL, SMALL).await.map(Self)
    }
}

/// Reads a body. Nobody holds room while waiting for more of it, so that all get their turn.
/// It has so many bytes at most; `parsed`: memory that it takes at most once it is parsed, bytes.
async fn read(admin: &Admin, mut body: Body, largest: usize, parsed: usize) -> Result<Input> {
    let announced = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    let most = announced.unwrap_or(largest);
    if most > largest {
        return Err(Failure::TooLarge(largest as u64));
    }
    let mut room = match most {
        0..=SMALL => None,
        most => Some(admin.room.take(COPIES * most).await?),
    };
    let mut held = admin.node.memory.hold(Holding::Replies, 0);
    let began = Instant::now();
    let mut bytes = Vec::new();
    loop {
        // The time of a body is that of its bytes so far: one that drips is cut off.
        let until = began + Times::USUAL.of(bytes.len() as u64);
        let frame = match timeout_at(until, body.frame()).await {
            Err(_) => return Err(Failure::Slow),
            Ok(None) => break,
            Ok(Some(Err(error))) => return Err(Failure::BadRequest(format!("the body was broken off: {error}"))),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > most {
            return Err(Failure::TooLarge(largest as u64));
        }
        bytes.extend_from_slice(&data);
        held.set(bytes.capacity() as u64);
    }
    // More than that are refused before they are parsed.
    let parsed = bytes.len() + (values(&bytes) * VALUE).min(parsed);
    if parsed > COPIES * most.max(SMALL) {
        drop(room.take());
        room = Some(admin.room.take(parsed).await?);
    }
    held.set(parsed as u64);
    Ok(Input {
        bytes,
        _held: held,
        _room: room,
    })
}
