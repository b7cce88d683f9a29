//! What the demo measures with, all of it outside of the daemon: captures on the switch, the kernel's address
//! notices, the clients' own streams. Of the daemon only the log is read, for the moment of its verdict.

use std::net::IpAddr;
use std::time::Duration;

use super::scene::{DATA, LIMIT, Scene, TARGETS, TEST, ip};
use crate::capture::{Capture, Content, Frame};
use crate::clock::{self, Nanos};
use crate::daemon::LogLine;
use crate::watch::AddressWatch;
use crate::{Daemon, wait_for};

/// Families in the order of all pairs here; the data address of each is `DATA` at the same place.
pub const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
/// As the daemon's log calls them.
const LOGGED: [&str; 2] = ["inet", "inet6"];

/// Listens from its making until dropped.
#[derive(Debug)]
pub struct Instruments {
    nic: usize,
    addresses: AddressWatch,
    /// Behind the NIC: probes and their replies.
    port: Capture,
    /// The client's cable.
    client: Capture,
}

/// An echo request of the daemon, as it left the NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    pub at: Nanos,
    pub target: IpAddr,
    pub answered: bool,
}

/// What became of one family's data address.
#[derive(Clone, Debug)]
pub struct Moved {
    pub address: &'static str,
    pub probes: Vec<Probe>,
    pub last_reply: Option<Nanos>,
    /// When the daemon decided, by its log: the stamp of the line that tells of the move, in whole ms, rounded
    /// down, less what the move took. The line on the interface tells when its last family failed.
    pub verdict: Nanos,
    pub added: Nanos,
    pub deleted: Nanos,
    pub announced: Nanos,
    /// At the client, to a datagram sent after the cut.
    pub answered: Option<Nanos>,
}

impl Moved {
    pub fn first_unanswered(&self) -> Option<Nanos> {
        self.probes.iter().find(|probe| !probe.answered).map(|probe| probe.at)
    }

    /// Probes without an answer when the address moved: of the target that had the fewest.
    pub fn unanswered(&self) -> usize {
        let lost = |target: IpAddr| {
            let of_target = self.probes.iter().filter(|probe| probe.target == target);
            of_target.filter(|probe| !probe.answered && probe.at < self.added).count()
        };
        let mut targets: Vec<IpAddr> = self.probes.iter().map(|probe| probe.target).collect();
        targets.sort();
        targets.dedup();
        // A target that was not probed has lost none.
        if targets.len() < TARGETS { 0 } else { targets.into_iter().map(lost).min().unwrap_or(0) }
    }
}

/// A data address that came back after the repair.
#[derive(Clone, Debug)]
pub struct Returned {
    pub address: &'static str,
    pub added: Nanos,
    pub deleted: Nanos,
    pub announced: Nanos,
}

/// What the repair of a path brought.
#[derive(Clone, Debug)]
pub struct Repaired {
    pub probes: [Vec<Probe>; 2],
    pub first_reply: [Option<Nanos>; 2],
    /// In whole ms, rounded down.
    pub verdict: [Nanos; 2],
    pub returned: Returned,
}

impl Instruments {
    /// Listens to `nic` and to the client.
    pub fn listen(scene: &Scene, nic: usize) -> Self {
        let lab = &scene.lab;
        Self {
            nic,
            addresses: AddressWatch::start(lab.host()),
            port: Capture::start(lab.lan(), &format!("sw{nic}")),
            client: Capture::start(lab.lan(), "pc"),
        }
    }

    /// As `listen`; returns when probes of both families have been seen answered.
    ///
    /// # Panics
    /// If none are.
    pub fn listen_to_answers(scene: &Scene, nic: usize) -> Self {
        let it = Self::listen(scene, nic);
        for (test, family) in TEST[nic].into_iter().zip(FAMILIES) {
            let what = format!("answer to an {family} probe on eth{nic}");
            it.port.wait(&what, 0, LIMIT, |frame| is_reply_to(frame, ip(test)));
        }
        it
    }

