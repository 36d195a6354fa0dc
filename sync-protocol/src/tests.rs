//! Both sides of a session joined by a pipe, over a real ledger in memory.

mod joined;
mod setting;
