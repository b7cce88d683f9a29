//! The paths: for each its slot key and the frame of its probes, built once and changed only in the
//! sequence number.

use std::net::IpAddr;

use mpathd_common::abi::{LOWER, Path as Ends, SlotKey};
use mpathd_common::frame::{Echo, Mac, PROBE_MAX, Probe};
use mpathd_common::neighbour::{Buffer, NEIGHBOUR_MAX, arp_request, neighbour_solicitation};
use mpathd_common::wire::MAGIC;
use mpathd_core::ids::{Ifindex, PathId, Seq};
use mpathd_core::request::PathKey;

use super::neighbours::Ask;
use super::random::Random;

/// Room for any frame we send.
pub(super) const FRAME_MAX: usize =
    if PROBE_MAX > NEIGHBOUR_MAX { PROBE_MAX } else { NEIGHBOUR_MAX };

/// A frame on its way out.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    bytes: [u8; FRAME_MAX],
    len: usize,
}

impl Frame {
    pub(super) const EMPTY: Frame = Frame { bytes: [0; FRAME_MAX], len: 0 };

    pub(super) fn set(&mut self, frame: &[u8]) {
        self.bytes[..frame.len()].copy_from_slice(frame);
        self.len = frame.len();
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// One path in use.
pub(super) struct Path {
    pub key: PathKey,
    pub slot: SlotKey,
    /// Where its target was among the neighbours when last looked for.
    pub neighbour: usize,
    ident: u16,
    /// For the MACs it was built with; another pair builds it anew.
    template: Option<(Mac, Mac, Probe)>,
}

impl Path {
    /// Writes the probe `seq` from `source` to `target` into `frame`.
    pub(super) fn probe(
        &mut self,
        path: PathId,
        seq: Seq,
        source: Mac,
        target: Mac,
        frame: &mut Frame,
    ) {
        if self.template.as_ref().is_none_or(|(from, to, _)| (*from, *to) != (source, target)) {
            let echo = Echo {
                source_mac: source,
                target_mac: target,
                path: self.slot.path,
                ident: self.ident,
                slot: path.0.into(),
                generation: self.slot.generation,
                cookie: self.slot.cookie,
            };
            self.template = Some((source, target, Probe::new(&echo)));
        }
        if let Some((_, _, probe)) = &mut self.template {
            frame.set(probe.with_seq(seq.0));
        }
    }

    /// Writes a request for the target's MAC into `frame`.
    pub(super) fn request(&self, source: Mac, ask: Ask, frame: &mut Frame) {
        let to = match ask {
            Ask::Alone(mac) => Some(mac),
            Ask::All => None,
        };
        let mut buffer: Buffer = [0; NEIGHBOUR_MAX];
        frame.set(match self.slot.path {
            Ends::V4 { test, target } => arp_request(&mut buffer, source, test, target, to),
            Ends::V6 { test, target } => {
                neighbour_solicitation(&mut buffer, source, test, target, to)
            }
        });
    }
}

/// All paths, by number.
pub(super) struct Paths {
    all: Vec<Option<Path>>,
    generation: u32,
}

impl Paths {
    /// Room for paths 0 to `count` - 1; one beyond makes it grow.
    pub(super) fn new(count: usize) -> Self {
        Self { all: std::iter::repeat_with(|| None).take(count).collect(), generation: 0 }
    }

    /// Moves all paths, under their numbers; `other` has room for them.
    pub(super) fn move_into(&mut self, other: &mut Self) {
        other.generation = self.generation;
        for (place, path) in other.all.iter_mut().zip(&mut self.all) {
            *place = path.take();
        }
    }

    /// Opens a path with a cookie of its own. `None` if its ends are not of one family. `consume`:
    /// replies end at the hook. `lower`: the devices below the NIC.
    pub(super) fn open(
        &mut self,
        path: PathId,
        key: PathKey,
        consume: bool,
        lower: [u32; LOWER],
        random: &mut Random,
    ) -> Option<&Path> {
        let index = usize::from(path.0);
        if index >= self.all.len() {
            self.all.resize_with(index + 1, || None);
        }
        self.generation = self.generation.wrapping_add(1);
        let slot = SlotKey {
            cookie: random.draw(),
            generation: self.generation,
            ifindex: key.ifindex.0,
            lower,
            consume,
            path: Ends::new(key.test, key.target)?,
        };
        let ident = random.draw() as u16;
        Some(self.all[index].insert(Path { key, slot, neighbour: 0, ident, template: None }))
    }

    pub(super) fn close(&mut self, path: PathId) {
        if let Some(place) = self.all.get_mut(usize::from(path.0)) {
            *place = None;
        }
    }

    pub(super) fn get_mut(&mut self, path: PathId) -> Option<&mut Path> {
        self.all.get_mut(usize::from(path.0))?.as_mut()
    }

    /// Those of one NIC.
    pub(super) fn of_nic(&mut self, ifindex: Ifindex) -> impl Iterator<Item = (PathId, &mut Path)> {
        let all = (0..).map(PathId).zip(&mut self.all);
        all.filter_map(|(id, path)| Some((id, path.as_mut()?)))
            .filter(move |(_, path)| path.key.ifindex == ifindex)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PathId, &Path)> {
        (0..).map(PathId).zip(&self.all).filter_map(|(id, path)| Some((id, path.as_ref()?)))
    }
}

/// What a frame of ours was, when the kernel hands it back with its transmit stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Probe(PathId, Seq),
    /// A request for this address.
    Request(IpAddr),
}

const ETHERNET: usize = 14;
const VLAN_TAG: usize = 4;
const IPV4: usize = 20;
const IPV6: usize = 40;

/// Reads a frame that we built. The device may have put a VLAN tag into it.
pub(super) fn identify(frame: &[u8]) -> Option<Sent> {
    let ethertype = |at: usize| frame.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    let (kind, at) = match ethertype(12)? {
        0x8100 | 0x88a8 => (ethertype(16)?, ETHERNET + VLAN_TAG),
        kind => (kind, ETHERNET),
    };
    match kind {
        0x0806 => Some(Sent::Request(IpAddr::from(array::<4>(frame, at + 24)?))),
        0x0800 => echo(frame, at + IPV4),
        0x86dd if frame.get(at + IPV6) == Some(&135) => {
            Some(Sent::Request(IpAddr::from(array::<16>(frame, at + IPV6 + 8)?)))
        }
        0x86dd => echo(frame, at + IPV6),
        _ => None,
    }
}

fn echo(frame: &[u8], icmp: usize) -> Option<Sent> {
    if u32::from_be_bytes(array(frame, icmp + 8)?) != MAGIC {
        return None;
    }
    let slot = u32::from_be_bytes(array(frame, icmp + 12)?);
    let seq = u16::from_be_bytes(array(frame, icmp + 6)?);
    Some(Sent::Probe(PathId(u16::try_from(slot).ok()?), Seq(seq)))
}

fn array<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpathd_core::ids::{IfName, MemberId};

