//! What happens to a world: drawn from a seed before it begins, so that steps can be left out.

use std::fmt;

use bukti_core::id::WallMs;
use bukti_sync_protocol::Mono;

use super::network::Signal;
use super::random::Random;
use super::{Focus, Setup};

/// Something that happens at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Decides what chance does in this step; stays when other steps are left out.
    pub number: u64,
    /// When.
    pub at: Mono,
    /// What.
    pub act: Act,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// A person begins a piece of evidence.
    Create {
        /// On this device.
        device: usize,
        /// To be known as this one.
        document: usize,
    },
    /// A person changes one, if the device has it.
    Edit {
        /// On this device.
        device: usize,
        /// This one.
        document: usize,
        /// How.
        what: What,
    },
    /// The network where a device stands changes.
    Signal {
        /// The device.
        device: usize,
        /// How it is from here on.
        signal: Signal,
    },
    /// A connection breaks inside of whatever it carries.
    Cut {
        /// Whose.
        device: usize,
    },
    /// A device loses power.
    CrashDevice {
        /// Which.
        device: usize,
        /// During the call to its disk that comes so many after this; at once without.
        call: Option<u64>,
        /// What becomes of its confirmed documents.
        rows: Rows,
    },
    /// Somebody copies a device's store.
    Keep {
        /// Which.
        device: usize,
    },
    /// The copy takes the place of the store; without one, one is made.
    Restore {
        /// Which.
        device: usize,
    },
    /// The server loses power.
    CrashServer {
        /// When.
        stage: Stage,
        /// What becomes of its rows.
        rows: Rows,
    },
    /// A device's disk fills up, and is emptied again.
    FillDevice {
        /// Whose.
        device: usize,
        /// How full.
        room: Room,
        /// After so long there is space.
        for_ms: u64,
    },
    /// The server's disk fills up, and is emptied again.
    FillServer {
        /// How full.
        room: Room,
        /// After so long there is space.
        for_ms: u64,
    },
    /// An administrator ends a device.
    Revoke {
        /// Which.
        device: usize,
    },
    /// An administrator takes the right to write from a device.
    Demote {
        /// Which.
        device: usize,
    },
    /// A device's clock is set.
    Clock {
        /// Which.
        device: usize,
        /// To what.
        to: WallMs,
    },
    /// A dishonest program seals what it may not with the device's key.
    Forge {
        /// Which.
        device: usize,
        /// In which document.
        document: usize,
        /// What.
        forgery: Forgery,
    },
}

/// An edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Another title.
    Title,
    /// Another value of a field.
    Field,
    /// Words in the narrative.
    Narrative,
    /// A row it supports.
    Row,
    /// Ready for review.
    Ready,
    /// A draft again.
    Draft,
    /// Taken back.
    Withdraw,
    /// A choice among concurrent values, if there are any.
    Resolve,
}

/// Space on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// More than is ever needed.
    Plenty,
    /// Less than is kept free: nothing is added, and everything else goes on.
    Reserve,
    /// Not a byte: whoever is not running cannot be started.
    None,
}

/// What becomes of derived rows in a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// They are as they were.
    Stay,
    /// They are as they were some time ago.
    Earlier,
    /// They are gone.
    Vanish,
}

/// Where the server loses power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Between two batches.
    Idle,
    /// With a batch taken from the queue and nothing written.
    BeforeWriting,
    /// During the call to its disk that comes so many after this.
    Call(u64),
    /// With a batch on disk and nothing answered.
    BeforeAnswering,
}

/// What a dishonest program makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// A document outside of its grants.
    Elsewhere,
    /// A change whose bytes are noise.
    Noise,
    /// A document of another device, begun a second time.
    SecondRoot,
}

/// 2026, when the server's clock begins.
pub const SERVER_START: WallMs = 1_790_000_000_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Draws the steps of a seed.
pub fn draw(seed: u64, setup: &Setup) -> Vec<Step> {
    let mut random = Random::of(seed, 1, 0);
    let mut drawing = Drawing {
        setup,
        at: 0,
        steps: Vec::new(),
        random: &mut random,
    };
    for device in 0..setup.devices {
        let signal =
            drawing
                .random
                .weighted(&[(5, Signal::Good), (3, Signal::Poor), (2, Signal::None)]);
        drawing.add(Act::Signal { device, signal });
        let to = drawing.clock();
        drawing.add(Act::Clock { device, to });
    }
    for document in 0..setup.documents {
        drawing.pass();
        let device = drawing.writer();
        drawing.add(Act::Create { device, document });
    }
    let mut edits = drawing
        .random
        .between(setup.edits as u64 / 2, setup.edits as u64);
    while edits > 0 {
        drawing.pass();
        let act = drawing.act();
        if matches!(act, Act::Edit { .. }) {
            edits -= 1;
        }
        drawing.add(act);
    }
    drawing.steps
}

struct Drawing<'a> {
    setup: &'a Setup,
    at: Mono,
    steps: Vec<Step>,
    random: &'a mut Random,
}

