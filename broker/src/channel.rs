//! One channel: its methods, each sent to the file that carries it out.
//!
//! Comes in: methods of an open channel, whole messages. Goes out: replies in the connection's outbox, or the error
//! that closes the channel or the connection.
//! Does not know about sockets, or how frames are found in what is read.

/// tx.select, tx.commit, tx.rollback.
pub mod transaction;

/// AMQP's part of publishing.
pub mod publish;

/// Replies without a declared queue.
pub mod direct_reply;

/// basic.get.
pub mod get;

/// Acknowledgements and rejections.
pub mod settle;

/// queue.declare and the like.
pub mod queue;

/// basic.consume, basic.cancel, basic.qos.
pub mod consume;

/// exchange.declare and the like.
pub mod exchange;

/// The state of a channel.
pub mod state;

/// Messages that arrive in pieces.
pub mod content;

/// Replies that wait for the log.
pub mod replies;

/// Contents of an open transaction.
pub mod uncommitted;

/// Origins of deliveries.
pub mod sources;

/// Consumers, as their queues see them.
pub mod subscription;

/// Word of messages, where tracing is on.
pub mod tap;

/// Deliveries that a transaction has put aside.
pub mod held;

/// Deliveries and their tags.
pub mod deliver;

/// Consumers that wait for room under the channel's limit.
pub mod line;

use crate::error::{Error, Result};
use crate::queue::Outcome;
use crate::queue::consumers::cancelled;
use leveret_amqp::Method;
use leveret_amqp::method::{AccessRequestOk, ChannelFlowOk, ConfirmSelectOk};
use state::{Channel, Peer, Turn};

impl Channel {
    /// Carries out a method. The messages staged before it have been enqueued.
    ///
    /// # Errors
    /// One that closes the channel, or the connection.
    pub fn handle(&mut self, peer: &Peer, turn: &mut Turn, method: Method) -> Result<()> {
        match method {
            Method::BasicAck(ack) => self.settle(peer, turn, ack.delivery_tag, ack.multiple, Outcome::Acked),
            Method::BasicNack(nack) => self.settle(
                peer,
                turn,
                nack.delivery_tag,
                nack.multiple,
                given_back(nack.requeue, Outcome::Requeued),
            ),
            Method::BasicReject(reject) => self.settle(
                peer,
                turn,
                reject.delivery_tag,
                false,
                given_back(reject.requeue, Outcome::Failed),
            ),
            Method::BasicRecover(recover) => self.basic_recover(peer, turn, recover.requeue, true),
            Method::BasicRecoverAsync(recover) => self.basic_recover(peer, turn, recover.requeue, false),
            Method::BasicConsume(consume) => self.basic_consume(peer, turn, &consume),
            Method::BasicCancel(cancel) => self.basic_cancel(peer, turn, &cancel),
            Method::BasicCancelOk(_) => Ok(()),
            Method::BasicGet(get) => self.basic_get(peer, turn, &get),
            Method::BasicQos(qos) => self.basic_qos(peer, turn, &qos),
            Method::QueueDeclare(declare) => self.queue_declare(peer, turn, &declare),
            Method::QueueBind(bind) => self.queue_bind(peer, turn, bind),
            Method::QueueUnbind(unbind) => self.queue_unbind(peer, turn, unbind),
            Method::QueuePurge(purge) => self.queue_purge(peer, turn, &purge),
            Method::QueueDelete(delete) => self.queue_delete(peer, turn, &delete),
            Method::ExchangeDeclare(declare) => self.exchange_declare(peer, turn, &declare),
            Method::ExchangeDelete(delete) => self.exchange_delete(peer, turn, &delete),
            Method::ExchangeBind(bind) => self.exchange_bind(peer, turn, bind),
            Method::ExchangeUnbind(unbind) => self.exchange_unbind(peer, turn, unbind),
            Method::ConfirmSelect(select) => self.confirm_select(peer, turn, select.no_wait),
            Method::ChannelFlow(flow) if flow.active => {
                self.reply(peer, turn, ChannelFlowOk { active: true });
                Ok(())
            }
            Method::ChannelFlow(_) => Err(Error::NotImplemented("active=false".into())),
            Method::AccessRequest(_) => {
                self.reply(peer, turn, AccessRequestOk { ticket: 1 });
                Ok(())
            }
            Method::TxSelect(_) => self.tx_select(peer, turn),
            Method::TxCommit(_) => self.tx_commit(peer, turn),
            Method::TxRollback(_) => self.tx_rollback(peer, turn),
            _ => Err(Error::CommandInvalid("unimplemented method".into())),
        }
    }

    /// confirm.select. Selecting again changes nothing.
    fn confirm_select(&mut self, peer: &Peer, turn: &mut Turn, no_wait: bool) -> Result<()> {
        if self.transaction.is_some() {
            return Err(Error::Precondition("cannot switch from tx to confirm mode".into()));
        }
        self.confirms.get_or_insert_default();
        self.update_info();
        if !no_wait {
            self.reply(peer, turn, ConfirmSelectOk {});
        }
        Ok(())
    }

    /// The end of the channel: its consumers go, and what it has unacknowledged goes back, as what a transaction holds
    /// does.
    pub fn close(&mut self, peer: &Peer, turn: &mut Turn) -> Result<()> {
        peer.info.channels.lock().remove(&self.number);
        let consumers = std::mem::take(&mut self.consumers);
        let (mut last, mut handed_over) = (Vec::new(), Vec::new());
        for consuming in consumers.into_values() {
            self.deliveries.retire_source(consuming.source);
            if consuming.queue.cancel(consuming.id) {
                last.push(consuming.queue);
            } else if consuming.queue.hands_over() {
                handed_over.push(consuming.queue);
            }
        }
        self.drop_transaction();
        self.fail_all(peer, turn)?;
        for queue in handed_over {
            queue.dispatch(&mut turn.work);
        }
        for queue in last {
            let told = peer.vhost.expire_queue(&queue, true)?;
            cancelled(&told, &mut turn.work.wakes);
        }
        Ok(())
    }
}

/// The end of a delivery that isn't acknowledged. `requeued`: the one with requeue, which RabbitMQ takes for a failure
/// with basic.reject, and with basic.nack not.
fn given_back(requeue: bool, requeued: Outcome) -> Outcome {
    if requeue { requeued } else { Outcome::Rejected }
}
