//! Room for a message that arrives in pieces.
//!
//! Comes in: the octets that a connection holds of it, and those that it has to hold for the next step. Goes out:
//! leave to read on. A small one needs none, as in AMQP; for larger ones the broker has a share of memory, which all
//! connections have in turn.
//! Does not know about frames.

use crate::limits::bodies::{Bodies, Leave, Place, SMALL};
use crate::limits::waiter::Waiter;
use std::sync::Arc;

/// The room of one connection.
#[derive(Default)]
pub struct Arriving(Option<Box<Room>>);

#[derive(Default)]
struct Room {
    place: Option<Place>,
    leave: Option<(u64, Leave)>,
}

/// The state of a message that isn't whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum May {
    /// Its octets may be read.
    Read,
    /// Not yet: others have the room.
    Wait,
    /// It had its time, and others wait.
    End,
}

impl Arriving {
    /// Asks for room: `has` octets are there, `needs` have to be. `most` is as large as a message may be.
    pub fn ask<W: Waiter + 'static>(
        &mut self,
        (has, needs, most): (usize, usize, usize),
        bodies: &Arc<Bodies>,
        owner: &Arc<W>,
    ) -> May {
        let needs = needs.max(has) as u64;
        if needs <= SMALL {
            self.0 = None;
            return May::Read;
        }
        let room = self.0.get_or_insert_default();
        if let Some((size, leave)) = &room.leave {
            leave.arrived(has);
            if leave.is_overdue() {
                return May::End;
            }
            if needs <= *size {
                return May::Read;
            }
        }
        // One that has grown may become as large as any.
        let size = match room.leave.take() {
            None => needs,
            Some(_) => needs.max(most as u64),
        };
        match bodies.ask(size, owner, &mut room.place) {
            Some(leave) => {
                room.leave = Some((size, leave));
                May::Read
            }
            None => May::Wait,
        }
    }
}
