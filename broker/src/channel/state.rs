//! The state of a channel, and the things that its connection lends it.
//!
//! The files of this folder with methods on `Channel` import it; it imports those that hold a part of the state.

use super::content::Content;
use super::deliver::Deliveries;
use super::replies::Replies;
use super::sources::Sources;
use super::tap::{self, Tap};
use super::uncommitted::Uncommitted;
use crate::access::Actor;
use crate::clients::{ChannelInfo, ConnectionInfo};
use crate::error::{Error, Result};
use crate::limits::{Quota, Reached};
use crate::message::Message;
use crate::node::Node;
use crate::outbox::{Outbox, Work};
use crate::publish::Publishing;
use crate::publish::confirm::Confirms;
use crate::queue::Queue;
use crate::queue::consumers::ChannelId;
use crate::vhost::Vhost;
use crate::vhost::route::Route;
use leveret_amqp::{Method, ShortString, put_method_frame};
use leveret_store::Lsn;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes of a channel, roughly.
const CHANNEL: u64 = 2048;

/// The client at the other end, as its channels see it. Doesn't change while the connection lasts.
pub struct Peer {
    /// The user that it acts for, with the number of the connection.
    pub actor: Actor,
    /// Everything that connections share.
    pub node: Arc<Node>,
    /// Its vhost.
    pub vhost: Arc<Vhost>,
    /// Bytes that wait to be written to it.
    pub outbox: Arc<Outbox>,
    /// Largest frame that was agreed, bytes; 0 is no limit.
    pub frame_max: u32,
    /// True if it understands basic.cancel from the broker.
    pub cancel_notify: bool,
    /// For the HTTP API.
    pub info: Arc<ConnectionInfo>,
}

/// The tools of one connection, for all of its channels, while it goes through a batch of frames.
#[derive(Default)]
pub struct Turn {
    /// Records and wake-ups.
    pub work: Work,
    /// Messages on their way to queues.
    pub publisher: Publishing,
    /// Replies that wait for the log.
    pub replies: Replies,
}

impl Turn {
    /// Some time has gone by: gives up what a client that does nothing doesn't need.
    pub fn rest(&mut self) {
        self.work.rest();
        self.publisher.rest();
    }
}

/// One channel.
pub struct Channel {
    /// Its number.
    pub number: u16,
    /// Its delivering side.
    pub deliveries: Arc<Deliveries>,
    /// The message that is being received.
    pub content: Content,
    /// Publisher confirms, after confirm.select.
    pub confirms: Option<Box<Confirms>>,
    /// Messages and settlements held until tx.commit, after tx.select. Never beside confirms.
    pub transaction: Option<Box<Uncommitted>>,
    /// Consumers by tag, and some that have ended with their queues.
    pub consumers: HashMap<ShortString, Consuming>,
    /// The number of those at which the ones that have ended are looked for.
    pub look_at: usize,
    /// Origins of deliveries.
    pub sources: Sources,
    /// The queue of direct replies, if a consumer waits for them.
    pub direct_reply: Option<Box<DirectReply>>,
    /// The queue that an empty name stands for.
    pub last_queue: ShortString,
    /// Prefetch count of consumers to come; 0 is no limit.
    pub prefetch: u16,
    /// The broker has closed it: everything but channel.close-ok is ignored.
    pub closing: bool,
    /// For the HTTP API.
    pub info: Arc<ChannelInfo>,
}

/// The replies that a channel waits for (see `channel/direct_reply.rs`).
pub struct DirectReply {
    /// Tag of the consumer that gets them.
    pub consumer_tag: ShortString,
    /// Name of the queue that they go through.
    pub name: ShortString,
}

/// A consumer of this channel.
pub struct Consuming {
    /// Its number.
    pub id: u64,
    /// Its queue.
    pub queue: Arc<Queue>,
    /// Its number at [`Deliveries`].
    pub source: u32,
}

