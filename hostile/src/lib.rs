//! Hostile input: what no honest device sends, and what must hold whatever comes.
//!
//! [`body`] holds, for each thing that reads bytes from outside, one function that takes any bytes
//! and panics if a promise about them is broken. The fuzzer under `fuzz/` calls these, and so does
//! every test run, on the inputs kept in `fuzz/corpus` ([`corpus`]). [`mass`] alters valid inputs
//! by the ten thousand and hands them to the real ledger and sessions, beside honest ones.
//!
//! A function that panics in here is a finding, not a caller's mistake.
#![warn(missing_docs)]

pub mod altered;
pub mod body;
pub mod corpus;
pub mod dice;
pub mod ground;
pub mod house;
pub mod mass;
pub mod pen;
pub mod seeds;
