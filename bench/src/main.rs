//! Measurements: what things cost, and which part dominates.
//!
//! `cargo xtask bench [reconnect | edit | push | open | compare | history | load]`, where `compare`,
//! `history` and `load` are asked for by name, since they take minutes. Times are ratios against
//! something run beside it on the same machine; absolute times are shown so that the parts can be
//! compared with each other. Bytes, frames and memory are absolute.

mod compare;
mod edit;
mod history;
mod load;
mod open;
mod push;
mod reconnect;
mod tail;
mod wire;

use std::process::ExitCode;

const USAGE: &str =
    "usage: cargo xtask bench [reconnect | edit | push | open | compare | history | load]";

#[tokio::main]
async fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let all = ["reconnect", "edit", "push", "open"];
    let chosen: Vec<&str> = if names.is_empty() {
        all.to_vec()
    } else {
        names.iter().map(String::as_str).collect()
    };
    let mut within = true;
    for name in chosen {
        within &= match name {
            "reconnect" => reconnect::measure().await,
            "edit" => edit::measure().await,
            "push" => push::measure().await,
            "open" => open::measure().await,
            "compare" => tokio::task::block_in_place(compare::measure),
            "history" => history::measure(),
            "load" => load::measure().await,
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        };
        println!();
    }
    if within {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Says whether a bound was kept.
fn verdict(kept: bool) -> &'static str {
    if kept { "within" } else { "OVER" }
}

/// The value below which a share of the sorted values lies.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}