    /// The move of both data addresses to the other NIC, after a cut at `cut`; `closed` is when it stood.
    ///
    /// # Panics
    /// If they do not move.
    pub fn failover(
        &self,
        scene: &Scene,
        cut: Nanos,
        closed: Nanos,
        window: Duration,
    ) -> [Moved; 2] {
        let (from, to) = (device(self.nic), device(1 - self.nic));
        for address in &DATA[..2] {
            self.addresses.wait_added(address, &to, cut, LIMIT);
            self.addresses.wait_deleted(address, &from, cut, LIMIT);
        }
        let interface = format!("IP interface failure detected on {from} ");
        scene.daemon.wait_log(&interface, cut, LIMIT);
        // What comes after is drawn too; and a capture is not to be read while it matters.
        clock::sleep_until(cut + clock::nanos(window));
        let port = self.port.frames();
        [0, 1].map(|family| {
            let test = ip(TEST[self.nic][family]);
            let address = DATA[family];
            let replies = port.iter().filter(|frame| is_reply_to(frame, test));
            Moved {
                address,
                probes: probes(&port, test),
                last_reply: replies.map(|frame| frame.at).max(),
                verdict: decided(&scene.daemon, address, &from, &to, cut),
                added: self.addresses.wait_added(address, &to, cut, LIMIT),
                deleted: self.addresses.wait_deleted(address, &from, cut, LIMIT),
                announced: self.announced(address, cut),
                answered: scene.flows[family].stream.report().first_answer(closed),
            }
        })
    }

    /// Repair of the NIC after `mend`, and the address that goes back to it.
    ///
    /// # Panics
    /// If there is no repair, or nothing goes back.
    pub fn repair(&self, scene: &Scene, mend: Nanos, window: Duration) -> Repaired {
        let (home, away) = (device(self.nic), device(1 - self.nic));
        let (address, added) = wait_for(&format!("return of an address to {home}"), LIMIT, || {
            let events = self.addresses.events();
            let back = events.iter().filter(|it| it.added && it.ifname == home && it.at >= mend);
            let data = back.filter_map(|it| {
                DATA.into_iter().find(|data| ip(data) == it.address).map(|data| (data, it.at))
            });
            data.min_by_key(|(_, at)| *at).ok_or(events)
        });
        let deleted = self.addresses.wait_deleted(address, &away, mend, LIMIT);
        let of_family = LOGGED.map(|family| format!("{family} repair detected on {home} "));
        let interface = format!("IP interface repair detected on {home} ");
        scene.daemon.wait_log(&interface, mend, LIMIT);
        clock::sleep_until(mend + clock::nanos(window));
        let port = self.port.frames();
        let tests = TEST[self.nic].map(ip);
        Repaired {
            probes: tests.map(|test| probes(&port, test)),
            first_reply: tests.map(|test| {
                let mut replies = port.iter().filter(|frame| is_reply_to(frame, test));
                replies.find(|frame| frame.at >= mend).map(|frame| frame.at)
            }),
            verdict: of_family.map(|text| judged(&scene.daemon, &text, &interface, mend)),
            returned: Returned {
                address,
                added,
                deleted,
                announced: self.announced(address, mend),
            },
        }
    }

    /// When the client's wire first carried the news.
    fn announced(&self, address: &str, since: Nanos) -> Nanos {
        let address = ip(address);
        let what = format!("announcement of {address} at the client");
        let news = |frame: &Frame| !frame.from_device && frame.announces(address);
        self.client.wait(&what, since, LIMIT, news).at
    }
}

fn device(nic: usize) -> String {
    format!("eth{nic}")
}

fn is_reply_to(frame: &Frame, test: IpAddr) -> bool {
    matches!(frame.content, Content::Echo { request: false, destination, .. } if destination == test)
}

