//! The main job from an empty folder to a checked journal, told as it happens.

mod field;
mod meeting;
mod office;
mod town;
mod village;

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

use super::claims::Claims;
use super::page::Page;
use super::stage::Stage;
use super::{Options, Stopped};

/// Numbers of the people, in the order in which they enrol.
const SARI: usize = 0;
const BUDI: usize = 1;
const WATI: usize = 2;

/// The two who write.
const OFFICERS: [usize; 2] = [SARI, BUDI];

/// Everybody.
const ALL: [usize; 3] = [SARI, BUDI, WATI];

/// The village of the officers, and the regency of the verifier.
const VILLAGE: &str = "13.07.05.2001";
const REGENCY: &str = "13.07";

/// The story, with what has to be remembered from one part to the next.
#[derive(Debug)]
pub struct Story<'a> {
    stage: &'a mut Stage,
    page: &'a mut Page,
    options: &'a Options,
    claims: Claims,
    began: Instant,
    /// The piece of evidence that both officers write on.
    shared: String,
    /// Edits that waited on the officers' devices when the link appeared.
    waiting: u64,
    /// What syncing over the bad link took, by person.
    costs: BTreeMap<usize, Cost>,
}

/// What syncing took, as the device and its link counted it.
#[derive(Debug, Default, Clone, Copy)]
struct Cost {
    runs_sent: u64,
    runs_received: u64,
    frames: u64,
    reconnects: u64,
    cuts: u64,
    bytes_up: u64,
    bytes_down: u64,
}

impl<'a> Story<'a> {
    /// Begins.
    pub fn new(stage: &'a mut Stage, page: &'a mut Page, options: &'a Options) -> Self {
        Self {
            stage,
            page,
            options,
            claims: Claims::default(),
            began: Instant::now(),
            shared: String::new(),
            waiting: 0,
            costs: BTreeMap::new(),
        }
    }

    /// Tells all of it; true if everything that was checked held. The server stays.
    ///
    /// # Errors
    /// What did not work, in the words of the process that failed.
    pub fn tell(mut self) -> Result<bool, Stopped> {
        self.page
            .title("Bukti: evidence from where there is no signal");
        self.page.text(
            "A server and three field devices, each a process with a folder of its own on this \
             computer. Every number below was measured in this run.",
        );
        self.in_town()?;
        self.in_the_village()?;
        self.over_a_bad_link()?;
        self.what_everybody_holds()?;
        self.what_the_verifier_sees()?;
        self.an_edit_that_is_not_allowed()?;
        self.what_it_cost();
        self.is_it_all_there()?;
        self.verdict();
        let held = self.claims.hold();
        if !self.options.exit {
            self.by_hand();
        }
        Ok(held)
    }

    /// Shows every claim with its outcome.
    fn verdict(&mut self) {
        self.page.heading("Checked");
        for claim in self.claims.all() {
            self.page
                .claim(&claim.says, claim.contradicted_by.as_deref());
        }
        let held = match self.claims.hold() {
            true => "Everything held",
            false => "NOT everything held",
        };
        let seconds = self.began.elapsed().as_secs();
        self.page.gap();
        self.page.text(&format!("{held}, in {seconds} s."));
    }

    fn name(&self, person: usize) -> &'static str {
        self.stage.person(person).name
    }

    /// Runs `work` for several people at once.
    fn at_once<T: Send>(
        &self,
        people: &[usize],
        work: impl Fn(&Stage, usize) -> Result<T, Stopped> + Sync,
    ) -> Result<Vec<T>, Stopped> {
        let stage = &*self.stage;
        let work = &work;
        std::thread::scope(|scope| {
            let threads: Vec<_> = people
                .iter()
                .map(|&person| scope.spawn(move || work(stage, person)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("a person's commands do not panic"))
                .collect()
        })
    }
}

/// `1 cut`, `2 cuts`.
fn counted(number: u64, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        number => format!("{number} {one}s"),
    }
}

/// A number in an answer; 0 where there is none.
fn number(answer: &Value, key: &str) -> u64 {
    answer[key].as_u64().unwrap_or_default()
}

/// A text in an answer; empty where there is none.
fn text<'v>(answer: &'v Value, key: &str) -> &'v str {
    answer[key].as_str().unwrap_or_default()
}

/// A list in an answer; empty where there is none.
fn list<'v>(answer: &'v Value, key: &str) -> &'v [Value] {
    answer[key].as_array().map_or(&[], Vec::as_slice)
}

/// A value of a field as people write it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}
