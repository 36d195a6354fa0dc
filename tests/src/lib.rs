//! What the tests, the demo and the measurements of the whole system share: a bad network
//! ([`link`]), real processes ([`process`]), the protocol in their own hands ([`wire`]), the main
//! job shown for real ([`demo`]), and the whole system in one thread, decided by a seed ([`sim`]).

pub mod demo;
pub mod link;
pub mod process;
pub mod sim;
pub mod wire;
