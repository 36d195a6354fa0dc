//! Comparing what is held with what the server holds, and what follows from it.

use std::collections::BTreeSet;

use bukti_core::authority::Audience;
use bukti_core::digest::Digest;
use bukti_core::id::{ChangeHash, DocumentId, Position, WallMs};
use bukti_core::journal::Storage;
use bukti_core::kv::Kv;
use bukti_core::ledger::Subscription;
use bukti_core::scope::Scope;
use bukti_sync_protocol::client::Input;
use bukti_sync_protocol::reconcile::{Differs, HeadTag, Range};

use super::confirmed::{Finding, Meta, SurvivedDifference};
use super::giving::Part;
use super::{Device, DeviceError, Reaction};

/// A subscription to compare, for [`Input::Compare`](bukti_sync_protocol::client::Input::Compare).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compare {
    /// Scope prefix of the subscription.
    pub prefix: Scope,
    /// Its audience.
    pub audience: Audience,
    /// Drawn for this comparison.
    pub salt: u64,
    /// What is held of it.
    pub documents: Vec<(DocumentId, Vec<ChangeHash>)>,
}

/// A difference that stayed although everything was compared, for
/// [`Input::Survived`](bukti_sync_protocol::client::Input::Survived).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survived {
    /// Scope prefix of the subscription.
    pub prefix: Scope,
    /// Its audience.
    pub audience: Audience,
    /// Position of the server's digest.
    pub position: Position,
    /// What is held here.
    pub digest: Digest,
}

impl From<Compare> for Input<'static> {
    fn from(compare: Compare) -> Self {
        Self::Compare {
            prefix: compare.prefix,
            audience: compare.audience,
            salt: compare.salt,
            documents: compare.documents,
        }
    }
}

impl From<Survived> for Input<'static> {
    fn from(survived: Survived) -> Self {
        Self::Survived {
            prefix: survived.prefix,
            audience: survived.audience,
            position: survived.position,
            digest: survived.digest,
        }
    }
}

/// A subscription that the present session compares.
#[derive(Debug)]
pub(super) struct Compared {
    prefix: Scope,
    audience: Audience,
    except: Vec<Scope>,
    /// As the last `up_to_date` had it.
    position: Position,
    here: Digest,
    difference: Digest,
    concluded: bool,
}

impl Compared {
    fn is_of(&self, prefix: &Scope, audience: Audience) -> bool {
        self.prefix == *prefix && self.audience == audience
    }
}

/// Comparisons of the present session.
#[derive(Debug, Default)]
pub(super) struct Comparisons {
    all: Vec<Compared>,
    /// Since a comparison began, something was asked for or taken: the next `up_to_date` is behind
    /// what was compared.
    moved: bool,
    /// Whether something was under way at the last [`Device::conclude`].
    was_comparing: bool,
    /// Something was compared since the digests before the last `up_to_date`, which may be older.
    compared_since: bool,
    /// The highest position at which a returned run was taken.
    pub(super) returned_through: Position,
    /// Position of the last `up_to_date`, if no page came since.
    pub(super) followed: Option<Position>,
}

impl Comparisons {
    pub(super) fn taken(&mut self, position: Position) {
        self.moved = true;
        self.returned_through = self.returned_through.max(position);
    }

    /// Units stand elsewhere: what is compared is not what lies there now.
    pub(super) fn units_moved(&mut self) {
        self.all.clear();
    }

    pub(super) fn are_concluded(&self) -> bool {
        self.all.iter().all(|compared| compared.concluded)
    }
}

