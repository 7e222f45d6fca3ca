//! The stretches of messages that a checkpoint knew of one queue, while recovery reads on.
//!
//! In: pages, in any order; their ids may lie between each other, as those of a queue with priorities do. Out: single
//! messages, to be changed; in the end the pages that nothing has spoken of, and the messages of the others. Does not
//! know about records.

use crate::ids::MessageId;
use crate::page::Page;
use crate::stored::StoredMessage;
use std::collections::BTreeMap;

/// Stretches in lanes: those of a lane do not overlap. A queue without priorities has one lane.
#[derive(Debug, Default)]
pub(super) struct Stretches {
    /// Each by its first id.
    lanes: Vec<BTreeMap<MessageId, Stretch>>,
    /// None reaches beyond this id.
    end: MessageId,
    /// A page could not be unpacked.
    pub(super) broken: bool,
}

#[derive(Debug)]
enum Stretch {
    Packed(Page),
    /// Unpacked because one of its messages is spoken of. Settled ones keep their places.
    Open(Vec<StoredMessage>),
}

impl Stretch {
    fn last(&self) -> MessageId {
        match self {
            Stretch::Packed(page) => page.last(),
            Stretch::Open(messages) => messages.last().map_or(0, |message| message.id),
        }
    }

    /// The messages; `None` if they cannot be unpacked.
    fn open(&mut self) -> Option<&mut Vec<StoredMessage>> {
        if let Stretch::Packed(page) = self {
            *self = Stretch::Open(page.unpack().ok()?);
        }
        match self {
            Stretch::Open(messages) => Some(messages),
            Stretch::Packed(_) => None,
        }
    }
}

impl Stretches {
    /// Those of a checkpoint.
    pub(super) fn of(mut pages: Vec<Page>) -> Stretches {
        pages.sort_unstable_by_key(Page::first);
        let mut stretches = Stretches::default();
        for page in pages {
            stretches.end = stretches.end.max(page.last());
            let free = |lane: &BTreeMap<_, Stretch>| {
                lane.last_key_value()
                    .is_none_or(|(_, stretch)| stretch.last() < page.first())
            };
            match stretches.lanes.iter_mut().find(|lane| free(lane)) {
                Some(lane) => drop(lane.insert(page.first(), Stretch::Packed(page))),
                None => stretches
                    .lanes
                    .push(BTreeMap::from([(page.first(), Stretch::Packed(page))])),
            }
        }
        stretches
    }

    /// The message with this id, settled or not.
    pub(super) fn get_mut(&mut self, id: MessageId) -> Option<&mut StoredMessage> {
        if id > self.end {
            return None;
        }
        for lane in &mut self.lanes {
            let stretch = lane.range_mut(..=id).next_back().map(|(_, stretch)| stretch);
            let Some(stretch) = stretch.filter(|stretch| id <= stretch.last()) else {
                continue;
            };
            let Some(messages) = stretch.open() else {
                self.broken = true;
                continue;
            };
            if let Ok(at) = messages.binary_search_by_key(&id, |message| message.id) {
                return messages.get_mut(at);
            }
        }
        None
    }

    /// Visits the messages with ids from `first` to `last`, settled or not.
    pub(super) fn each(&mut self, first: MessageId, last: MessageId, mut visit: impl FnMut(&mut StoredMessage)) {
        if first > self.end || first > last {
            return;
        }
        for lane in &mut self.lanes {
            let from = lane.range(..=first).next_back().map_or(first, |(&from, _)| from);
            for (_, stretch) in lane
                .range_mut(from..=last)
                .filter(|(_, stretch)| stretch.last() >= first)
            {
                let Some(messages) = stretch.open() else {
                    self.broken = true;
                    continue;
                };
                let from = messages.partition_point(|message| message.id < first);
                messages
                    .iter_mut()
                    .skip(from)
                    .take_while(|message| message.id <= last)
                    .for_each(&mut visit);
            }
        }
    }

    /// Forgets the pages that nothing has spoken of.
    pub(super) fn drop_packed(&mut self) {
        for lane in &mut self.lanes {
            lane.retain(|_, stretch| matches!(stretch, Stretch::Open(_)));
        }
    }

    /// The pages that nothing has spoken of and of which `whole` is true, ascending by their first ids. The messages of
    /// all others go to `single`. `None` if they cannot be unpacked.
    pub(super) fn finish(self, whole: impl Fn(&Page) -> bool, single: &mut Vec<StoredMessage>) -> Option<Vec<Page>> {
        let mut pages = Vec::new();
        for stretch in self.lanes.into_iter().flat_map(BTreeMap::into_values) {
            match stretch {
                Stretch::Packed(page) if whole(&page) => pages.push(page),
                Stretch::Packed(page) => single.extend(page.unpack().ok()?),
                Stretch::Open(messages) => single.extend(messages),
            }
        }
        pages.sort_unstable_by_key(Page::first);
        Some(pages)
    }
}
