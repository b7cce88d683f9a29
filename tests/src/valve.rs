//! Valves on the ports of the switch: a BPF classifier on each side of each port drops every frame while the
//! port's word in a map says so. Closing one is a map write of a microsecond: its moment is exact, it needs no
//! RTNL (which others may hold for 100 ms), and neither end's carrier nor the switch's tables change.
//!
//! cls_bpf on a clsact qdisc, by bytecode of our own: works on every supported kernel and needs no toolchain.

use std::io::Result;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::bpf::{BPF_PROG_TYPE_SCHED_CLS, PINS, bpf, descriptor, instruction, load, pin};
use crate::netns::NetNs;

/// The map is an array by ifindex; a fresh namespace counts from 1.
const PORTS: u32 = 512;

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_TYPE_ARRAY: u32 = 2;

/// Which frames a closed valve drops, as seen from the device at the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// What the device sends: its transmitter, or the switch's receiver, is dead.
    FromDevice,
    /// What the device would receive.
    ToDevice,
    Both,
}

impl Closed {
    fn bits(self) -> u32 {
        match self {
            Self::FromDevice => FROM_DEVICE,
            Self::ToDevice => TO_DEVICE,
            Self::Both => FROM_DEVICE | TO_DEVICE,
        }
    }
}

const FROM_DEVICE: u32 = 1;
const TO_DEVICE: u32 = 2;

/// The valves of one switch.
#[derive(Debug)]
pub struct Valves {
    map: OwnedFd,
}

impl Valves {
    /// Loads the programs and puts them on `ports`, all open.
    ///
    /// # Errors
    /// Without CAP_BPF and CAP_NET_ADMIN.
    pub(crate) fn install(switch: &NetNs, ports: &[String]) -> Result<Self> {
        let map = create_map()?;
        // Where the two programs are pinned for `tc`.
        let pins = format!("{PINS}/{}", switch.name());
        std::fs::create_dir_all(&pins)?;
        for (name, bit) in [("ingress", FROM_DEVICE), ("egress", TO_DEVICE)] {
            let program = classifier(map.as_raw_fd(), bit);
            pin(&load(BPF_PROG_TYPE_SCHED_CLS, &program)?, &format!("{pins}/{name}"))?;
        }
        let mut lines = String::new();
        for port in ports {
            lines += &format!("qdisc add dev {port} clsact\n");
            for side in ["ingress", "egress"] {
                lines += &format!(
                    "filter add dev {port} {side} bpf direct-action object-pinned {pins}/{side}\n"
                );
            }
        }
        switch.tc(&lines);
        Ok(Self { map })
    }

    /// # Panics
    /// If the port does not exist.
    pub(crate) fn close(&self, port: u32, closed: Closed) {
        self.set(port, closed.bits());
    }

    /// # Panics
    /// If the port does not exist.
    pub(crate) fn open(&self, port: u32) {
        self.set(port, 0);
    }

    fn set(&self, port: u32, value: u32) {
        #[repr(C)]
        struct Attributes {
            map: u32,
            padding: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        let attributes = Attributes {
            map: self.map.as_raw_fd().cast_unsigned(),
            padding: 0,
            key: (&raw const port).addr() as u64,
            value: (&raw const value).addr() as u64,
            flags: 0,
        };
        bpf(BPF_MAP_UPDATE_ELEM, &attributes)
            .unwrap_or_else(|error| panic!("cannot set the valve of ifindex {port}: {error}"));
    }
}

fn create_map() -> Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        kind: u32,
        key_size: u32,
        value_size: u32,
        entries: u32,
    }
    descriptor(bpf(
        BPF_MAP_CREATE,
        &Attributes { kind: BPF_MAP_TYPE_ARRAY, key_size: 4, value_size: 4, entries: PORTS },
    )?)
}

/// Drops (TC_ACT_SHOT) if the map's word for the frame's device has `bit`, else lets the frame go on.
fn classifier(map: RawFd, bit: u32) -> Vec<u64> {
    const DEVICE: u16 = 40; // offset of `ifindex` in struct __sk_buff
    const KEY: u16 = (-4_i16).cast_unsigned();
    let (skb, key, result, frame) = (1, 2, 0, 10);
    vec![
        instruction(0x61, key, skb, DEVICE, 0), // key = skb->ifindex
        instruction(0x63, frame, key, KEY, 0),  // *(u32 *)(frame - 4) = key
        instruction(0x18, 1, 1, 0, map.cast_unsigned()), // r1 = map, in two words
        instruction(0x00, 0, 0, 0, 0),
        instruction(0xbf, 2, frame, 0, 0), // r2 = frame
        instruction(0x07, 2, 0, 0, (-4_i32).cast_unsigned()), // r2 -= 4
        instruction(0x85, 0, 0, 0, 1),     // r0 = map_lookup_elem(r1, r2)
        instruction(0x15, result, 0, 4, 0), // if r0 == 0 goto pass
        instruction(0x61, 1, result, 0, 0), // r1 = *(u32 *)r0
        instruction(0x57, 1, 0, 0, bit),   // r1 &= bit
        instruction(0xb7, result, 0, 0, 2), // r0 = TC_ACT_SHOT
        instruction(0x55, 1, 0, 1, 0),     // if r1 != 0 goto exit
        instruction(0xb7, result, 0, 0, 0), // pass: r0 = TC_ACT_OK
        instruction(0x95, 0, 0, 0, 0),     // exit
    ]
}
