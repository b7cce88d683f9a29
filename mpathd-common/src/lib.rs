//! What the kernel program and the daemon share. Nothing here allocates, blocks, or knows a clock
//! or a socket.
//!
//! - [`abi`]: the maps, their layouts and the words in them.
//! - [`wire`]: frame in, echo reply out. The same code runs in the kernel, in the socket receive
//!   mode and under test.
//! - [`matching`]: which outcome an echo reply has, given the tables; shared in the same way.
//! - [`redirect`]: which frames of a dead NIC another one sends; kernel program and tests.
//! - [`frame`]: the echo requests that the daemon sends.
//! - [`neighbour`]: ARP and neighbour discovery, for the daemon only.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod abi;
mod checksum;
pub mod frame;
pub mod matching;
pub mod neighbour;
pub mod redirect;
pub mod wire;