impl<S: Storage, K: Kv> Device<S, K> {
    /// Notes what an `up_to_date` says; answers what to compare and what stayed different.
    pub(super) fn look_at_digests(
        &mut self,
        now: WallMs,
        random: [u8; 16],
        position: Position,
        digests: &[(Scope, Audience, Digest, u64)],
    ) -> Result<(Vec<Scope>, Reaction), DeviceError> {
        let subscriptions = Subscription::of(&self.grants, &self.placements);
        let mut differs = self.confirmed.meta().differs.clone();
        differs.retain(|scope| subscriptions.iter().any(|own| own.prefix == *scope));
        let comparisons = &mut self.session.comparisons;
        comparisons.compared_since = comparisons.was_comparing;
        // What is not read any more is nobody's difference.
        let is_read = |of: &Compared| {
            let mut digests = digests.iter();
            digests.any(|(prefix, audience, ..)| of.is_of(prefix, *audience))
        };
        self.session.comparisons.all.retain(is_read);
        let (mut compare, mut survived) = (Vec::new(), Vec::new());
        let mut salt = u64::from_le_bytes(random[..8].try_into().unwrap_or_default());
        for (prefix, audience, digest, documents) in digests {
            let except = &self.inside(prefix, digests)[..];
            let placements = &self.placements;
            let here = self
                .confirmed
                .digest(prefix, *audience, except, placements)?;
            differs.retain(|scope| scope != prefix);
            if here == (*digest, *documents) {
                self.agree(prefix, *audience, except)?;
                continue;
            }
            differs.push(prefix.clone());
            let mut difference = *digest;
            difference -= here.0;
            let latest = Compared {
                prefix: prefix.clone(),
                audience: *audience,
                except: except.to_vec(),
                position,
                here: here.0,
                difference,
                concluded: false,
            };
            match self.surviving(&latest) {
                Some(known) if known.is_left_alone(now) => {
                    // It was compared when the server lacked what it lacks now.
                    self.note_compared(&latest)?;
                    continue;
                }
                Some(known) if !known.told => {
                    survived.extend(self.survive(now, &latest, true)?);
                    continue;
                }
                Some(_) | None => {}
            }
            let mut known = self.session.comparisons.all.iter_mut();
            if let Some(known) = known.find(|known| known.is_of(prefix, *audience)) {
                let concluded = known.concluded;
                *known = Compared {
                    concluded,
                    ..latest
                };
                continue;
            }
            self.session.comparisons.all.push(latest);
            self.session.comparisons.moved = false;
            let documents = self
                .confirmed
                .held_of(prefix, *audience, except, &self.placements)?;
            compare.push(Compare {
                prefix: prefix.clone(),
                audience: *audience,
                salt,
                documents,
            });
            salt = salt.rotate_left(17).wrapping_mul(5) | 1;
        }
        self.session.comparisons.followed = Some(position);
        let reaction = match compare.is_empty() && survived.is_empty() {
            true => Reaction::Applied,
            false => Reaction::Compare { compare, survived },
        };
        Ok((differs, reaction))
    }

    /// The other prefixes of an `up_to_date` that lie inside one: what is below them is theirs. Less
    /// may be asked for than the grants allow, so these say nothing of that.
    fn inside(&self, prefix: &Scope, digests: &[(Scope, Audience, Digest, u64)]) -> Vec<Scope> {
        let others = digests.iter().map(|(other, ..)| other);
        let mut inside: Vec<Scope> = others
            .filter(|other| *other != prefix && self.placements.covers(prefix, other))
            .cloned()
            .collect();
        // As those of a subscription.
        inside.sort_unstable();
        inside
    }

    /// Both sides hold the same.
    fn agree(
        &mut self,
        prefix: &Scope,
        audience: Audience,
        except: &[Scope],
    ) -> Result<(), DeviceError> {
        let known = self.session.comparisons.all.iter_mut();
        for known in known.filter(|known| known.is_of(prefix, audience)) {
            known.concluded = true;
        }
        Ok(self
            .confirmed
            .update(|meta| meta.agree(prefix, audience, except))?)
    }

    fn note_compared(&mut self, of: &Compared) -> Result<(), DeviceError> {
        let note = |meta: &mut Meta| meta.compare(&of.prefix, of.audience, &of.except);
        Ok(self.confirmed.update(note)?)
    }

    /// This very difference, if it stayed before.
    fn surviving(&self, latest: &Compared) -> Option<&SurvivedDifference> {
        let mut survived = self.confirmed.meta().survived.iter();
        survived.find(|known| {
            known.is_of(&latest.prefix, latest.audience) && known.difference == latest.difference
        })
    }

    /// Notes a difference that comparing did not remove; answers it if it is to be told and was not yet.
    fn survive(
        &mut self,
        now: WallMs,
        latest: &Compared,
        told: bool,
    ) -> Result<Option<Survived>, DeviceError> {
        let was_told = self.surviving(latest).is_some_and(|known| known.told);
        let tells = told && !was_told;
        let Compared {
            prefix,
            audience,
            except,
            position,
            here,
            difference,
            ..
        } = latest;
        let mut change = self.confirmed.change();
        if tells {
            change.find(&Finding {
                code: "digest-mismatch".into(),
                sentence: format!(
                    "What is held of {prefix} differs from what the server holds at position \
                     {position} although all of it was compared."
                ),
                document: None,
                run: None,
                at: Some(now),
                place: None,
            });
        }
        change.meta().compare(prefix, *audience, except);
        let survived = &mut change.meta().survived;
        survived.retain(|known| !known.is_of(prefix, *audience));
        let told = told || was_told;
        let known = SurvivedDifference::new(prefix, *audience, *difference, told, now);
        survived.push(known);
        change.commit()?;
        Ok(tells.then(|| Survived {
            prefix: prefix.clone(),
            audience: *audience,
            position: *position,
            digest: *here,
        }))
    }

