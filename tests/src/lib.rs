//! What the tests, the demo and the measurements of the whole system share: a bad network
//! ([`link`]), real processes ([`process`]) with folders of any size ([`folder`]), the protocol in
//! their own hands ([`wire`]), the main job shown for real ([`demo`]), what comparing takes
//! ([`comparing`], by the frames on a [`tap`]), and the whole system in one thread, decided by a
//! seed ([`sim`]).

pub mod comparing;
pub mod demo;
pub mod folder;
pub mod link;
pub mod process;
pub mod sim;
pub mod tap;
pub mod wire;
