//! Evidence for anti-corruption programmes as data that merges by itself.
//!
//! This crate holds everything that must be the same on a phone, on a server and in the
//! simulator: identities ([`id`], [`scope`]), where moves
//! put units ([`placement`]), who may do what ([`authority`]), the programmes and their fields
//! ([`framework`], [`kind`]), evidence as an Automerge document ([`evidence`]), the
//! signed runs of changes that travel ([`envelope`]), the checks before a run is accepted
//! ([`change`], [`validate`]), the append-only journal ([`journal`], [`record`]) and everything
//! derived from it ([`kv`], [`ledger`]).
//!
//! Nothing here reads a clock, a random source, an environment variable or a socket: what varies
//! arrives as an argument. Only [`journal::disk`] touches files and only [`kv::sled`] names sled.
#![warn(missing_docs)]

pub mod authority;
pub mod causes;
pub mod change;
pub mod digest;
pub mod envelope;
pub mod evidence;
pub mod framework;
pub mod hash;
pub mod id;
pub mod journal;
mod json;
pub mod kind;
pub mod kv;
pub mod ledger;
pub mod limits;
pub mod placement;
pub mod record;
pub mod region;
pub mod scope;
pub mod validate;