    /// What to do about documents that differ: runs to give back are taken up, others are asked
    /// for.
    pub(super) fn differing(
        &mut self,
        prefix: &Scope,
        audience: Audience,
        found: &[Differs],
    ) -> Result<Reaction, DeviceError> {
        let mut ranges = Vec::new();
        for differs in found {
            match differs {
                Differs::Theirs(range) => ranges.push(*range),
                Differs::Ours(document) => {
                    let all = Part::Beyond(Vec::new());
                    self.session.giving.add(*document, all);
                }
                Differs::Both { document, heads } => {
                    let beyond = Part::Beyond(heads.clone());
                    if self.knows_all(document, heads)? {
                        self.session.giving.add(*document, beyond);
                    } else {
                        ranges.push(Range::of(document));
                        self.session.giving.add_later(*document, beyond);
                    }
                }
            }
        }
        // To a device that is not confirmed nothing is sent.
        if ranges.is_empty() || self.confirmed.meta().unconfirmed {
            return Ok(Reaction::None);
        }
        self.session.comparisons.moved = true;
        Ok(Reaction::Need {
            prefix: prefix.clone(),
            audience,
            ranges,
        })
    }

    /// Whether all of these heads are confirmed here; not where they are too many to be named. What
    /// the tail alone holds does not count: the feed has passed it, and would not bring it.
    fn knows_all(&self, document: &DocumentId, heads: &[HeadTag]) -> Result<bool, DeviceError> {
        let Some(held) = self.load_confirmed(document)? else {
            return Ok(false);
        };
        let changes = held.get_changes_meta(&[]);
        let known: BTreeSet<HeadTag> = changes
            .iter()
            .map(|change| HeadTag::of(&ChangeHash::from(change.hash)))
            .collect();
        Ok(!heads.is_empty() && heads.iter().all(|head| known.contains(head)))
    }

    /// Looks whether what was compared is settled; answers the differences that stayed. `comparing`
    /// is [`ClientSession::comparing`](bukti_sync_protocol::client::ClientSession::comparing).
    /// Ask after every event, behind [`Device::returns`] and before [`Device::offers`]: edits to be
    /// entered again are by that, once what the server has is here, and go to quarantine where
    /// nothing is to come any more that they build on. Refused edits that had no room there are offered
    /// once more.
    ///
    /// Where nothing was asked for and nothing taken, or something was compared until they came, the
    /// last digests may be older than what was compared: such a difference counts once another session
    /// sees it, too.
    ///
    /// # Errors
    /// The device's own stores failed.
    pub fn conclude(&mut self, now: WallMs, comparing: bool) -> Result<Vec<Survived>, DeviceError> {
        let comparisons = &mut self.session.comparisons;
        comparisons.was_comparing = comparing;
        comparisons.compared_since |= comparing;
        let survived = self.survivors(now, comparing)?;
        self.retry_unkept(now);
        if !comparing {
            self.enter_stale_again(now)?;
            self.give_up_stale(now)?;
        }
        Ok(survived)
    }

    fn survivors(&mut self, now: WallMs, comparing: bool) -> Result<Vec<Survived>, DeviceError> {
        let comparisons = &mut self.session.comparisons;
        let through = comparisons.returned_through;
        let unconfirmed = self.confirmed.meta().unconfirmed;
        let followed = comparisons
            .followed
            .is_some_and(|at| at >= through || unconfirmed);
        if comparing || !followed || comparisons.are_concluded() || !self.session.giving.is_done() {
            return Ok(Vec::new());
        }
        let told = comparisons.moved && !comparisons.compared_since;
        let mut survived = Vec::new();
        let mut all = std::mem::take(&mut comparisons.all);
        for compared in all.iter_mut().filter(|compared| !compared.concluded) {
            compared.concluded = true;
            // What an unconfirmed device sent is never fed to it, and differs for that alone.
            match unconfirmed {
                false => survived.extend(self.survive(now, compared, told)?),
                true => self.note_compared(compared)?,
            }
        }
        self.session.comparisons.all = all;
        Ok(survived)
    }
}
