//! The fast thread against real kernels: a scripted brain probes the lab's targets, and what the
//! thread tells it is compared with what the lab does. How replies are received must make no
//! difference. This is the one root test that runs a part of the daemon instead of all of it: what
//! the thread tells its engine can't be seen from outside.

#[path = "fast_thread/rig.rs"]
mod rig;
#[path = "fast_thread/script.rs"]
mod script;

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mpathd::fast::alloc::{Watched, violations};
use mpathd::messages::{Queues, ToFast, ToHost, ToSlow};
use mpathd::shared::Shared;
use mpathd::{fast, host};
use mpathd_common::abi::{Outcome, Word};
use mpathd_common::matching::Tables;
use mpathd_common::wire::MAGIC;
use mpathd_core::engine::Engine;
use mpathd_core::event::{Event, Fate, ReceiveMode};
use mpathd_core::ids::{IfName, PathId, Seq};
use mpathd_core::state::Saved;
use mpathd_core::time::Instant;
use mpathd_core::view::{InterfaceState, View};
use mpathd_tests::lab::nic_mac;
use mpathd_tests::observe::link;
use mpathd_tests::{Lab, clock, isolated, object, wait_for};

use nix::sys::socket::{MsgFlags, send};
use rig::{LIMIT, Plan, Rig, mac, packet_socket, replies};
use script::{FREEZE, LOST_AFTER};

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// No reply of the lab takes longer, however busy the machine.
const SANE: Duration = Duration::from_secs(1);
/// The path to target 1 over IPv4.
const FIRST: PathId = PathId(3);

fn lab() -> Lab {
    Lab::builder().targets(2).build()
}

fn fates(events: &[Event]) -> HashMap<(PathId, Seq), (Instant, Fate)> {
    let sent = events.iter().filter_map(|event| match *event {
        Event::Sent { path, seq, at, fate } => Some(((path, seq), (at, fate))),
        _ => None,
    });
    sent.collect()
}

#[test]
fn answers_come_in_through_sockets() {
    isolated(|| macs_then_answers(ReceiveMode::Socket));
}

#[test]
fn answers_come_in_through_the_kernel_program() {
    isolated(|| macs_then_answers(ReceiveMode::Xdp));
}

/// MACs are asked for first; then every probe leaves and is answered, without an allocation.
fn macs_then_answers(mode: ReceiveMode) {
    let lab = lab();
    let mut rig = Rig::start(&lab, Plan { priority: 51, ..Plan::new(mode) });
    rig.wait_for_replies(50);
    let fates = fates(&rig.seen);
    let mut round_trips = Vec::new();
    for event in &rig.seen {
        let Event::Reply { path, seq, at } = *event else { continue };
        let (sent, fate) = fates[&(path, seq)];
        assert_eq!(fate, Fate::Left, "{path:?} {seq:?}");
        assert!(at > sent && at.since(sent) < SANE, "{path:?} {seq:?}: {sent:?} to {at:?}");
        round_trips.push(at.since(sent));
    }
    round_trips.sort();
    println!(
        "RTT {:?} to {:?}, median {:?}",
        round_trips[0],
        round_trips[round_trips.len() - 1],
        round_trips[round_trips.len() / 2]
    );
    for (path, _) in rig.paths.clone() {
        let asked =
            fates.iter().any(|((of, _), (_, fate))| *of == path && *fate == Fate::Resolving);
        let told = |e: &Event| matches!(e, Event::Resolved { path: of, .. } if *of == path);
        assert!(asked && rig.seen.iter().any(told), "the MAC of {path:?} was not asked for");
        assert!(rig.count(path, Outcome::Reply) >= 50);
        assert_eq!(rig.count(path, Outcome::Forged), 0);
    }
    assert_eq!(violations(), 0, "the armed thread allocated");
    rig.control.allocate.store(true, Ordering::Relaxed);
    wait_for("counted allocation", LIMIT, || if violations() == 1 { Ok(()) } else { Err(()) });
    rig.stop();
}

#[test]
fn forged_answers_are_none_through_sockets() {
    isolated(|| forged_answers(ReceiveMode::Socket));
}

#[test]
fn forged_answers_are_none_through_the_kernel_program() {
    isolated(|| forged_answers(ReceiveMode::Xdp));
}

