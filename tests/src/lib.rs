//! What the suites share: the hosts under test, and the world of users and devices that talks to them.

pub mod bench;
pub mod carry;
pub mod client;
pub mod demo;
pub mod hosts;
pub mod memory;
pub mod replay;
pub mod server;
pub mod sim;
pub mod target;
pub mod trace;
pub mod work;
pub mod world;
