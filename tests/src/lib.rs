//! What the tests, the demo and the measurements of the whole system share: a bad network
//! ([`link`]), real processes ([`process`]) with folders of any size ([`folder`]), what a server
//! says over HTTP ([`http`]), the protocol in their own hands ([`wire`]), the main job shown for real ([`demo`]), what comparing takes
//! ([`comparing`], by the frames on a [`tap`]), the whole system in one thread, decided by a seed
//! ([`sim`]), and trials of what guards the promises ([`guards`]).

pub mod comparing;
pub mod demo;
pub mod folder;
pub mod guards;
pub mod http;
pub mod link;
pub mod process;
pub mod sim;
pub mod tap;
pub mod wire;