/// With target 1 silent, somebody else answers in its place.
fn forged_answers(mode: ReceiveMode) {
    let lab = lab();
    let mut rig = Rig::start(&lab, Plan::new(mode));
    rig.wait_for_replies(5);
    lab.kill_target(1);
    // Answers that were on their way are in once the losses have begun.
    wait_for("lost probes", LIMIT, || rig.control.lost.pop().ok_or(()));
    rig.look();
    let answered = replies(&rig.seen, FIRST);
    let (right, stranger) = (Forged::right(&rig), stranger(&lab));
    let cases = [
        (Outcome::Forged, Forged { cookie: right.cookie ^ 1, ..right }),
        (Outcome::WrongSource, Forged { source: [192, 0, 2, 2], ..right }),
        (Outcome::Stale, Forged { generation: right.generation.wrapping_add(1), ..right }),
        (Outcome::WrongNic, Forged { to: mac(&nic_mac(1)), ..right }),
    ];
    for (outcome, forged) in cases {
        let count = rig.count(FIRST, outcome);
        wait_for(outcome.label(), LIMIT, || {
            let newest = newest(rig.look(), FIRST);
            forged.send(&stranger, newest);
            if rig.count(FIRST, outcome) > count { Ok(()) } else { Err(()) }
        });
    }
    rig.look();
    assert_eq!(replies(&rig.seen, FIRST), answered, "a forged reply was taken for one");
    // All that is missing from them is the right contents: with it, the answer counts.
    wait_for("the right answer", LIMIT, || {
        let newest = newest(rig.look(), FIRST);
        right.send(&stranger, newest);
        if replies(&rig.seen, FIRST) > answered { Ok(()) } else { Err(()) }
    });
    rig.stop();
}

fn newest(events: &[Event], of: PathId) -> Seq {
    let newest = events.iter().rev().find_map(|event| match *event {
        Event::Sent { path, seq, .. } if path == of => Some(seq),
        _ => None,
    });
    newest.expect("something was sent")
}

/// Where forged answers are sent from: target 2.
fn stranger(lab: &Lab) -> OwnedFd {
    let ifindex = link(lab.target(2), "eth0").ifindex;
    lab.target(2).run(|| packet_socket(0, ifindex))
}

/// An echo reply to path `FIRST`, made by hand.
#[derive(Clone, Copy)]
struct Forged {
    to: [u8; 6],
    source: [u8; 4],
    cookie: u64,
    generation: u32,
}

impl Forged {
    /// What a right answer says.
    fn right(rig: &Rig) -> Self {
        let slot = rig.slots.slot(FIRST.0.into()).expect("it is used");
        Self {
            to: mac(&nic_mac(0)),
            source: [192, 0, 2, 1],
            cookie: slot.cookie.get(),
            generation: slot.generation.get() as u32,
        }
    }

    fn send(&self, from: &OwnedFd, seq: Seq) {
        // The switch may look at the checksum of IPv4, nobody at that of ICMP before the cookie.
        let mut frame = Vec::new();
        frame.extend_from_slice(&self.to);
        frame.extend_from_slice(&[2, 0, 0, 0, 9, 9, 0x08, 0x00]);
        let mut header = [0x45, 0, 0, 48, 0, 0, 0x40, 0, 1, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, 11];
        header[12..16].copy_from_slice(&self.source);
        let words = header.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
        let sum: u32 = words.sum();
        header[10..12].copy_from_slice(&(!((sum + (sum >> 16)) as u16)).to_be_bytes());
        frame.extend_from_slice(&header);
        frame.extend_from_slice(&[0, 0, 0, 0, 0, 1]);
        frame.extend_from_slice(&seq.0.to_be_bytes());
        frame.extend_from_slice(&MAGIC.to_be_bytes());
        frame.extend_from_slice(&u32::from(FIRST.0).to_be_bytes());
        frame.extend_from_slice(&self.generation.to_be_bytes());
        frame.extend_from_slice(&self.cookie.to_be_bytes());
        send(from.as_raw_fd(), &frame, MsgFlags::empty()).expect("the target sends");
    }
}

