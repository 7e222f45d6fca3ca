//! exchange.declare, delete, bind, unbind.

use super::state::{Channel, Peer, Turn};
use crate::error::{Error, Result};
use crate::exchange::binding::{Binding, DestinationKind};
use leveret_amqp::method::{
    ExchangeBind, ExchangeBindOk, ExchangeDeclare, ExchangeDeclareOk, ExchangeDelete, ExchangeDeleteOk, ExchangeUnbind,
    ExchangeUnbindOk,
};

impl Channel {
    /// exchange.declare.
    ///
    /// # Errors
    /// See [`crate::vhost::Vhost::declare_exchange`].
    pub fn exchange_declare(&mut self, peer: &Peer, turn: &mut Turn, declare: &ExchangeDeclare) -> Result<()> {
        let change = peer.vhost.declare_exchange(declare, &peer.actor)?;
        if !declare.no_wait {
            self.reply_when(peer, turn, change.lsn, ExchangeDeclareOk {});
        }
        Ok(())
    }

    /// exchange.delete.
    ///
    /// # Errors
    /// See [`crate::vhost::Vhost::delete_exchange`].
    pub fn exchange_delete(&mut self, peer: &Peer, turn: &mut Turn, delete: &ExchangeDelete) -> Result<()> {
        let change = peer
            .vhost
            .delete_exchange(&delete.exchange, delete.if_unused, &peer.actor)?;
        if !delete.no_wait {
            self.reply_when(peer, turn, change.lsn, ExchangeDeleteOk {});
        }
        Ok(())
    }

    /// exchange.bind.
    ///
    /// # Errors
    /// See [`crate::vhost::Vhost::bind`].
    pub fn exchange_bind(&mut self, peer: &Peer, turn: &mut Turn, bind: ExchangeBind) -> Result<()> {
        let binding = Binding {
            source: bind.source,
            destination_kind: DestinationKind::Exchange,
            destination: bind.destination,
            routing_key: bind.routing_key,
            arguments: bind.arguments.try_into()?,
        };
        let change = peer.vhost.bind(binding, &peer.actor)?;
        if !bind.no_wait {
            self.reply_when(peer, turn, change.lsn, ExchangeBindOk {});
        }
        Ok(())
    }

    /// exchange.unbind.
    ///
    /// # Errors
    /// See [`crate::vhost::Vhost::unbind`].
    pub fn exchange_unbind(&mut self, peer: &Peer, turn: &mut Turn, unbind: ExchangeUnbind) -> Result<()> {
        let binding = Binding {
            source: unbind.source,
            destination_kind: DestinationKind::Exchange,
            destination: unbind.destination,
            routing_key: unbind.routing_key,
            arguments: unbind.arguments.try_into()?,
        };
        let change = missing_is_done(peer.vhost.unbind(&binding, &peer.actor))?;
        if !unbind.no_wait {
            self.reply_when(peer, turn, change.lsn, ExchangeUnbindOk {});
        }
        Ok(())
    }
}

/// Unbinding from or to something that has gone succeeds, as RabbitMQ has it.
pub(super) fn missing_is_done(result: Result<crate::vhost::Change>) -> Result<crate::vhost::Change> {
    match result {
        Err(Error::Missing { .. }) => Ok(crate::vhost::Change::default()),
        other => other,
    }
}
