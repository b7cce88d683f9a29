//! The engine of mpathd: it decides, the edges do. No clock, no socket, no file, no thread: `no_std`
//! makes the compiler refuse them. Facts go in as [`event::Event`], time as an argument; wishes
//! come out as [`request::Action`], and "wake me at" as an [`time::Instant`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod chance;
pub mod config;
pub mod engine;
pub mod event;
pub mod histogram;
pub mod ids;
pub mod message;
pub mod request;
pub mod state;
pub mod time;
pub mod view;

mod anonymous;
mod answers;
mod attention;
mod bench;
mod capacity;
mod claim;
mod damping;
mod facts;
mod group;
mod herald;
mod hosts;
mod inherit;
mod instance;
mod link_local;
mod member;
mod outbox;
mod pace;
mod path;
mod placement;
mod policing;
mod presence;
mod probing;
mod reconcile;
mod redirect;
mod resource;
mod rotation;
mod rounds;
mod routes;
mod rtt;
mod search;
mod slots;
mod snapshot;
mod takeover;
mod targets;
mod unwatched;
mod verdict;