/// The probes from this test address, in their order.
fn probes(frames: &[Frame], test: IpAddr) -> Vec<Probe> {
    let answers: std::collections::HashSet<_> = frames
        .iter()
        .filter_map(|frame| match frame.content {
            Content::Echo { request: false, source, destination, id, sequence }
                if destination == test =>
            {
                Some((source, id, sequence))
            }
            _ => None,
        })
        .collect();
    let probe = |frame: &Frame| match frame.content {
        Content::Echo { request: true, source, destination, id, sequence } if source == test => {
            let answered = answers.contains(&(destination, id, sequence));
            Some(Probe { at: frame.at, target: destination, answered })
        }
        _ => None,
    };
    frames.iter().filter(|frame| frame.from_device).filter_map(probe).collect()
}

/// By `moved ADDRESS from IF to IF in N ms`.
fn decided(daemon: &Daemon, address: &str, from: &str, to: &str, since: Nanos) -> Nanos {
    let text = format!("moved {address} from {from} to {to} in ");
    let line = daemon.wait_log(&text, since, LIMIT);
    let took = line.text.split_once(&text).and_then(|(_, rest)| rest.split_once(" ms"));
    let took = took.and_then(|(ms, _)| ms.parse::<f64>().ok());
    let (Some(stamp), Some(took)) = (stamp(&line), took) else {
        panic!("a log line that cannot be read: {}", line.text)
    };
    stamp.saturating_sub((took * 1e6) as Nanos)
}

/// The stamp of the family's line or, where it has none, of the interface's.
fn judged(daemon: &Daemon, family: &str, interface: &str, since: Nanos) -> Nanos {
    let log = daemon.log();
    let said = |text: &str| {
        log.iter().find(|line| line.at >= since && line.text.contains(text)).and_then(stamp)
    };
    said(family)
        .or_else(|| said(interface))
        .unwrap_or_else(|| panic!("no log line with `{family}` or `{interface}`"))
}

/// When the daemon says that it was: `2026-01-31T23:59:59.999Z ...`, on our clock.
fn stamp(line: &LogLine) -> Option<Nanos> {
    const DAY: Nanos = 86_400_000_000_000;
    let time = line.text.split_once('T')?.1.split_once('Z')?.0;
    let (time, ms) = time.split_once('.')?;
    let seconds =
        time.split(':').try_fold(0, |sum, part| Some(sum * 60 + part.parse::<Nanos>().ok()?))?;
    let of_day = seconds * 1_000_000_000 + ms.parse::<Nanos>().ok()? * 1_000_000;
    let age = (clock::wall() % DAY + DAY - of_day) % DAY;
    clock::now().checked_sub(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(probes: Vec<Probe>) -> Moved {
        Moved {
            address: DATA[0],
            probes,
            last_reply: None,
            verdict: 90,
            added: 100,
            deleted: 101,
            announced: 102,
            answered: None,
        }
    }

    #[test]
    fn the_target_with_the_fewest_unanswered_probes_counts() {
        let probe = |at, target: u8, answered| Probe {
            at,
            target: IpAddr::from([192, 0, 2, target]),
            answered,
        };
        let mut probes = vec![probe(1, 1, true), probe(1, 2, true)];
        probes.extend((2..7).flat_map(|at| [probe(at, 1, false), probe(at, 2, false)]));
        assert_eq!(moved(probes.clone()).unanswered(), 0, "the third target was not probed");
        probes.extend((3..7).map(|at| probe(at, 3, false)));
        probes.push(probe(100, 3, false));
        let moved = moved(probes);
        assert_eq!(moved.unanswered(), 4, "what left after the move is no evidence");
        assert_eq!(moved.first_unanswered(), Some(2));
    }

    #[test]
    fn a_log_line_tells_its_moment() {
        let now = clock::wall() / 1_000_000;
        let (of_day, ms) = (now / 1000 % 86_400, now % 1000);
        let text = format!(
            "2026-11-23T{:02}:{:02}:{:02}.{ms:03}Z err inet failure detected on eth0 of group ipmp0",
            of_day / 3600,
            of_day / 60 % 60,
            of_day % 60
        );
        let stamp = stamp(&LogLine { at: 0, text }).expect("it has a stamp");
        let age = clock::now() - stamp;
        assert!(age < 1_000_000_000, "{age} ns");
        assert_eq!(super::stamp(&LogLine { at: 0, text: "panicked".to_owned() }), None);
    }
}
