//! What the tests, the demo and the measurements of the whole system share: a bad network
//! ([`link`]), real processes ([`process`]).

pub mod link;
pub mod process;
