//! What takes the place of engine and storage when another configuration comes in force. Made by the
//! slow thread, with room for all there can be; emptied into the fast thread, which gives back what it
//! had, to be freed where that harms nobody.

use mpathd_core::config::{Config, MAX_TARGETS, Member};
use mpathd_core::engine::Engine;
use mpathd_core::ids::{Family, IfName, Ifindex, PathId, Seq};
use mpathd_core::state::Saved;
use mpathd_core::time::Instant;

use super::channels::Channels;
use super::frames::Paths;
use super::links::Watch;
use super::neighbours::Neighbours;
use super::turn::reserve;
use crate::host;
use crate::messages::Channel;
use crate::shared::Shared;

pub struct Heir {
    pub engine: Engine,
    pub note: Note,
    /// For the host thread, which must have them before the first request.
    pub settings: Option<Box<host::Settings>>,
    /// SCHED_FIFO, 1..=99; 0 = ordinary.
    pub priority: u8,
    pub(super) members: Vec<(IfName, bool)>,
    pub(super) room: Room,
}

/// For the slow thread, when it comes back.
pub struct Note {
    pub config: Config,
    /// The same as a text, and the seed of the engine: for the recorder.
    pub text: String,
    pub seed: u64,
    pub revision: u32,
}

/// Storage of the fast thread, made once.
pub(super) struct Room {
    pub watch: Watch,
    pub channels: Channels,
    pub paths: Paths,
    pub neighbours: Neighbours,
    pub pending: Vec<(PathId, Seq)>,
    pub replies: Vec<(PathId, Seq, Instant)>,
    pub watched: Vec<Ifindex>,
    pub retired: Vec<Channel>,
}

impl Heir {
    /// `before`: the configuration in force. `seats`: members that any configuration so far has had at
    /// most, this one included.
    pub fn new(
        note: Note,
        saved: Saved,
        before: &Config,
        seats: usize,
        settings: host::Settings,
        priority: u8,
        shared: &Shared,
    ) -> Box<Self> {
        let mut engine = Engine::new(note.config.clone(), saved, note.seed);
        engine.make_room_for(before);
        engine.revision = note.revision;
        let members = note.config.groups.iter().flat_map(|group| &group.members);
        let members: Vec<_> = members.map(|m: &Member| (m.name, m.consume_replies)).collect();
        let names: Vec<_> = members.iter().map(|(name, _)| *name).collect();
        let addresses = note.config.groups.iter().map(|group| group.data.len()).sum();
        shared.prepare(|view| {
            reserve(view, seats, paths(seats));
            view.addresses.reserve(addresses);
        });
        Box::new(Self {
            engine,
            note,
            settings: Some(Box::new(settings)),
            priority,
            members,
            room: Room::new(seats, &names),
        })
    }
}

/// Replies of one path that can matter at a time: a ring of the kernel's.
const RING: usize = mpathd_common::abi::RING as usize;

/// Of so many members.
pub(super) fn paths(seats: usize) -> usize {
    seats * Family::ALL.len() * MAX_TARGETS
}

impl Room {
    pub fn new(seats: usize, names: &[IfName]) -> Self {
        let paths = paths(seats);
        Self {
            watch: Watch::new(names),
            channels: Channels::new(seats),
            paths: Paths::new(paths),
            neighbours: Neighbours::new(2 * paths),
            pending: Vec::with_capacity(paths * RING),
            replies: Vec::with_capacity(paths * RING),
            watched: Vec::with_capacity(seats),
            retired: Vec::with_capacity(2 * seats),
        }
    }
}
