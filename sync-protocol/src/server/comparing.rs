//! The server's side of comparisons: a copy of what one subscription holds, while it is asked about.

use std::collections::VecDeque;

use bukti_core::envelope::Seen;
use bukti_core::id::DeviceId;
use bukti_core::journal::Storage;
use bukti_core::kv::Kv;
use bukti_core::ledger::{ReadError, Reader, Subscription};
use bukti_core::record::Finding;

use super::outbound::Outbound;
use super::{End, Output};
use crate::bye::{Bye, ByeCode};
use crate::frame::{Features, Reconcile, encode};
use crate::limits;
use crate::reconcile::Side;

/// What a session compares.
#[derive(Debug, Default)]
pub(super) struct Comparing {
    copy: Option<(Subscription, Side)>,
    copies: usize,
    statements: usize,
    told: bool,
}

impl Comparing {
    /// Lets go of the copy; it is made again if more is asked.
    pub(super) fn rest(&mut self) {
        self.copy = None;
    }

    /// Holds the device to so many statements as one may have.
    pub(super) fn count_statements(&mut self, more: usize) -> Result<(), Bye> {
        // A frame without any costs an answer all the same.
        self.statements += more.max(1);
        if self.statements > limits::STATEMENTS_MAX {
            let sentence = "The device returns more statements than it can hold.";
            return Err(Bye::new(ByeCode::Flood, sentence));
        }
        Ok(())
    }

    pub(super) fn asked<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        (device, peer): (DeviceId, Features),
        asked: &Reconcile,
        outbound: &mut Outbound,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), End> {
        if let Some(survived) = &asked.survived {
            if !std::mem::replace(&mut self.told, true) {
                let at = survived.position;
                outputs.push_back(Output::Find(mismatch(device, asked, at)));
            }
            return Ok(());
        }
        let waiting = outputs.iter().map(|output| match output {
            Output::Send(bytes) => bytes.len(),
            _other => 0,
        });
        if waiting.sum::<usize>() > limits::RECONCILE_ANSWER_BYTES_MAX {
            let sentence = "The device asks faster than it reads the answers.";
            return Err(Bye::new(ByeCode::Flood, sentence).into());
        }
        let of = outbound.subscription(&asked.prefix, asked.audience);
        let mut answers = vec![nothing(asked)];
        if let Some(of) = of {
            let side = self.copy(reader, of)?;
            let heads = |document: &_| -> Result<_, ReadError> {
                let row = reader.document(document)?;
                Ok(row.map(|row| row.heads).unwrap_or_default())
            };
            answers = side.answer(asked, heads)?.ok_or_else(|| {
                Bye::malformed("The device's part of a comparison makes no sense.".to_owned())
            })?;
            for range in &asked.need {
                outbound.need(side.documents(*range));
            }
        }
        for answer in answers {
            outputs.push_back(Output::Send(encode(&answer.into(), peer)));
        }
        Ok(())
    }

    fn copy<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        of: Subscription,
    ) -> Result<&mut Side, End> {
        let copy = match self.copy.take() {
            Some((held, side)) if held == of => (held, side),
            Some(_) | None => {
                self.copies += 1;
                if self.copies > limits::COMPARISONS_MAX {
                    let sentence = "The device compares more often than it has reason to.";
                    return Err(Bye::new(ByeCode::Flood, sentence).into());
                }
                let (_, documents) = reader.comparison(&of)?;
                (of, Side::new(documents))
            }
        };
        Ok(&mut self.copy.insert(copy).1)
    }
}

fn nothing(asked: &Reconcile) -> Reconcile {
    Reconcile {
        ranges: Vec::new(),
        lists: Vec::new(),
        need: Vec::new(),
        survived: None,
        more: false,
        ..asked.clone()
    }
}

/// What is kept when a device shows a cursor of a history that this journal does not have.
pub(super) fn cursor_void(device: DeviceId, watermark: Seen) -> Finding {
    Finding {
        code: "cursor-void".to_owned(),
        sentence: format!(
            "A device showed a cursor that this journal, now at record {}, does not have: records \
             were lost, or the device invents it.",
            watermark.position
        ),
        device: Some(device),
        document: None,
        run: None,
        place: None,
    }
}

fn mismatch(device: DeviceId, asked: &Reconcile, at: u64) -> Finding {
    Finding {
        code: "digest-mismatch".to_owned(),
        sentence: format!(
            "A device says that it holds other documents in {} than the server at record {at}, \
             although all were compared.",
            asked.prefix
        ),
        device: Some(device),
        document: None,
        run: None,
        place: None,
    }
}
