//! A server that lost the end of its history, or all of it.

use bukti_core::id::{Incarnation, JournalId};
use bukti_core::journal::Storage;
use bukti_core::kv::Kv;
use bukti_sync_protocol::bye::{Bye, ByeCode};
use bukti_sync_protocol::client::is_short;

use super::{Device, DeviceError, IdentityError, Reaction, identity};

impl<S: Storage, K: Kv> Device<S, K> {
    /// The cursor is not of the server's history.
    pub(super) fn lost(&mut self, incarnation: Incarnation) -> Result<Reaction, DeviceError> {
        self.forget_history(incarnation, self.identity.journal())?;
        Ok(Reaction::Statements(self.statements()?))
    }

    /// The server let this device in again, perhaps under another journal.
    ///
    /// The new journal is written down before the store is bound to it. A crash in between leaves a
    /// store of a journal that the identity names as a former one, and opening goes on from there;
    /// the other way round the store would be taken for a stranger's and put aside.
    pub(super) fn readmitted(
        &mut self,
        incarnation: Incarnation,
        journal: &[u8],
    ) -> Result<Reaction, DeviceError> {
        let next = match identity::check_move(&self.identity, journal) {
            Ok(next) => next,
            Err(IdentityError::Answer(reason)) => {
                let sentence = format!("The server's answer does not hold: {reason}.");
                return Ok(Reaction::Leave(Bye::new(ByeCode::Unauthorised, sentence)));
            }
            Err(error) => return Err(error.into()),
        };
        self.tail.start_over(incarnation, false)?;
        identity::keep_move(&*self.home, &next)?;
        self.identity = next;
        self.forget_positions(self.identity.journal())?;
        Ok(Reaction::Statements(self.statements()?))
    }

    /// The server gives positions out again that it lost, so those that this device remembers say
    /// nothing any more. Among them are the ones by which it notices that its own store was thrown
    /// back: they count within one incarnation, and the next begins here. The incarnation goes
    /// first: a crash behind it costs one that was not used, a crash the other way round would
    /// leave a tail that the store seems to lag behind.
    fn forget_history(
        &mut self,
        incarnation: Incarnation,
        journal: JournalId,
    ) -> Result<(), DeviceError> {
        self.tail.start_over(incarnation, false)?;
        self.forget_positions(journal)
    }

    fn forget_positions(&mut self, journal: JournalId) -> Result<(), DeviceError> {
        self.confirmed.forget_history(journal)?;
        self.session.forget_answers();
        self.read_receipts()?;
        self.read_grants()
    }

    /// What the device holds of the server's own statements, its certificate first and what is long
    /// last.
    fn statements(&mut self) -> Result<Vec<Vec<u8>>, DeviceError> {
        let own = self.identity.certificate_record().to_vec();
        let mut statements = self.confirmed.owed()?;
        statements.retain(|statement| *statement != own);
        statements.insert(0, own);
        Ok(statements)
    }

    /// What of the statements is to be given in a session that begins. The server waits for the
    /// short ones where it is shown a cursor that it lost, and they go then.
    pub(super) fn owed(&mut self) -> Result<Vec<Vec<u8>>, DeviceError> {
        let mut owed = self.confirmed.owed()?;
        if self.confirmed.meta().cursor_is_lost {
            owed.retain(|statement| !is_short(statement));
        }
        Ok(owed)
    }
}
