//! The messages of one queue as owner, checkpoint and recovery pass them on.
//!
//! In: pages and single messages. Out: all of them in order, and where their records lie. Does not know about files or
//! threads.

use crate::error::Error;
use crate::ids::MessageId;
use crate::page::{Page, Share};
use crate::stored::StoredMessage;

/// The messages of one queue: long stretches packed, the others one by one. No message is in both; the ids of the two
/// may lie between each other.
#[derive(Debug, Default, Clone)]
pub struct Backlog {
    /// Stretches, ascending by their first ids. Their ids may lie between each other, which costs a start a little time
    /// for each that does.
    pub pages: Vec<Page>,
    /// Single messages, ascending by id.
    pub loose: Vec<StoredMessage>,
    /// Everything at or below has been delivered before: its messages are redelivered, also those in pages.
    pub delivered: MessageId,
}

impl Backlog {
    /// Number of messages.
    pub fn count(&self) -> usize {
        self.pages.iter().map(|page| page.count() as usize).sum::<usize>() + self.loose.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty() && self.loose.is_empty()
    }

    /// The number of messages in each segment.
    pub(crate) fn each_share(&self, mut visit: impl FnMut(Share)) {
        for page in &self.pages {
            page.summary().shares.iter().copied().for_each(&mut visit);
        }
        for message in &self.loose {
            visit(Share {
                segment: message.location.segment,
                count: 1,
                bytes: u64::from(message.location.len),
            });
        }
    }

    /// All messages, ascending by id, with the redelivered flag as it is to be.
    ///
    /// # Errors
    /// [`Error::DamagedPage`], or what the system reports.
    pub fn unpack(&self) -> Result<Vec<StoredMessage>, Error> {
        let mut all = self.loose.clone();
        for page in &self.pages {
            all.extend(page.unpack()?);
        }
        all.sort_by_key(|message| message.id);
        for message in &mut all {
            message.redelivered |= message.id <= self.delivered;
        }
        Ok(all)
    }
}
