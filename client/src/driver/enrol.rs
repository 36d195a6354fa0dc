//! Using an invitation.

use std::time::Duration;

use bukti_core::journal::Storage;
use bukti_sync_protocol::bye::Bye;
use bukti_sync_protocol::enrol::{EnrolSession, Event, Output};
use bukti_sync_protocol::link::InvitationLink;
use tokio::time::Instant;

use super::socket::{Heard, Socket};
use crate::device::{Applicant, Enrolment};
use crate::limits::QUIET_MS;

/// Why a device was not enrolled. Its key is kept, so trying again with the same link is safe.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// No connection stood, or it was cut before the answer.
    #[error("the server was not reached: {reason}")]
    NotReached {
        /// What was met.
        reason: String,
    },
    /// The server does not take the invitation.
    #[error("{}", .0.sentence)]
    Refused(Bye),
}

/// Uses the invitation for the applicant's key, with one connection. Give the answer to
/// [`Applicant::finish`].
///
/// # Errors
/// See [`EnrolError`].
pub async fn enrol<S: Storage>(
    applicant: &Applicant<S>,
    link: &InvitationLink,
) -> Result<Enrolment, EnrolError> {
    let not_reached = |reason| EnrolError::NotReached { reason };
    let mut socket = Socket::connect(&link.sync_url())
        .await
        .map_err(not_reached)?;
    let started = Instant::now();
    let mut session = EnrolSession::new(applicant.key(), &link.secret, link.server, 0);
    loop {
        let mut answer = None;
        while let Some(output) = session.poll() {
            match output {
                Output::Send(frame) => socket.send(frame).await.map_err(not_reached)?,
                Output::Event(event) => answer = Some(event),
                Output::Close => {}
            }
        }
        socket.flush().await.map_err(not_reached)?;
        match answer {
            None => {}
            Some(Event::Bye(bye)) => return Err(EnrolError::Refused(bye)),
            Some(Event::Enrolled {
                id: _,
                journal,
                certificate,
            }) => {
                socket.close().await;
                return Ok(Enrolment {
                    journal,
                    certificate,
                });
            }
        }
        let due = Duration::from_millis(session.deadline().unwrap_or(0));
        tokio::select! {
            heard = socket.receive(Duration::from_millis(QUIET_MS)) => {
                match heard.map_err(not_reached)? {
                    Heard::Frame(frame) => session.handle(&frame),
                    Heard::Answer(_) => {}
                    Heard::Nothing => drop(socket.ping().await.map_err(not_reached)?),
                }
            }
            () = tokio::time::sleep_until(started + due) => {
                session.tick(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
            }
        }
    }
}
