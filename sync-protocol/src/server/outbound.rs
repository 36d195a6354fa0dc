//! The feed on its way out: one page at a time, large items in fragments before their page.

use std::collections::VecDeque;

use bukti_core::authority::{Audience, Grant, audience};
use bukti_core::envelope::Run;
use bukti_core::id::DocumentId;
use bukti_core::journal::Storage;
use bukti_core::kv::Kv;
use bukti_core::ledger::{Reader, Subscription};
use bukti_core::scope::Scope;

use crate::Mono;
use crate::deflate::pack;
use crate::feed::{self, Feed, FeedError, Page};
use crate::fragment::{Held, Splitter};
use crate::frame::{Features, Frame, LeftScope, ScopeDigest, UpToDate};
use crate::item::{FeedItem, Item};
use crate::limits;
use crate::room::Seat;

/// What is still to be sent of the feed.
#[derive(Debug)]
pub(super) struct Outbound {
    feed: Option<Feed>,
    /// Documents that left, and the page behind which the device no longer has them.
    left: VecDeque<DocumentId>,
    behind_left: Option<Page>,
    /// A page that is one large item, for which the session has room.
    large: Option<Large>,
    seat: Seat,
    /// Digests beyond the first frame of an `up_to_date`.
    rest: Option<UpToDate>,
    /// What the device holds of unfinished items.
    held: Vec<Held>,
    /// The feed may have something.
    look: bool,
    /// Something was sent, or nothing yet, since the last `up_to_date`.
    announce: bool,
}

/// An item that is sent in fragments before its page.
#[derive(Debug)]
struct Large {
    splitter: Splitter,
    cursor: Vec<u8>,
    document: Option<DocumentId>,
    /// Bytes of it that this session sent.
    sent: u64,
}

impl Outbound {
    pub(super) fn new(held: Vec<Held>, seat: Seat) -> Self {
        Self {
            feed: None,
            left: VecDeque::new(),
            behind_left: None,
            large: None,
            seat,
            rest: None,
            held,
            look: false,
            announce: false,
        }
    }

    /// Sends `feed` from here on.
    pub(super) fn begin(&mut self, feed: Feed) {
        self.feed = Some(feed);
        self.give_up();
        (self.look, self.announce) = (true, true);
    }

    /// Drops what is under way, and gives back the room and the place in it.
    pub(super) fn give_up(&mut self) {
        (self.large, self.rest, self.behind_left) = (None, None, None);
        self.seat.stop_waiting();
        self.seat.hold(0);
        self.left.clear();
    }

    /// Whether the device has asked for the feed.
    pub(super) fn has_begun(&self) -> bool {
        self.feed.is_some()
    }

    /// Whether everything there is was sent.
    pub(super) fn is_at_rest(&self) -> bool {
        self.rest.is_none() && self.large.is_none() && (self.feed.is_none() || !self.look)
    }

    /// Whether an item is held of which more is to be sent.
    pub(super) fn holds_item(&self) -> bool {
        self.large.is_some() || self.seat.holds()
    }

    /// Whether the next item waits for room.
    pub(super) fn waits_for_room(&self) -> bool {
        self.seat.waits()
    }

    /// Time has passed for those that wait for room as well.
    pub(super) fn look_at_room(&self, now: Mono) {
        self.seat.look(now);
    }

    /// Bytes that were sent of the item that is held, if others wait for the room that it takes.
    pub(super) fn sent_while_others_wait(&self) -> Option<u64> {
        let sent = self.large.as_ref().map_or(0, |large| large.sent);
        self.seat.is_waited_for().then_some(sent)
    }

    /// Looks again for something to send.
    pub(super) fn look(&mut self) {
        self.look = true;
    }

    /// The subscription of the feed with this prefix and audience.
    pub(super) fn subscription(&self, prefix: &Scope, audience: Audience) -> Option<Subscription> {
        self.feed.as_ref()?.subscription(prefix, audience)
    }

    /// Sends these documents whole, and says when all is sent.
    pub(super) fn need(&mut self, documents: impl Iterator<Item = DocumentId>) {
        if let Some(feed) = &mut self.feed {
            feed.need(documents);
            (self.look, self.announce) = (true, true);
        }
    }

