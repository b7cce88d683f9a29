//! The kernel program on a real link: probes leave by AF_PACKET, another network stack answers them.
//!
//! Each case lives in two anonymous network namespaces, held by two threads of its own.

use std::io::Error;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use aya::programs::xdp::XdpMode;
use mpathd_common::abi::{
    LOWER, Outcome, Path, SlotKey, Word, outcome_key, ring_key, word, word_seq,
};
use mpathd_common::frame::{Echo, Probe};
use mpathd_tests::object::{self, Hook, Program};
use nix::sched::{CloneFlags, unshare};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const SLOT: u32 = 9;
const PROBES: u16 = 20;
const V4: Path =
    Path::V4 { test: Ipv4Addr::new(192, 0, 2, 11), target: Ipv4Addr::new(192, 0, 2, 1) };
const V6: Path = Path::V6 {
    test: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x11),
    target: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
};

fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().context("ip")?;
    ensure!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Runs `test` in a namespace with an interface `near`, whose other end is the target.
fn on_a_link<T: Send>(test: impl FnOnce() -> Result<T> + Send) -> T {
    std::thread::scope(|scope| {
        let (name_target, target_name) = channel();
        let (finish, finished) = channel::<()>();
        scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("unshare");
            // SAFETY: takes no argument and has no condition.
            let thread = unsafe { libc::gettid() };
            let namespace = format!("/proc/{}/task/{thread}/ns/net", std::process::id());
            name_target.send(namespace).expect("near side");
            // Holds the namespace until the sender is gone.
            finished.recv().unwrap_err();
        });
        let near = scope.spawn(move || -> Result<T> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let target: String = target_name.recv()?;
            let far = format!("peer name far address 02:00:00:00:00:02 netns {target}");
            ip(&format!("link add near address 02:00:00:00:00:01 type veth {far}"))?;
            ip("link set near up")?;
            ip("addr add 192.0.2.11/24 dev near")?;
            ip("addr add 2001:db8::11/64 dev near nodad")?;
            let far = std::fs::File::open(&target)?;
            std::thread::scope(|scope| {
                scope.spawn(|| set_up_target(&far)).join().expect("target")
            })?;
            let result = test();
            drop(finish);
            result
        });
        near.join().expect("near side").unwrap_or_else(|error| panic!("{error:#}"))
    })
}

fn set_up_target(namespace: &std::fs::File) -> Result<()> {
    nix::sched::setns(namespace, CloneFlags::CLONE_NEWNET)?;
    ip("link set far up")?;
    ip("addr add 192.0.2.1/24 dev far")?;
    ip("addr add 2001:db8::1/64 dev far nodad")
}

/// A packet socket on `near` that only sends.
fn packet_socket(ifindex: u32) -> Result<OwnedFd> {
    // SAFETY: a system call with scalars; the descriptor is new and nobody else's.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        ensure!(fd >= 0, "AF_PACKET: {}", Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    };
    // SAFETY: all zeros is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = ifindex as i32;
    let length = size_of_val(&address) as u32;
    // SAFETY: the address is live and of the given length.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    ensure!(bound == 0, "bind: {}", Error::last_os_error());
    Ok(socket)
}

/// Sends `PROBES` probes and waits until each is answered in the maps.
fn probe(hook: Hook, mode: XdpMode, path: Path, consume: bool) -> Result<()> {
    let ifindex = nix::net::if_::if_nametoindex("near")?;
    let mut program = Program::load(&object::read()?)?;
    program.attach(hook, "near", mode)?;
    let key = SlotKey {
        cookie: 0x1234_5678_9abc_def0,
        generation: 1,
        ifindex,
        lower: [0; LOWER],
        consume,
        path,
    };
    program.slots.at(SLOT).publish(&key);
    let echo = Echo {
        source_mac: MAC,
        target_mac: PEER,
        path,
        ident: 7,
        slot: SLOT,
        generation: key.generation,
        cookie: key.cookie,
    };
    let mut template = Probe::new(&echo);
    let socket = packet_socket(ifindex)?;
    for seq in 0..PROBES {
        program.tx.at(ring_key(SLOT, seq)).set(word(1, seq));
        let frame = template.with_seq(seq);
        // SAFETY: the frame is live and of the given length.
        let sent = unsafe { libc::send(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        ensure!(sent == frame.len() as isize, "send: {}", Error::last_os_error());
        answered(&program, seq)?;
    }
    let replies = program.outcomes.at(outcome_key(SLOT, Outcome::Reply));
    ensure!(replies == u64::from(PROBES), "{replies} replies to {PROBES} probes");
    Ok(())
}

fn answered(program: &Program, seq: u16) -> Result<()> {
    let limit = Instant::now() + Duration::from_secs(5);
    while Instant::now() < limit {
        let rx = program.rx.at(ring_key(SLOT, seq)).get();
        if rx != 0 && word_seq(rx) == seq {
            return Ok(());
        }
        std::thread::yield_now();
    }
    let outcomes = Outcome::ALL
        .iter()
        .map(|&each| (each.label(), program.outcomes.at(outcome_key(SLOT, each))));
    bail!("probe {seq} unanswered; outcomes {:?}", outcomes.collect::<Vec<_>>())
}

#[test]
fn every_hook_takes_the_answers_of_a_real_target() {
    on_a_link(|| {
        for path in [V4, V6] {
            for consume in [true, false] {
                let context = |hook: &str| format!("{hook}, {path:?}, consume {consume}");
                probe(Hook::Xdp, XdpMode::Driver, path, consume)
                    .with_context(|| context("native XDP"))?;
                probe(Hook::Xdp, XdpMode::Skb, path, consume)
                    .with_context(|| context("generic XDP"))?;
                probe(Hook::Tcx, XdpMode::Default, path, consume)
                    .with_context(|| context("tcx"))?;
            }
        }
        Ok(())
    });
}
