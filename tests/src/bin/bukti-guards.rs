//! `cargo xtask guards`: takes out each guard of the lists and asks the tests to notice.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use bukti_tests::guards::list::{self, Guard};
use bukti_tests::guards::outcome::{Outcome, Verdict};
use bukti_tests::guards::trial::Trial;
use bukti_tests::guards::workspace;
use tokio::runtime::Runtime;

const USAGE: &str = "usage: cargo xtask guards [--area NAME] [--only TEXT]

  --area   the guards of one list of tests/guards
  --only   the guards whose promise or file contains the text";

fn main() -> ExitCode {
    let Some(asked) = Asked::read(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let tried = Runtime::new()
        .map_err(|error| Box::new(error).into())
        .and_then(|runtime| {
            runtime.block_on(async {
                tokio::select! {
                    tried = try_all(&asked) => tried,
                    // What runs meanwhile is ended, since it is in a group of its own.
                    _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
                }
            })
        });
    match tried {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bukti-guards: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Tries the guards that were asked for; true if each was noticed.
async fn try_all(asked: &Asked) -> Result<bool, Box<dyn std::error::Error>> {
    let started = Instant::now();
    let lists = list::read(&workspace())?;
    let (areas, guards): (Vec<String>, Vec<Guard>) = lists
        .into_iter()
        .filter(|area| asked.area.as_ref().is_none_or(|name| *name == area.name))
        .flat_map(|area| {
            area.guards
                .into_iter()
                .map(move |guard| (area.name.clone(), guard))
        })
        .filter(|(_, guard)| asked.takes(guard))
        .unzip();
    if guards.is_empty() {
        return Err("no guard of the lists is meant".into());
    }
    let mut trial = Trial::prepare(&workspace(), &scratch()?, guards).await?;
    let numbers = trial.build().await?;

    // Tests that fail anyhow would notice nothing.
    let mut whole = BTreeMap::new();
    for number in &numbers {
        let selection = trial.guard(*number).selection();
        if let Entry::Vacant(untried) = whole.entry(selection) {
            let outcome = trial.run_whole(untried.key()).await?;
            untried.insert(outcome);
        }
    }
    let mut unnoticed = 0;
    for number in &numbers {
        let (guard, area) = (trial.guard(*number), &areas[*number as usize - 1]);
        let verdict = match &whole[&guard.selection()] {
            Outcome::Passed(_) => trial.run_without(*number).await?.verdict(guard.ends),
            outcome => Verdict::Unnoticed(format!("nothing is shown: with it, {outcome:?}")),
        };
        match verdict {
            Verdict::Held(test) => println!("held      {area}: {}: {test}", guard.holds),
            Verdict::Unnoticed(why) => {
                println!("UNNOTICED {area}: {}: {why}", guard.holds);
                unnoticed += 1;
            }
        }
    }
    println!(
        "{} guards taken out in {} s: {} noticed, {} not",
        numbers.len(),
        started.elapsed().as_secs(),
        numbers.len() - unnoticed,
        unnoticed
    );
    Ok(unnoticed == 0)
}

/// A folder beside what this program was built into.
fn scratch() -> Result<PathBuf, Box<dyn std::error::Error>> {
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(2).ok_or("this program lies nowhere")?;
    Ok(target.join("guards"))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(deeper) = source {
        text.push_str(&format!(": {deeper}"));
        source = deeper.source();
    }
    text
}

struct Asked {
    area: Option<String>,
    only: Option<String>,
}

impl Asked {
    fn read(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut asked = Self {
            area: None,
            only: None,
        };
        while let Some(name) = arguments.next() {
            let value = Some(arguments.next()?);
            match name.as_str() {
                "--area" => asked.area = value,
                "--only" => asked.only = value,
                _ => return None,
            }
        }
        Some(asked)
    }

    fn takes(&self, guard: &Guard) -> bool {
        self.only.as_ref().is_none_or(|text| {
            guard.holds.contains(text) || guard.file.to_string_lossy().contains(text)
        })
    }
}
