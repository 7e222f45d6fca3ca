//! queue.declare, bind, unbind, purge, delete.

use super::exchange::missing_is_done;
use super::state::{Channel, Peer, Turn};
use super::subscription::cancellation;
use crate::error::Result;
use crate::exchange::binding::{Binding, DestinationKind};
use crate::queue::consumers::cancelled;
use crate::vhost::names::{REPLY_TO, clean_name};
use leveret_amqp::method::{
    QueueBind, QueueBindOk, QueueDeclare, QueueDeclareOk, QueueDelete, QueueDeleteOk, QueuePurge, QueuePurgeOk,
    QueueUnbind, QueueUnbindOk,
};
use leveret_amqp::{RawTable, ShortString};

impl Channel {
    /// queue.declare.
    ///
    /// # Errors
    /// See [`crate::vhost::Vhost::declare_queue`].
    pub fn queue_declare(&mut self, peer: &Peer, turn: &mut Turn, declare: &QueueDeclare) -> Result<()> {
        if declare.queue.as_bytes() == REPLY_TO.as_bytes() {
            // RabbitMQ lets clients declare the pseudo-queue; there is nothing to it.
            let reply = QueueDeclareOk {
                queue: declare.queue.clone(),
                message_count: 0,
                consumer_count: 1,
            };
            if !declare.no_wait {
                self.reply(peer, turn, reply);
            }
            return Ok(());
        }
        let (queue, change) = peer.vhost.declare_queue(declare, &peer.actor)?;
        self.last_queue = queue.name().clone();
        if queue.definition.owner.is_some() && change.changed {
            peer.info.own(queue.clone());
        }
        if !declare.no_wait {
            let (message_count, consumer_count) = queue.counts();
            let reply = QueueDeclareOk {
                queue: queue.name().clone(),
                message_count,
                consumer_count,
            };
            self.reply_when(peer, turn, change.lsn, reply);
        }
        Ok(())
    }

    /// queue.bind. An empty routing key with an empty queue name means the queue's name (AMQP 0-9-1 queue.bind).
    ///
    /// # Errors
    /// See [`crate::vhost::Vhost::bind`].
    pub fn queue_bind(&mut self, peer: &Peer, turn: &mut Turn, bind: QueueBind) -> Result<()> {
        let binding = self.queue_binding(&bind.queue, bind.exchange, bind.routing_key, bind.arguments)?;
        let change = peer.vhost.bind(binding, &peer.actor)?;
        if !bind.no_wait {
            self.reply_when(peer, turn, change.lsn, QueueBindOk {});
        }
        Ok(())
    }

    /// queue.unbind.
    ///
    /// # Errors
    /// See [`crate::vhost::Vhost::unbind`].
    pub fn queue_unbind(&mut self, peer: &Peer, turn: &mut Turn, unbind: QueueUnbind) -> Result<()> {
        let binding = self.queue_binding(&unbind.queue, unbind.exchange, unbind.routing_key, unbind.arguments)?;
        let change = missing_is_done(peer.vhost.unbind(&binding, &peer.actor))?;
        self.reply_when(peer, turn, change.lsn, QueueUnbindOk {});
        Ok(())
    }

    fn queue_binding(
        &self,
        queue: &ShortString,
        source: ShortString,
        routing_key: ShortString,
        arguments: RawTable,
    ) -> Result<Binding> {
        let destination = self.queue_name(queue)?;
        let routing_key = if queue.is_empty() && routing_key.is_empty() {
            destination.clone()
        } else {
            routing_key
        };
        Ok(Binding {
            source,
            destination_kind: DestinationKind::Queue,
            destination,
            routing_key,
            arguments: arguments.try_into()?,
        })
    }

    /// queue.purge.
    ///
    /// # Errors
    /// 404, 405.
    pub fn queue_purge(&mut self, peer: &Peer, turn: &mut Turn, purge: &QueuePurge) -> Result<()> {
        let queue = peer.vhost.queue(&self.queue_name(&purge.queue)?, &peer.actor)?;
        let message_count = queue.purge(&mut turn.work) as u32;
        if !purge.no_wait {
            self.reply(peer, turn, QueuePurgeOk { message_count });
        }
        Ok(())
    }

    /// queue.delete.
    ///
    /// # Errors
    /// See [`crate::vhost::Vhost::delete_queue`].
    pub fn queue_delete(&mut self, peer: &Peer, turn: &mut Turn, delete: &QueueDelete) -> Result<()> {
        let name = clean_name(&self.queue_name(&delete.queue)?);
        let deleted = peer
            .vhost
            .delete_queue(&name, delete.if_unused, delete.if_empty, &peer.actor)?;
        let (own, others): (Vec<_>, Vec<_>) = deleted
            .consumers
            .into_iter()
            .partition(|consumer| consumer.channel == self.id(peer));
        for consumer in &own {
            let known = self.consumers.get(&consumer.tag);
            if known.is_some_and(|consuming| consuming.id == consumer.id) {
                self.consumers.remove(&consumer.tag);
            }
        }
        self.update_info();
        cancelled(&others, &mut turn.work.wakes);
        peer.info.exclusive_queues.lock().forget(&name);
        if !delete.no_wait {
            self.reply_when(
                peer,
                turn,
                deleted.change.lsn,
                QueueDeleteOk {
                    message_count: deleted.messages as u32,
                },
            );
        }
        // The channel that deletes the queue hears of its own consumers' end after the reply, as from RabbitMQ.
        if peer.cancel_notify {
            for consumer in own {
                self.reply(peer, turn, cancellation(consumer.tag));
            }
        }
        Ok(())
    }
}