    const HERE: Mac = [2, 0, 0, 0, 0, 1];
    const THERE: Mac = [2, 0, 0, 0, 0, 2];

    fn key(test: &str, target: &str) -> PathKey {
        PathKey {
            member: MemberId(0),
            name: IfName::new("eth0").unwrap(),
            ifindex: Ifindex(3),
            test: test.parse().unwrap(),
            target: target.parse().unwrap(),
        }
    }

    #[test]
    fn our_own_frames_are_recognised_with_and_without_a_tag() {
        for (test, target) in [("192.0.2.11", "192.0.2.1"), ("2001:db8::11", "2001:db8::1")] {
            let mut paths = Paths::new(8);
            let key = key(test, target);
            paths.open(PathId(5), key, true, [0; LOWER], &mut Random::new().unwrap()).unwrap();
            let path = paths.get_mut(PathId(5)).unwrap();
            let mut frame = Frame::EMPTY;
            path.probe(PathId(5), Seq(700), HERE, THERE, &mut frame);
            assert_eq!(identify(frame.as_slice()), Some(Sent::Probe(PathId(5), Seq(700))));
            let mut tagged = frame.as_slice()[..12].to_vec();
            tagged.extend_from_slice(&[0x81, 0, 0, 100]);
            tagged.extend_from_slice(&frame.as_slice()[12..]);
            assert_eq!(identify(&tagged), Some(Sent::Probe(PathId(5), Seq(700))));
            path.request(HERE, Ask::All, &mut frame);
            assert_eq!(identify(frame.as_slice()), Some(Sent::Request(key.target)));
            for len in 0..frame.as_slice().len().min(38) {
                assert_eq!(identify(&frame.as_slice()[..len]), None);
            }
        }
    }

    #[test]
    fn a_changed_mac_is_used_at_once_and_the_cookie_stays() {
        let (mut paths, mut random) = (Paths::new(1), Random::new().unwrap());
        paths
            .open(PathId(0), key("192.0.2.11", "192.0.2.1"), true, [0; LOWER], &mut random)
            .unwrap();
        let path = paths.get_mut(PathId(0)).unwrap();
        let (mut first, mut second) = (Frame::EMPTY, Frame::EMPTY);
        path.probe(PathId(0), Seq(1), HERE, THERE, &mut first);
        path.probe(PathId(0), Seq(1), THERE, HERE, &mut second);
        assert_eq!(first.as_slice()[..6], THERE);
        assert_eq!(second.as_slice()[..6], HERE);
        assert_eq!(first.as_slice()[12..], second.as_slice()[12..]);
    }

    #[test]
    fn every_use_of_a_slot_has_another_cookie() {
        let (mut paths, mut random) = (Paths::new(1), Random::new().unwrap());
        let one = paths
            .open(PathId(0), key("192.0.2.11", "192.0.2.1"), true, [0; LOWER], &mut random)
            .unwrap()
            .slot;
        let two = paths
            .open(PathId(0), key("192.0.2.11", "192.0.2.1"), true, [0; LOWER], &mut random)
            .unwrap()
            .slot;
        assert_ne!(one.cookie, two.cookie);
        assert_ne!(one.generation, two.generation);
        assert!(
            paths
                .open(PathId(0), key("192.0.2.11", "2001:db8::1"), true, [0; LOWER], &mut random)
                .is_none()
        );
    }
}
