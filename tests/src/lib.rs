//! What the tests, the demo and the measurements of the whole system share: a bad network
//! ([`link`]), real processes ([`process`]), and the main job shown for real ([`demo`]).

pub mod demo;
pub mod link;
pub mod process;
