//! Newer tokens of a connection (connection.update-secret), proved while it goes on.
//!
//! Comes in: the method. Goes out: its answer once the token is proved, from when on the newer token counts on all
//! channels; or the error that closes the connection, in RabbitMQ's words. Consumers that it has no right for any more
//! are cancelled. Does not know when a token expires.

use super::session::{Closing, Failure, MethodId, Session, unexpected};
use crate::access::oauth::{Fault, Verified};
use crate::error::{Error, Result};
use leveret_amqp::method::{ConnectionUpdateSecret, ConnectionUpdateSecretOk};
use std::sync::Arc;
use tokio::sync::oneshot::{Receiver, channel, error::TryRecvError};

/// connection.update-secret
const METHOD: MethodId = MethodId { class: 10, method: 70 };

impl Session {
    /// connection.update-secret. Whoever has logged in with a password, or a certificate, needs none, and is told that
    /// it holds.
    ///
    /// # Errors
    /// 504 while the one before is being proved.
    pub(super) fn update_secret(&mut self, update: &ConnectionUpdateSecret) -> Result<()> {
        let peer = &self.peer;
        if !peer.actor.has_token() {
            self.send(0, ConnectionUpdateSecretOk {});
            return Ok(());
        }
        if self.renewal.is_some() {
            return Err(unexpected());
        }
        let token = String::from_utf8_lossy(&update.new_secret).into_owned();
        let (node, outbox) = (peer.node.clone(), peer.outbox.clone());
        let (done, renewal) = channel();
        tokio::spawn(async move {
            let renewed = node.access.renewed(&token).await;
            // The connection may have gone.
            let _ = done.send(renewed);
            outbox.nudge();
        });
        self.renewal = Some(renewal);
        Ok(())
    }

    /// Goes on with a newer token that is proved, or fails. True if there is one.
    #[inline]
    pub fn take_renewed(&mut self) -> bool {
        self.renewal.is_some() && self.end_renewal()
    }

    #[cold]
    fn end_renewal(&mut self) -> bool {
        let renewed = match self.renewal.as_mut().map(Receiver::try_recv) {
            None | Some(Err(TryRecvError::Empty)) => return false,
            Some(Err(TryRecvError::Closed)) => Err(Fault::Invalid),
            Some(Ok(renewed)) => renewed,
        };
        self.renewal = None;
        if self.closing != Closing::No {
            return false;
        }
        match self.renew(renewed) {
            Ok(()) => self.send(0, ConnectionUpdateSecretOk {}),
            Err(error) => self.fail(Failure {
                channel: 0,
                error,
                method: METHOD,
            }),
        }
        self.flush();
        true
    }

    fn renew(&mut self, renewed: std::result::Result<Arc<Verified>, Fault>) -> Result<()> {
        self.enqueue()?;
        let peer = &mut self.peer;
        let renewed = renewed.and_then(|newer| peer.actor.renew(newer));
        renewed.map_err(|fault| {
            let (connection, user) = (peer.info.name(), &peer.actor.user);
            tracing::warn!(connection, user, "secret update was refused: {fault}");
            let text = match fault {
                Fault::Invalid | Fault::NoAudience | Fault::OtherAudience | Fault::ManyAudiences => {
                    "Secret update failed".to_owned()
                }
                Fault::Expired(..) | Fault::NoExpiry | Fault::WrongExpiry => format!(
                    "access to vhost '{}' refused for user '{user}', backend rabbit_auth_backend_oauth2 returned an error: \
                     \"{fault}\"",
                    peer.vhost.name
                ),
                _ => "New secret was refused by one of the backends".to_owned(),
            };
            Error::NotAllowed(text.into())
        })?;
        peer.actor.check_vhost(&peer.vhost.name)?;
        for channel in self.channels.values_mut() {
            channel.cancel_forbidden(&self.peer, &mut self.turn)?;
        }
        Ok(())
    }
}