impl Channel {
    /// The things to tell of deliveries from a queue, while tracing is on.
    pub fn tap(&self, peer: &Peer, queue: &Queue) -> Tap {
        Tap {
            vhost: peer.vhost.clone(),
            node: peer.node.clone(),
            client: peer.info.clone(),
            channel: self.number,
            queue: queue.name().clone(),
        }
    }

    /// Tells of a message that goes along `route`, if tracing is on.
    #[inline]
    pub fn trace(&self, peer: &Peer, message: &Message, route: &Route, work: &mut Work) {
        if peer.vhost.is_traced() {
            tap::published(&peer.vhost, (&peer.node, &peer.info, self.number), message, route, work);
        }
    }

    /// An open channel.
    ///
    /// # Errors
    /// 530 if the broker, or the user, has as many as it may have; 506 if memory is full. The first channel of a
    /// connection is opened in any case: consumers that free memory need it.
    pub fn new(number: u16, peer: &Peer) -> Result<Self> {
        if !peer.info.channels.lock().is_empty() {
            let room = peer.node.memory.admit(CHANNEL);
            room.map_err(|full| Error::NoRoom(format!("no further channel is opened: {full}").into()))?;
        }
        let of_user = peer.info.of_user.hold(Quota::Channels);
        let of_user = of_user.map_err(|Reached(most)| Error::TooManyChannelsOfUser {
            user: peer.actor.user.clone(),
            most,
        })?;
        let counted = peer.node.quotas.hold(Quota::Channels);
        let counted = counted.map_err(|Reached(most)| Error::TooManyChannelsOfNode {
            node: peer.node.name.clone(),
            most,
        })?;
        let deliveries = Arc::new(Deliveries::new(peer.outbox.clone(), number, peer.frame_max));
        let info = Arc::new(ChannelInfo::new(
            number,
            deliveries.figures().clone(),
            [of_user, counted],
        ));
        peer.info.channels.lock().insert(number, info.clone());
        Ok(Self {
            number,
            deliveries,
            content: Content::default(),
            confirms: None,
            transaction: None,
            consumers: HashMap::new(),
            look_at: 0,
            sources: Sources::default(),
            direct_reply: None,
            last_queue: ShortString::new(),
            prefetch: 0,
            closing: false,
            info,
        })
    }

    /// Its name among all channels of the broker.
    pub fn id(&self, peer: &Peer) -> ChannelId {
        ChannelId {
            connection: peer.info.id,
            number: self.number,
        }
    }

    /// Replies at once, or once what was asked before is durable.
    pub fn reply(&self, peer: &Peer, turn: &mut Turn, method: impl Into<Method>) {
        self.reply_when(peer, turn, None, method);
    }

    /// Replies once the log is durable up to `lsn`, and after everything else that waits on this channel.
    pub fn reply_when(&self, peer: &Peer, turn: &mut Turn, lsn: Option<Lsn>, method: impl Into<Method>) {
        let method = method.into();
        let durable = peer.vhost.log().durable();
        let lsn = lsn.filter(|lsn| *lsn > durable);
        if let Some(lsn) = lsn.or_else(|| turn.replies.last_of(self.number)) {
            turn.replies
                .push(lsn, self.number, |out| put_method_frame(out, self.number, &method));
        } else {
            peer.outbox.append(&mut turn.work.wakes, |out| {
                put_method_frame(out.encoded(), self.number, &method);
            });
        }
    }

    /// The queue that a method means: the name, or the last one declared.
    pub fn queue_name(&self, name: &ShortString) -> Result<ShortString> {
        match (name.is_empty(), self.last_queue.is_empty()) {
            (false, _) => Ok(name.clone()),
            (true, false) => Ok(self.last_queue.clone()),
            (true, true) => Err(Error::NoPreviousQueue),
        }
    }

    /// Keeps what the HTTP API shows up to date.
    pub fn update_info(&self) {
        self.info.prefetch.store(u32::from(self.prefetch), Ordering::Relaxed);
        self.info
            .consumers
            .store(self.consumers.len() as u32, Ordering::Relaxed);
        self.info.confirm.store(self.confirms.is_some(), Ordering::Relaxed);
    }
}
