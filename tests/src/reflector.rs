//! Targets in the ports of the switch: an XDP program answers every echo request on the spot, so that what is
//! measured is the host that asks. All else goes on to the switch.

use std::collections::BTreeMap;

use crate::bpf::{XDP_PASS, instruction, pinned_xdp};
use crate::netns::NetNs;

const XDP_TX: u32 = 3;

/// Takes its program off the ports when dropped.
pub struct Reflector<'a> {
    switch: &'a NetNs,
    ports: Vec<String>,
}

impl<'a> Reflector<'a> {
    /// # Panics
    /// If the program cannot be loaded or put there.
    pub fn install(switch: &'a NetNs, ports: Vec<String>) -> Self {
        let path = pinned_xdp("reflector", &program()).expect("the program can be loaded");
        for port in &ports {
            switch.expect("ip", &["link", "set", "dev", port, "xdpdrv", "pinned", &path]);
        }
        std::fs::remove_file(path).expect("it was pinned");
        Self { switch, ports }
    }
}

impl Drop for Reflector<'_> {
    fn drop(&mut self) {
        for port in &self.ports {
            self.switch.expect("ip", &["link", "set", "dev", port, "xdpdrv", "off"]);
        }
    }
}

/// A jump's place and target are known when all is written.
#[derive(Default)]
struct Code {
    words: Vec<u64>,
    jumps: Vec<(usize, &'static str)>,
    labels: BTreeMap<&'static str, usize>,
}

const DATA: u8 = 2;
const END: u8 = 3;
const VALUE: u8 = 5;
const BYTE: u8 = 0x10;
const HALF: u8 = 0x08;
const WORD: u8 = 0x00;
const DOUBLE: u8 = 0x18;

impl Code {
    fn op(&mut self, code: u8, to: u8, from: u8, offset: u16, immediate: u32) {
        self.words.push(instruction(code, to, from, offset, immediate));
    }

    fn load(&mut self, size: u8, to: u8, offset: u16) {
        self.op(0x61 | size, to, DATA, offset, 0);
    }

    fn store(&mut self, size: u8, from: u8, offset: u16) {
        self.op(0x63 | size, DATA, from, offset, 0);
    }

    fn jump(&mut self, code: u8, to: u8, from: u8, immediate: u32, label: &'static str) {
        self.jumps.push((self.words.len(), label));
        self.op(code, to, from, 0, immediate);
    }

    fn pass_if_shorter(&mut self, bytes: u32) {
        self.op(0xbf, 4, DATA, 0, 0);
        self.op(0x07, 4, 0, 0, bytes);
        self.jump(0x2d, 4, END, 0, "pass");
    }

    fn pass_unless(&mut self, size: u8, offset: u16, value: u32) {
        self.load(size, VALUE, offset);
        self.jump(0x55, VALUE, 0, value, "pass");
    }

    fn label(&mut self, label: &'static str) {
        self.labels.insert(label, self.words.len());
    }

    fn swap(&mut self, size: u8, one: u16, other: u16) {
        self.load(size, 7, one);
        self.load(size, 8, other);
        self.store(size, 7, other);
        self.store(size, 8, one);
    }

    /// Adds to an Internet checksum, as the machine reads it (RFC 1624).
    fn add_to_sum(&mut self, offset: u16, value: u32) {
        self.load(HALF, VALUE, offset);
        self.op(0x07, VALUE, 0, 0, value);
        self.op(0xbf, 7, VALUE, 0, 0);
        self.op(0x77, 7, 0, 0, 16);
        self.op(0x57, VALUE, 0, 0, 0xffff);
        self.op(0x0f, VALUE, 7, 0, 0);
        self.store(HALF, VALUE, offset);
    }

    fn leave(&mut self, verdict: u32) {
        self.op(0xb7, 0, 0, 0, verdict);
        self.op(0x95, 0, 0, 0, 0);
    }

    fn finish(mut self) -> Vec<u64> {
        for (at, label) in self.jumps {
            let offset = u16::try_from(self.labels[label] - at - 1).expect("a short way forward");
            self.words[at] |= u64::from(offset) << 16;
        }
        self.words
    }
}

/// Echo requests of IPv4 without options and of IPv6 without extension headers.
fn program() -> Vec<u64> {
    let mut code = Code::default();
    code.op(0x61, DATA, 1, 0, 0); // xdp_md.data
    code.op(0x61, END, 1, 4, 0); // xdp_md.data_end
    code.pass_if_shorter(42);
    code.load(HALF, VALUE, 12);
    code.jump(0x15, VALUE, 0, 0x0008, "v4");
    code.jump(0x55, VALUE, 0, 0xdd86, "pass");
    code.pass_if_shorter(62);
    code.pass_unless(BYTE, 20, 58);
    code.pass_unless(BYTE, 54, 128);
    code.op(0x72, DATA, 0, 54, 129);
    code.add_to_sum(56, 0xfffe); // less 0x0100 in network order
    code.swap(DOUBLE, 22, 38);
    code.swap(DOUBLE, 30, 46);
    code.jump(0x05, 0, 0, 0, "macs");
    code.label("v4");
    code.pass_unless(BYTE, 14, 0x45);
    code.pass_unless(BYTE, 23, 1);
    code.pass_unless(BYTE, 34, 8);
    code.op(0x72, DATA, 0, 34, 0);
    code.add_to_sum(36, 0x0008); // 0x0800 in network order
    code.swap(WORD, 26, 30);
    code.label("macs");
    code.swap(WORD, 0, 6);
    code.swap(HALF, 4, 10);
    code.leave(XDP_TX);
    code.label("pass");
    code.leave(XDP_PASS);
    code.finish()
}
