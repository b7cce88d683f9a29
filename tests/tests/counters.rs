//! What became of the replies, as the administrator is told of it: counted as they were seen on the wire, by
//! the kernel program and in socket mode alike.

use std::time::Duration;

use mpathd_tests::capture::{Capture, Content, Frame};
use mpathd_tests::inject::{Injector, reply_to};
use mpathd_tests::told::{interface, json, wait_ok};
use mpathd_tests::{Config, Daemon, Lab, Nanos, clock, isolated, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(10);
/// Every ten seconds the daemon looks for replies that should not be there; its first look is for comparison.
const LOOKS: Duration = Duration::from_secs(25);
const TARGET: &str = "192.0.2.1";

/// The entry of a target of eth0.
fn target<'a>(targets: &'a [Value], address: &str) -> &'a Value {
    let found = targets.iter().find(|it| it["interface"] == "eth0" && it["target"] == address);
    found.unwrap_or_else(|| panic!("no {address} on eth0 in {targets:#?}"))
}

fn outcome(target: &Value, name: &str) -> u64 {
    target["outcomes"][name].as_u64().unwrap_or_else(|| panic!("no count {name} in {target:#?}"))
}

fn histogram_sum(target: &Value) -> u64 {
    let buckets = target["rtt_histogram"].as_array().expect("a list");
    assert_eq!(buckets.len(), 32);
    buckets.iter().filter_map(Value::as_u64).sum()
}

fn is_probe(frame: &Frame) -> bool {
    let Content::Echo { request, destination, .. } = frame.content else { return false };
    request && frame.from_device && destination.to_string() == TARGET
}

/// Somebody at the switch who knows what eth0 sends.
struct Stranger {
    seen: Capture,
    ports: [Injector; 2],
    /// Frames of each kind.
    sent: u64,
    /// When the last probe was sent that it has answered.
    last: Nanos,
}

impl Stranger {
    fn start(lab: &Lab) -> Self {
        let ports = ["sw0", "sw1"].map(|port| Injector::open(lab.lan(), port));
        Self { seen: Capture::start(lab.lan(), "sw0"), ports, sent: 0, last: 0 }
    }

    /// To the next probe: a reply with a wrong cookie; the right one to the other NIC; the right one once more.
    fn send(&mut self) {
        let probe = self.seen.wait("probe of eth0", self.last + 1, LIMIT, is_probe);
        self.last = probe.at;
        // The cookie ends the payload.
        let forge = |payload: &mut [u8]| *payload.last_mut().expect("it has one") ^= 1;
        let to = |nic, change: fn(&mut [u8])| {
            reply_to(&probe, [2, 0, 0, 0, 0, nic], change).expect("it is an echo request")
        };
        self.ports[0].send(&to(0, forge));
        self.ports[1].send(&to(1, |_| {}));
        self.ports[0].send(&to(0, |_| {}));
        self.sent += 1;
    }

    /// True replies of a target that have come as far as eth0.
    fn answered(&self, address: &str) -> u64 {
        let of_target = |frame: &&Frame| match frame.content {
            Content::Echo { request: false, source, .. } => {
                !frame.from_device && source.to_string() == address
            }
            _ => false,
        };
        self.seen.frames().iter().filter(of_target).count() as u64
    }
}

fn replies_are_counted(datapath: &str) {
    let lab = Lab::builder().build();
    let mut stranger = Stranger::start(&lab);
    let mut config = Config::dual_stack(2);
    config.fdt = "1s";
    config.top = format!("datapath = \"{datapath}\"");
    let mut daemon = Daemon::start(lab.host(), &config.to_string());
    wait_ok(&daemon, &["eth0", "eth1"]);
    assert_eq!(interface(&daemon, "eth0")["receive"], datapath, "{}", daemon.log_text());

    let warnings = [
        format!("forged replies to probes of {TARGET} on eth0 came in"),
        format!("replies from {TARGET} for eth0 came in on another interface"),
    ];
    stranger.last = clock::now();
    wait_for("warnings of forged and stray replies", LOOKS, || {
        stranger.send();
        let log = daemon.log_text();
        if warnings.iter().all(|text| log.contains(text)) { Ok(()) } else { Err(stranger.sent) }
    });
    (0..7).for_each(|_| stranger.send());
    // No probe is under way any more, soon.
    for nic in [0, 1] {
        lab.cut(nic);
    }
    for address in [TARGET, "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"] {
        wait_for(&format!("count of each reply of {address}"), LIMIT, || {
            let targets = json(&daemon, "-t");
            let told = target(&targets, address);
            let counts = [outcome(told, "reply"), histogram_sum(told)];
            let seen = stranger.answered(address);
            if counts == [seen; 2] && seen > 0 { Ok(()) } else { Err((seen, told.clone())) }
        });
    }
    let targets = json(&daemon, "-t");
    let odd = |address| {
        let told = target(&targets, address);
        ["forged", "wrong_nic", "duplicate"].map(|name| outcome(told, name))
    };
    assert_eq!(odd(TARGET), [stranger.sent; 3]);
    assert_eq!(odd("192.0.2.2"), [0; 3], "another target's");

    let asked = clock::now();
    daemon.signal(Signal::SIGUSR1);
    let sent = stranger.sent;
    let kinds =
        format!("of the replies {sent} forged, {sent} on another interface, {sent} duplicate");
    daemon.wait_log(&format!("statistics: eth0 {TARGET}: {kinds}"), asked, LIMIT);
    let log = daemon.log_text();
    for text in warnings {
        assert_eq!(log.matches(&text).count(), 1, "told more than once:\n{log}");
    }

    assert!(daemon.stop().success());
    daemon.restart();
    wait_for("counts that begin anew", LIMIT, || {
        let targets = json(&daemon, "-t");
        let told = targets.iter().find(|it| it["interface"] == "eth0" && it["target"] == TARGET);
        let zero = |told: &Value| {
            let outcomes = told["outcomes"].as_object();
            outcomes.is_some_and(|it| it.len() == 8 && it.values().all(|count| *count == 0))
        };
        if told.is_some_and(zero) { Ok(()) } else { Err((targets, daemon.log_text())) }
    });
}

/// Behaviour 13.
#[test]
fn by_the_kernel_program() {
    isolated(|| replies_are_counted("xdp"));
}

#[test]
fn in_socket_mode() {
    isolated(|| replies_are_counted("socket"));
}
