//! Frames by the hundred thousand: what a busy host receives beside the probes' replies, and what an attacker sends.

use std::io::IoSlice;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use etherparse::PacketBuilder;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, sendmmsg};

use crate::capture::{Capture, Content, Mac};
use crate::clock::{self, Nanos};
use crate::inject;
use crate::netns::{NetNs, batch};
use crate::wait_for;

const PORT: u16 = 9;
/// With a call.
const BATCH: usize = 64;
const PAUSE: Nanos = 1_000_000;
/// What was not sent in time for lack of a CPU is made good, as far as that.
const CATCH_UP: Nanos = 20_000_000;
const LIMIT: Duration = Duration::from_secs(10);

/// Sends at a constant rate, or as fast as it can, until dropped.
#[derive(Debug)]
pub struct Flood {
    begun: Nanos,
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Takes what comes, until its buffer is full.
    _sink: Option<UdpSocket>,
}

impl Flood {
    /// Sends `frames` by turns on `device`, `per_second` in all.
    ///
    /// # Panics
    /// If there is no such device.
    pub fn start(from: &NetNs, device: &str, frames: Vec<Vec<u8>>, per_second: u64) -> Self {
        Self::into(None, from, device, frames, per_second)
    }

    fn into(
        sink: Option<UdpSocket>,
        from: &NetNs,
        device: &str,
        frames: Vec<Vec<u8>>,
        per_second: u64,
    ) -> Self {
        assert!(!frames.is_empty(), "a flood of something");
        let socket = inject::open(from, device);
        let (sent, stop): (Arc<AtomicU64>, Arc<AtomicBool>) = Default::default();
        let thread = {
            let (sent, stop) = (Arc::clone(&sent), Arc::clone(&stop));
            let work = move || pour(&socket, &frames, per_second, &sent, &stop);
            from.spawn("flood", work)
        };
        Self { begun: clock::now(), sent, stop, thread: Some(thread), _sink: sink }
    }

    /// UDP between two namespaces of their own, which take no part in anything else.
    ///
    /// # Panics
    /// Outside of `isolated`, and if it runs already.
    pub fn of_others(per_second: u64) -> Self {
        batch(
            "ip",
            "netns add flood0\nnetns add flood1\n\
             link add veth0 netns flood0 address 02:00:00:00:03:00 type veth \
             peer name veth1 netns flood1 address 02:00:00:00:03:01\n",
        );
        let [from, to] = ["flood0", "flood1"].map(NetNs::open);
        from.ip("link set veth0 up\n");
        to.ip("link set veth1 up\naddress add 203.0.113.1/24 dev veth1\n");
        let frame = udp([2, 0, 0, 0, 3, 0], [2, 0, 0, 0, 3, 1], [203, 0, 113, 9], [203, 0, 113, 1]);
        let sink = to.run(|| UdpSocket::bind(("203.0.113.1", PORT)).expect("the port is free"));
        Self::into(Some(sink), &from, "veth0", vec![frame], per_second)
    }

    /// UDP to an address of the host, sent by the switch to the NIC at `port`.
    ///
    /// # Panics
    /// If there is no such port, or the host has the UDP port in use.
    pub fn of_udp(
        switch: &NetNs,
        port: &str,
        nic: Mac,
        host: &NetNs,
        address: [u8; 4],
        per_second: u64,
    ) -> Self {
        let frame = udp([2, 0, 0, 0, 3, 0], nic, [192, 0, 2, 99], address);
        let own = (std::net::Ipv4Addr::from(address), PORT);
        let sink = host.run(|| UdpSocket::bind(own).expect("the port is free"));
        Self::into(Some(sink), switch, port, vec![frame], per_second)
    }

    /// Replies to probes that the NIC at `port` of the switch sends now, right in all but the last bytes.
    ///
    /// # Panics
    /// If it sends none.
    pub fn of_look_alikes(switch: &NetNs, port: &str, nic: Mac, per_second: u64) -> Self {
        let capture = Capture::start(switch, port);
        let is_probe = |content: &Content| matches!(content, Content::Echo { request: true, .. });
        let frames = wait_for("probes to imitate", LIMIT, || {
            let probes = capture.frames();
            let mut probes = probes.iter().filter(|it| it.from_device && is_probe(&it.content));
            let forge =
                |payload: &mut [u8]| payload.iter_mut().rev().take(8).for_each(|it| *it ^= 0x5a);
            let replies: Vec<_> = probes
                .by_ref()
                .take(BATCH)
                .filter_map(|it| inject::reply_to(it, nic, forge))
                .collect();
            if replies.len() == BATCH { Ok(replies) } else { Err(replies.len()) }
        });
        drop(capture);
        Self::start(switch, port, frames, per_second)
    }

    /// Sent a second, on average since the start.
    pub fn rate(&self) -> f64 {
        let seconds = (clock::now() - self.begun) as f64 / 1e9;
        self.sent.load(Ordering::Relaxed) as f64 / seconds
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

fn pour(
    socket: &OwnedFd,
    frames: &[Vec<u8>],
    per_second: u64,
    sent: &AtomicU64,
    stop: &AtomicBool,
) {
    let parts: Vec<[IoSlice<'_>; 1]> =
        frames.iter().cycle().take(BATCH).map(|it| [IoSlice::new(it)]).collect();
    let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
    let spacing = 1_000_000_000 / per_second;
    let mut due = clock::now();
    while !stop.load(Ordering::Relaxed) {
        let now = clock::now();
        due = due.max(now.saturating_sub(CATCH_UP));
        let count =
            usize::try_from(now.saturating_sub(due) / spacing).map_or(BATCH, |it| it.min(BATCH));
        if count == 0 {
            clock::sleep_until(now + PAUSE);
            continue;
        }
        due += spacing * count as u64;
        let flags = MsgFlags::empty();
        let parts = &parts[..count];
        match sendmmsg(socket.as_raw_fd(), &mut headers, parts, vec![None; count], [], flags) {
            Ok(messages) => {
                sent.fetch_add(messages.count() as u64, Ordering::Relaxed);
            }
            // The receiver's ring is full: it is as much as it can take.
            Err(Errno::ENOBUFS | Errno::EAGAIN) => {}
            Err(error) => panic!("cannot send the flood: {error}"),
        }
    }
}

fn udp(source_mac: Mac, mac: Mac, source: [u8; 4], address: [u8; 4]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(source_mac, mac)
        .ipv4(source, address, 64)
        .udp(PORT, PORT)
        .write(&mut frame, &[0; 64])
        .expect("memory can be written");
    frame
}

/// Received by a device so far, frames that XDP took included.
///
/// # Panics
/// If there is no such device.
pub fn received(namespace: &NetNs, device: &str) -> u64 {
    let text = namespace.expect("ip", &["-j", "-s", "link", "show", device]);
    let told: serde_json::Value = serde_json::from_str(&text).expect("it says JSON");
    told[0]["stats64"]["rx"]["packets"].as_u64().expect("a number")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolated;

    #[test]
    fn a_flood_arrives_at_its_rate() {
        isolated(|| {
            let flood = Flood::of_others(20_000);
            let to = NetNs::open("flood1");
            // Bursts make it uneven, a slow machine makes it slower.
            wait_for("2 000 datagrams", LIMIT, || {
                let got = received(&to, "veth1");
                if got >= 2_000 { Ok(()) } else { Err(got) }
            });
            assert!(flood.rate() < 25_000.0, "{}", flood.rate());
        });
    }
}