#[test]
fn a_thread_that_stood_still_hears_the_answers_first_through_sockets() {
    isolated(|| standstill(ReceiveMode::Socket));
}

#[test]
fn a_thread_that_stood_still_hears_the_answers_first_through_the_kernel_program() {
    isolated(|| standstill(ReceiveMode::Xdp));
}

/// Our own lateness is no evidence: when the standstill ends, the newest probe is overdue, and its
/// answer has come meanwhile.
fn standstill(mode: ReceiveMode) {
    assert!(FREEZE > LOST_AFTER);
    let lab = lab();
    let mut rig = Rig::start(&lab, Plan::new(mode));
    rig.wait_for_replies(5);
    // The answers are ours to give.
    lab.kill_target(1);
    let (right, stranger) = (Forged::right(&rig), stranger(&lab));
    for _ in 0..5 {
        rig.control.freeze.store(true, Ordering::Relaxed);
        wait_for("standstill", LIMIT, || {
            if rig.control.freeze.load(Ordering::Relaxed) { Err(()) } else { Ok(()) }
        });
        let newest = newest(rig.look(), FIRST);
        right.send(&stranger, newest);
        rig.wait("the answer", |seen| {
            let answer =
                |e: &Event| matches!(e, Event::Reply { path: FIRST, seq, .. } if *seq == newest);
            seen.iter().any(answer)
        });
        let lost = std::iter::from_fn(|| rig.control.lost.pop());
        let lost: Vec<_> = lost.filter(|lost| *lost == (FIRST, newest)).collect();
        assert_eq!(lost, [], "lost although its answer was there");
    }
    wait_for("confessed lateness", LIMIT, || {
        rig.look();
        let latest = lateness(&rig.told).max();
        if latest >= Some(FREEZE / 2) { Ok(()) } else { Err(latest) }
    });
    rig.stop();
}

#[test]
fn carrier_loss_is_seen_and_probes_are_refused_while_others_hold_rtnl() {
    isolated(|| {
        let lab = lab();
        let mut rig = Rig::start(&lab, Plan { priority: 51, ..Plan::new(ReceiveMode::Socket) });
        rig.wait_for_replies(5);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for n in 0..2 {
                let stop = &stop;
                scope.spawn(move || churn(n, stop));
            }
            let mut delays = Vec::new();
            for _ in 0..5 {
                rig.look();
                let begin = rig.seen.len();
                let cut = lab.carrier(0, false);
                rig.wait("link down", |seen| running(&seen[begin..]) == Some(false));
                delays.push(clock::ms_between(cut, clock::now()));
                let begin = rig.seen.len();
                rig.wait("refused probe", |seen| {
                    fates(&seen[begin..]).values().any(|(_, fate)| *fate == Fate::Refused)
                });
                lab.carrier(0, true);
                rig.wait("link up", |seen| running(&seen[begin..]) == Some(true));
                rig.wait_for_replies(1);
            }
            // The kernel's own notice comes up to a second late when it has told one before.
            delays.sort_by(f64::total_cmp);
            println!("carrier loss seen after {delays:.1?} ms");
            assert!(delays[2] < 500.0, "{delays:?}");
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(violations(), 0, "the armed thread allocated");
        rig.stop();
    });
}

fn lateness(told: &[ToSlow]) -> impl Iterator<Item = Duration> + '_ {
    told.iter().filter_map(|message| match message {
        ToSlow::Alive { late } => Some(*late),
        _ => None,
    })
}

/// What the newest word about eth0 says.
fn running(events: &[Event]) -> Option<bool> {
    events.iter().rev().find_map(|event| match event {
        Event::Link(link) if link.name.as_str() == "eth0" => Some(link.running),
        _ => None,
    })
}

/// Makes and deletes namespaces with a link in them, as container hosts do.
fn churn(n: usize, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let shell = format!(
            "ip netns add c{n} && ip link add v{n} type veth peer name w{n} netns c{n}; ip netns delete c{n}"
        );
        let status = std::process::Command::new("sh").args(["-c", &shell]).status();
        assert!(status.expect("a shell").success());
    }
}

