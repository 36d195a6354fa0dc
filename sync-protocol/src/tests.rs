//! Both sides of a session joined by a pipe, over a real ledger in memory, and golden vectors.

mod comparing;
mod enrolment;
mod flow;
mod joined;
mod reconciling;
mod room;
pub(crate) mod samples;
mod setting;
mod statements;
mod strangers;
mod unreadable;
mod vectors;
mod withdrawn;
