//! What is no reply to a probe of this NIC never keeps it alive, however much it looks like one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mpathd_tests::capture::{Capture, Content, Frame, Mac};
use mpathd_tests::inject::{Injector, reply_to};
use mpathd_tests::observe::holders;
use mpathd_tests::owner::wait_held;
use mpathd_tests::told::{interface, wait_interface, wait_ok};
use mpathd_tests::{Config, Daemon, Lab, clock, isolated, wait_for};

const LIMIT: Duration = Duration::from_secs(10);
/// Of the configuration: five rounds of 33 ms are many times the delay of the attacker.
const FDT: Duration = Duration::from_millis(200);
/// For a loaded machine.
const MARGIN: Duration = Duration::from_millis(500);
const NICS: [Mac; 2] = [[2, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 1]];
const FAILED: &str = "IP interface failure detected on eth0 of group ipmp0";

/// What to send for a frame that eth0 has just sent: to which NIC, and what.
type Answer = Box<dyn Fn(&Frame) -> Vec<(usize, Vec<u8>)> + Send>;

/// Stands at the switch, sees all that eth0 sends, and answers at once, though the path is cut.
struct Attacker {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Attacker {
    fn start(lab: &Lab, answer: Answer) -> Self {
        let seen = Capture::start(lab.lan(), "sw0");
        let ports = [0, 1].map(|nic| Injector::open(lab.lan(), &format!("sw{nic}")));
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let thread = {
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            std::thread::spawn(move || {
                clock::be_punctual();
                let mut known = 0;
                while !stop.load(Ordering::Relaxed) {
                    let frames = seen.frames_after(known);
                    known += frames.len();
                    for (nic, bytes) in frames.iter().filter(|it| it.from_device).flat_map(&answer)
                    {
                        ports[nic].send(&bytes);
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                    clock::sleep_until(clock::now() + 500_000);
                }
            })
        };
        Self { stop, sent, thread: Some(thread) }
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("joined once").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the attacker has panicked");
    }
}

fn running(lab: &Lab) -> Daemon {
    let mut config = Config::dual_stack(2);
    config.fdt = "200ms";
    // So that a capture on the NIC shows what the hook has seen.
    config.top = "consume_replies = false".to_owned();
    let daemon = Daemon::start(lab.host(), &config.to_string());
    wait_ok(&daemon, &["eth0", "eth1"]);
    wait_held(lab.host(), "192.0.2.50", "eth0", LIMIT);
    daemon
}

fn is_reply(frame: &Frame) -> bool {
    matches!(frame.content, Content::Echo { request: false, .. })
}

/// Cuts eth0 under this attack: it fails in time, and is not repaired before the path is.
fn withstands(attack: impl FnOnce(&Lab) -> Answer, arrives_on: &str) {
    let lab = Lab::builder().build();
    let daemon = running(&lab);
    let attacker = Attacker::start(&lab, attack(&lab));
    wait_for("attack", LIMIT, || if attacker.sent() > 50 { Ok(()) } else { Err(attacker.sent()) });
    assert_eq!(interface(&daemon, "eth0")["state"], "ok", "{}", daemon.log_text());
    let host = Capture::start(lab.host(), arrives_on);

    let cut = lab.cut(0);
    let failed = daemon.wait_log(FAILED, cut, LIMIT);
    let took = Duration::from_nanos(failed.at - cut);
    assert!(took <= FDT + MARGIN, "failed after {took:?}");
    wait_held(lab.host(), "192.0.2.50", "eth1", LIMIT);
    clock::sleep_until(cut + clock::nanos(FDT * 8));
    let text = daemon.log_text();
    assert!(!text.contains("repair detected on eth0"), "repaired by forgery:\n{text}");
    assert_eq!(interface(&daemon, "eth0")["state"], "failed", "{text}");
    assert_eq!(interface(&daemon, "eth1")["state"], "ok", "{text}");
    assert_eq!(holders(lab.host(), "192.0.2.50"), ["eth1"]);
    let came = host.frames().into_iter().filter(|it| it.at > cut && is_reply(it)).count();
    assert!(came > 50, "only {came} forged replies have reached {arrives_on}");

    let mended = lab.mend(0);
    daemon.wait_log("IP interface repair detected on eth0 of group ipmp0", mended, LIMIT);
}

/// The attacker's frames are right but for what makes them forged: with nothing changed they carry probes
/// across a cut.
#[test]
fn right_replies_do_keep_a_nic_alive() {
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = running(&lab);
        let relay = |request: &Frame| -> Vec<(usize, Vec<u8>)> {
            reply_to(request, NICS[0], |_| {}).map(|reply| (0, reply)).into_iter().collect()
        };
        let attacker = Attacker::start(&lab, Box::new(relay));
        let cut = lab.cut(0);
        clock::sleep_until(cut + clock::nanos(FDT * 6));
        assert_eq!(interface(&daemon, "eth0")["state"], "ok", "{}", daemon.log_text());
        drop(attacker);
        daemon.wait_log(FAILED, cut, LIMIT);
        wait_interface(&daemon, "eth0", "state", &["failed"]);
    });
}

#[test]
fn a_wrong_cookie_is_no_reply() {
    isolated(|| {
        let forge = |request: &Frame| -> Vec<(usize, Vec<u8>)> {
            // The cookie ends the payload.
            let wrong =
                |payload: &mut [u8]| payload.iter_mut().rev().take(8).for_each(|it| *it ^= 0x55);
            reply_to(request, NICS[0], wrong).map(|reply| (0, reply)).into_iter().collect()
        };
        withstands(|_| Box::new(forge), "eth0");
    });
}

#[test]
fn an_old_reply_is_no_reply() {
    isolated(|| {
        let record = |lab: &Lab| -> Answer {
            let capture = Capture::start(lab.lan(), "sw0");
            let old = wait_for("replies to record", LIMIT, || {
                let mut frames = capture.frames();
                frames.retain(|it| !it.from_device && is_reply(it));
                if frames.len() > 100 { Ok(frames) } else { Err(frames.len()) }
            });
            // All sequence numbers of the last seconds, again and again.
            let next = AtomicUsize::new(0);
            Box::new(move |_| {
                let first = next.fetch_add(5, Ordering::Relaxed);
                (first..first + 5).map(|n| (0, old[n % old.len()].bytes.clone())).collect()
            })
        };
        withstands(record, "eth0");
    });
}

/// A switch that floods, a second cable to the same LAN: the reply that eth0 waits for comes in on eth1.
#[test]
fn a_right_reply_on_the_wrong_nic_is_no_reply() {
    isolated(|| {
        let astray = |request: &Frame| -> Vec<(usize, Vec<u8>)> {
            reply_to(request, NICS[1], |_| {}).map(|reply| (1, reply)).into_iter().collect()
        };
        withstands(|_| Box::new(astray), "eth1");
    });
}

/// And the other way: what answers the probes of eth1 is fed to eth0.
#[test]
fn replies_to_another_nic_are_no_replies_to_this_one() {
    isolated(|| {
        let tap = |lab: &Lab| -> Answer {
            let capture = Capture::start(lab.lan(), "sw1");
            let known = AtomicUsize::new(0);
            Box::new(move |_| {
                let frames = capture.frames_after(known.load(Ordering::Relaxed));
                known.fetch_add(frames.len(), Ordering::Relaxed);
                let replies = frames.into_iter().filter(|it| !it.from_device && is_reply(it));
                replies
                    .map(|mut reply| {
                        reply.bytes[..6].copy_from_slice(&NICS[0]);
                        (0, reply.bytes)
                    })
                    .collect()
            })
        };
        withstands(tap, "eth0");
    });
}