impl Drawing<'_> {
    fn add(&mut self, act: Act) {
        let number = self.steps.len() as u64;
        let at = self.at;
        self.steps.push(Step { number, at, act });
    }

    /// People type within seconds, then hours pass; sometimes longer than a token holds.
    fn pass(&mut self) {
        let (first, last) = self.random.weighted(&[
            (20, (0, 50)),
            (40, (50, 3_000)),
            (30, (3_000, 30_000)),
            (9, (30_000, 3_600_000)),
            (1, (DAY_MS, 40 * DAY_MS)),
        ]);
        self.at += self.random.between(first, last);
    }

    fn device(&mut self) -> usize {
        self.random.index(self.setup.devices)
    }

    fn document(&mut self) -> usize {
        self.random.index(self.setup.documents)
    }

    /// Of eight devices, 2 and 7 only read; see `world`.
    fn writer(&mut self) -> usize {
        let device = self.device();
        match device % 8 {
            2 | 7 => device - 2,
            _ => device,
        }
    }

    fn clock(&mut self) -> WallMs {
        let anywhere = self.random.between(0, 4_102_444_800_000) as WallMs;
        let right = SERVER_START + self.at as WallMs;
        self.random
            .weighted(&[(5, right), (2, 0), (2, 4_102_444_800_000), (1, anywhere)])
    }

    fn rows(&mut self) -> Rows {
        self.random
            .weighted(&[(3, Rows::Stay), (2, Rows::Earlier), (1, Rows::Vanish)])
    }

    fn act(&mut self) -> Act {
        match self.setup.focus {
            Focus::Everything => self.anything(),
            Focus::Storage if self.random.chance(45) => self.trouble_of_disks(),
            Focus::Storage => self.anything(),
        }
    }

    fn trouble_of_disks(&mut self) -> Act {
        let device = self.device();
        // An edit takes few calls, a start more.
        let last = self.random.weighted(&[(2, 4), (2, 9), (1, 24)]);
        let call = self.random.between(1, last);
        let stage = self.random.weighted(&[
            (6, Stage::Call(call)),
            (1, Stage::BeforeWriting),
            (1, Stage::BeforeAnswering),
        ]);
        let rows = self.rows();
        let room = self.random.weighted(&[(2, Room::Reserve), (1, Room::None)]);
        let for_ms = self.random.between(500, 60_000);
        self.random.weighted(&[
            (
                8,
                Act::CrashDevice {
                    device,
                    call: Some(call),
                    rows,
                },
            ),
            (8, Act::CrashServer { stage, rows }),
            (1, Act::Keep { device }),
            (1, Act::Restore { device }),
            (
                2,
                Act::FillDevice {
                    device,
                    room,
                    for_ms,
                },
            ),
            (2, Act::FillServer { room, for_ms }),
        ])
    }

    fn anything(&mut self) -> Act {
        let device = self.device();
        let document = self.document();
        match self.random.below(1_000) {
            0..590 => Act::Edit {
                device: if self.random.chance(80) {
                    self.writer()
                } else {
                    device
                },
                document,
                what: self.what(),
            },
            590..600 => {
                let room = self.random.weighted(&[(2, Room::Reserve), (1, Room::None)]);
                let for_ms = self.random.between(500, 60_000);
                match self.random.chance(50) {
                    true => Act::FillServer { room, for_ms },
                    false => Act::FillDevice {
                        device,
                        room,
                        for_ms,
                    },
                }
            }
            600..720 => Act::Signal {
                device,
                signal: self.random.weighted(&[
                    (3, Signal::None),
                    (4, Signal::Poor),
                    (4, Signal::Good),
                ]),
            },
            720..800 => Act::Cut { device },
            800..850 => {
                let armed = self.random.chance(60);
                let call = self.random.between(1, 20);
                Act::CrashDevice {
                    device,
                    call: armed.then_some(call),
                    rows: self.rows(),
                }
            }
            850..880 => Act::Keep { device },
            880..910 => Act::Restore { device },
            910..960 => {
                let call = self.random.between(1, 8);
                Act::CrashServer {
                    stage: self.random.weighted(&[
                        (1, Stage::Idle),
                        (1, Stage::BeforeWriting),
                        (3, Stage::Call(call)),
                        (2, Stage::BeforeAnswering),
                    ]),
                    rows: self.rows(),
                }
            }
            960..964 => Act::Revoke { device },
            964..970 => Act::Demote { device },
            970..985 => Act::Clock {
                device,
                to: self.clock(),
            },
            _ => Act::Forge {
                device,
                document,
                forgery: self.random.weighted(&[
                    (1, Forgery::Elsewhere),
                    (1, Forgery::Noise),
                    (1, Forgery::SecondRoot),
                ]),
            },
        }
    }

    fn what(&mut self) -> What {
        self.random.weighted(&[
            (20, What::Title),
            (20, What::Field),
            (25, What::Narrative),
            (10, What::Row),
            (8, What::Ready),
            (4, What::Draft),
            (3, What::Withdraw),
            (10, What::Resolve),
        ])
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.at / 1_000;
        let millis = self.at % 1_000;
        write!(
            f,
            "{:>4}  {seconds:>8}.{millis:03} s  {:?}",
            self.number, self.act
        )
    }
}
