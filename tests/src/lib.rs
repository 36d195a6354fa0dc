//! What the tests, the demo and the measurements of the whole system share: a bad network
//! ([`link`]), real processes ([`process`]), the main job shown for real ([`demo`]), the whole
//! system in one thread, decided by a seed ([`sim`]), and trials of what guards the promises
//! ([`guards`]).

pub mod demo;
pub mod guards;
pub mod link;
pub mod process;
pub mod sim;