    /// Goes on under other grants, behind the page that is under way.
    pub(super) fn revise<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        grants: &[Grant],
    ) -> Result<(), FeedError> {
        let Some(feed) = &mut self.feed else {
            return Ok(());
        };
        feed.revise(reader, grants)?;
        self.announce = true;
        Ok(())
    }

    /// Sends no more of what `grants` do not let the device receive any more, of a large item or a
    /// page that waits: the page is there without it, and what it brought is told to have left or
    /// comes with other grants.
    pub(super) fn withhold<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        grants: &[Grant],
    ) -> Result<(), FeedError> {
        if let Some(large) = &self.large
            && !is_admitted(reader, grants, large.document)?
        {
            let cursor = large.cursor.clone();
            self.large = None;
            self.seat.hold(0);
            self.behind_left = Some(Page {
                items: Vec::new(),
                left: Vec::new(),
                cursor,
            });
        }
        if let Some(page) = &mut self.behind_left {
            let of = |item| is_admitted(reader, grants, document_of(item));
            let admitted = page.items.iter().map(of).collect::<Result<Vec<_>, _>>()?;
            let mut admitted = admitted.into_iter();
            page.items.retain(|_| admitted.next() == Some(true));
            self.seat.hold(bytes_of(&page.items));
        }
        Ok(())
    }

    /// The next frame that `credit` allows.
    pub(super) fn next<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        credit: u64,
        peer: Features,
    ) -> Result<Option<Frame>, FeedError> {
        if let Some(rest) = self.rest.take() {
            return Ok(Some(self.digests(rest)));
        }
        if credit < limits::FRAME_BYTES_MAX as u64 {
            return Ok(None);
        }
        loop {
            if let Some(document) = self.left.pop_front() {
                return Ok(Some(LeftScope { document }.into()));
            }
            if let Some(page) = self.behind_left.take() {
                if let Some(frame) = self.page(page, peer) {
                    return Ok(Some(frame));
                }
                continue;
            }
            if let Some(mut large) = self.large.take() {
                let Some(fragment) = large.splitter.next_fragment() else {
                    self.seat.hold(0);
                    let items = vec![FeedItem::Large(large.splitter.item())];
                    return Ok(Some(feed_frame(items, large.cursor)));
                };
                large.sent += fragment.bytes.len() as u64;
                self.large = Some(large);
                return Ok(Some(fragment.into()));
            }
            let Some(feed) = self.feed.as_mut().filter(|_| self.look) else {
                return Ok(None);
            };
            self.announce |= feed.is_muted_behind(reader);
            if self.seat.has_to_wait() {
                return Ok(None);
            }
            feed.bound_items(self.seat.open());
            let page = feed.next(reader, limits::PAGE_BYTES)?;
            if let Some(bytes) = feed.wants() {
                // Looks again at once if there is room by now.
                self.seat.wait(bytes);
                continue;
            }
            if page.is_none() {
                self.seat.stop_waiting();
            }
            if let Some(page) = page {
                self.announce = true;
                if !page.left.is_empty() {
                    // The page is kept until they are told.
                    self.seat.hold(bytes_of(&page.items));
                    self.seat.stop_waiting();
                }
                self.left.extend(&page.left);
                self.behind_left = Some(page);
            } else if !self.announce {
                self.look = false;
            } else if let Some(end) = feed.up_to_date(reader)? {
                (self.look, self.announce) = (false, false);
                return Ok(Some(self.digests(up_to_date(end))));
            }
        }
    }

    /// A page as a frame, or nothing if it has to be cut into fragments first.
    fn page(&mut self, page: Page, peer: Features) -> Option<Frame> {
        let Page {
            mut items,
            left: _,
            cursor,
        } = page;
        if let [item] = items.as_slice() {
            let bytes = item.to_bytes();
            if bytes.len() + cursor.len() > limits::PAGE_BYTES {
                let packed = pack(&bytes, peer.deflate());
                self.seat.hold(packed.len());
                self.seat.stop_waiting();
                let splitter = Splitter::new(packed, &self.held);
                // Once it has the whole item the device no longer holds the part.
                self.held.retain(|held| held.item != splitter.item());
                self.large = Some(Large {
                    splitter,
                    cursor,
                    document: document_of(item),
                    sent: 0,
                });
                return None;
            }
        }
        self.seat.hold(0);
        self.seat.stop_waiting();
        let items = items.drain(..).map(FeedItem::Inline).collect();
        Some(feed_frame(items, cursor))
    }

    /// As many digests as fit a frame; the others follow under the same cursor.
    fn digests(&mut self, mut end: UpToDate) -> Frame {
        if end.digests.len() > limits::DIGESTS_PER_FRAME {
            let rest = end.digests.split_off(limits::DIGESTS_PER_FRAME);
            self.rest = Some(UpToDate {
                digests: rest,
                ..end.clone()
            });
            end.more = true;
        }
        end.into()
    }
}

/// Whether `grants` let a device receive the document, or there is none.
fn is_admitted<S: Storage, K: Kv>(
    reader: &Reader<S, K>,
    grants: &[Grant],
    document: Option<DocumentId>,
) -> Result<bool, FeedError> {
    let row = document.map(|id| reader.document(&id)).transpose()?;
    let Some(row) = row.flatten() else {
        return Ok(true);
    };
    let admitted = audience(grants, reader.placements().lineage(&row.scope));
    Ok(admitted.is_some_and(|of| of == Audience::Unit || row.published()))
}

fn bytes_of(items: &[Item]) -> usize {
    items.iter().map(|item| item.to_bytes().len()).sum()
}

/// The document that an item is about.
fn document_of(item: &Item) -> Option<DocumentId> {
    match item {
        Item::Whole { document, .. } | Item::Own { document, .. } => Some(*document),
        Item::Record { run, .. } => Run::open(run).ok().map(|run| run.envelope.body().document),
        Item::Fact { .. } => None,
    }
}

fn feed_frame(items: Vec<FeedItem>, cursor: Vec<u8>) -> Frame {
    crate::frame::Feed {
        items,
        cursor: cursor.into(),
    }
    .into()
}

fn up_to_date(end: feed::UpToDate) -> UpToDate {
    let digests = end.digests.into_iter();
    UpToDate {
        cursor: end.cursor.into(),
        position: end.position,
        digests: digests
            .map(|(prefix, audience, digest, documents)| ScopeDigest {
                prefix,
                audience,
                digest,
                documents,
            })
            .collect(),
        more: false,
    }
}
