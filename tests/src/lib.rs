//! What the suites share: the hosts under test, and the world of users and devices that talks to them.

pub mod hosts;
pub mod world;