#[test]
fn behind_a_queue_a_probe_waits_until_the_driver_has_it() {
    isolated(|| {
        let lab = lab();
        // macvlan has no queue of its own: bypass ends at the lower device's.
        let host = lab.host();
        host.expect("ip", &["link", "add", "mv0", "link", "eth0", "type", "macvlan"]);
        host.expect("ip", &["link", "set", "mv0", "up"]);
        let plan = Plan { nic: "mv0", stamped: true, ..Plan::new(ReceiveMode::Socket) };
        let mut rig = Rig::start(&lab, plan);
        rig.wait_for_replies(20);
        let told = fates(&rig.seen);
        assert!(told.values().all(|(_, fate)| *fate != Fate::Left), "none has left by acceptance");
        assert!(delays(&rig.seen).len() >= 20);

        // 4 probes each 10 ms need 230 kbit/s.
        let begin = rig.seen.len();
        let shape = [
            "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "80kbit", "burst", "1540",
            "latency", "1s",
        ];
        host.expect("tc", &shape);
        rig.wait("probe that left late", |seen| {
            delays(&seen[begin..]).iter().any(|delay| *delay > Duration::from_millis(20))
        });
        rig.stop();
    });
}

/// From being handed to the kernel until leaving.
fn delays(events: &[Event]) -> Vec<Duration> {
    let sent = fates(events);
    let delay = |event: &Event| match *event {
        Event::Left { path, seq, at } => Some(at.since(sent.get(&(path, seq))?.0)),
        _ => None,
    };
    events.iter().filter_map(delay).collect()
}

const CONFIG: &str = r#"
[groups.ipmp0]
failure_detection_time = "300ms"
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
targets = ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
[groups.ipmp0.interfaces.eth0]
test_addresses = ["192.0.2.11/24", "2001:db8::11/64"]
[groups.ipmp0.interfaces.eth1]
test_addresses = ["192.0.2.12/24", "2001:db8::12/64"]
"#;

/// The real engine on the thread, and the real host thread beside it.
#[test]
fn failure_and_repair_are_decided_without_an_allocation() {
    isolated(|| {
        let lab = lab();
        std::fs::write("/run/mpathd.toml", CONFIG).expect("/run is the lab's own");
        let settings = mpathd::config::load(Path::new("/run/mpathd.toml")).expect("it is right");
        let object = object::read().expect("the kernel object");
        let queues = Queues::new().expect("eventfds");
        let shared = Arc::new(Shared::new().expect("an eventfd"));
        let (fast, host) = lab.host().run(|| {
            let fast = fast::spawn(fast::Setup {
                brain: Engine::new(settings.engine.clone(), Saved::default(), 7),
                names: ["eth0", "eth1"].map(|nic| IfName::new(nic).expect("a name")).to_vec(),
                queues: queues.clone(),
                shared: Arc::clone(&shared),
                priority: 51,
            });
            let host = host::spawn(host::Setup {
                queues: queues.clone(),
                settings: host::Settings::new(&settings.engine, settings.sysctls),
                priority: 50,
                bpffs: "/sys/fs/bpf/mpathd".into(),
                object: object.leak(),
                notices: host::Setup::NOTICES,
            });
            (fast.expect("it starts"), host.expect("it starts"))
        });
        let reach = |what: &str, reached: fn(&View) -> bool| {
            wait_for(what, LIMIT, || {
                while queues.slow.pop().is_some() {}
                let view = shared.view();
                if reached(&view) { Ok(()) } else { Err(Box::new(view)) }
            });
        };
        reach("answers of all targets", |view| {
            view.settled && view.targets.len() == 6 && view.targets.iter().all(|t| t.acked >= 20)
        });
        // Whatever the start took has been allowed; the picture that settles it arms the thread.
        let before = violations();
        lab.cut(0);
        reach("failure", |view| {
            view.interfaces.first().is_some_and(|i| i.state == InterfaceState::Failed)
        });
        lab.mend(0);
        reach("repair", |view| view.interfaces.iter().all(|i| i.state == InterfaceState::Ok));
        assert_eq!((before, violations()), (0, 0), "the armed thread allocated");
        for stop in [queues.fast.push(ToFast::Stop).is_ok(), queues.host.push(ToHost::Stop).is_ok()]
        {
            assert!(stop);
        }
        fast.join().expect("it ends without panic");
        host.join().expect("it ends without panic");
    });
}
