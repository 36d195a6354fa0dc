//! What befell machines and their disks in worlds, counted by kind.
//!
//! Each kind has a floor in the tests: a kind that no longer happens, or that was drawn and has no
//! effect, would otherwise leave worlds that prove nothing about it.

use std::fmt;
use std::ops::AddAssign;

/// How a process came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The power went between two calls to the disk.
    Idle,
    /// The power went with runs taken from the queue and nothing written.
    Unwritten,
    /// The power went with runs on the disk and nothing answered.
    Unanswered,
    /// A call to the disk failed while it ran, and the power went.
    CallAndPower,
    /// A call to the disk failed while it ran; the machine and its cache went on.
    Call,
    /// The disk was full.
    NoRoom,
    /// The store was replaced by a copy.
    Restored,
    /// It was ended so that the world can come to rest.
    AtRest,
}

/// How a process did not come up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unstarted {
    /// A call to the disk failed, and the power went.
    CallAndPower,
    /// A call to the disk failed; the machine and its cache went on.
    Call,
    /// The disk was full: it is tried again once there is space.
    NoRoom,
}

/// Counts for one kind of machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Troubles {
    /// Losses of power between two calls to the disk.
    pub idle: u64,
    /// Losses of power with runs taken from the queue and nothing written.
    pub unwritten: u64,
    /// Losses of power with runs on the disk and nothing answered.
    pub unanswered: u64,
    /// Calls that failed in a running process, and the power went.
    pub calls_and_power: u64,
    /// Calls that failed in a running process and ended it alone.
    pub calls: u64,
    /// Calls that failed at a start, and the power went.
    pub starts_and_power: u64,
    /// Calls that failed at a start and ended the process alone.
    pub starts: u64,
    /// Processes that a full disk ended or kept from starting.
    pub no_room: u64,
    /// Stores replaced by a copy.
    pub restored: u64,
    /// Rows that went back to what they were before.
    pub rows_earlier: u64,
    /// Rows that vanished.
    pub rows_gone: u64,
    /// Disks that fell below their reserve.
    pub reserve: u64,
    /// Disks that became full to the last byte.
    pub full: u64,
    /// What was to be written and was put off for want of space.
    pub put_off: u64,
    /// What was read on a disk without space.
    pub read_meanwhile: u64,
}

impl Troubles {
    /// Losses of power and calls that failed, at a start or later. What ends a process otherwise
    /// does not count, nor does the end that every world comes to.
    pub fn crashes(&self) -> u64 {
        self.idle
            + self.unwritten
            + self.unanswered
            + self.calls_and_power
            + self.calls
            + self.starts_and_power
            + self.starts
    }

    /// Every kind with its name and how often it happened.
    pub fn kinds(&self) -> [(&'static str, u64); 15] {
        let Self {
            idle,
            unwritten,
            unanswered,
            calls_and_power,
            calls,
            starts_and_power,
            starts,
            no_room,
            restored,
            rows_earlier,
            rows_gone,
            reserve,
            full,
            put_off,
            read_meanwhile,
        } = *self;
        [
            ("power losses between calls", idle),
            ("before writing", unwritten),
            ("before answering", unanswered),
            ("failed calls with power loss", calls_and_power),
            ("failed calls alone", calls),
            ("failed starts with power loss", starts_and_power),
            ("failed starts alone", starts),
            ("ended by a full disk", no_room),
            ("stores restored", restored),
            ("rows thrown back", rows_earlier),
            ("rows gone", rows_gone),
            ("disks below their reserve", reserve),
            ("disks full", full),
            ("put off for want of space", put_off),
            ("read meanwhile", read_meanwhile),
        ]
    }

    /// A process ended.
    pub fn ended(&mut self, how: Ended) {
        match how {
            Ended::Idle => self.idle += 1,
            Ended::Unwritten => self.unwritten += 1,
            Ended::Unanswered => self.unanswered += 1,
            Ended::CallAndPower => self.calls_and_power += 1,
            Ended::Call => self.calls += 1,
            Ended::NoRoom => self.no_room += 1,
            Ended::Restored => self.restored += 1,
            Ended::AtRest => {}
        }
    }

    /// A process did not come up.
    pub fn unstarted(&mut self, how: Unstarted) {
        match how {
            Unstarted::CallAndPower => self.starts_and_power += 1,
            Unstarted::Call => self.starts += 1,
            Unstarted::NoRoom => self.no_room += 1,
        }
    }
}

impl AddAssign for Troubles {
    fn add_assign(&mut self, other: Self) {
        self.idle += other.idle;
        self.unwritten += other.unwritten;
        self.unanswered += other.unanswered;
        self.calls_and_power += other.calls_and_power;
        self.calls += other.calls;
        self.starts_and_power += other.starts_and_power;
        self.starts += other.starts;
        self.no_room += other.no_room;
        self.restored += other.restored;
        self.rows_earlier += other.rows_earlier;
        self.rows_gone += other.rows_gone;
        self.reserve += other.reserve;
        self.full += other.full;
        self.put_off += other.put_off;
        self.read_meanwhile += other.read_meanwhile;
    }
}

impl fmt::Display for Troubles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} crashes", self.crashes())?;
        for (kind, count) in self.kinds() {
            write!(f, ", {count} {kind}")?;
        }
        Ok(())
    }
}
