//! Announcements as the switch sees them.

use std::time::Duration;

use mpathd_core::request::{Request, Role};
use mpathd_tests::capture::{Capture, Content, Frame};
use mpathd_tests::{Lab, clock, isolated, wait_for};

use crate::driver::{DATA, DATA6, Host, LIMIT, ip, peers};

const ADDRESS: &str = "192.0.2.50";
const ADDRESS6: &str = "2001:db8::50";

fn announcements(capture: &Capture, address: &str) -> Vec<Frame> {
    let fits = |frame: &Frame| frame.from_device && frame.announces(ip(address));
    capture.frames().into_iter().filter(fits).collect()
}

fn arp_of(frame: &Frame, request: bool) -> bool {
    matches!(frame.content, Content::Arp { request: r, .. } if r == request)
}

#[test]
fn at_once_and_again_in_both_forms() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = Host::start(lab.host());
        let port = Capture::start(lab.lan(), "sw0");
        let begun = clock::now();
        host.must(host.set("eth0", DATA, Role::Data, Some(&["192.0.2.1", "2001:db8::1"])));
        host.must(host.set("eth0", DATA6, Role::Data, Some(&["2001:db8::2"])));
        let answered = clock::now();
        wait_for("the third of each", LIMIT, || {
            let (v4, v6) = (announcements(&port, ADDRESS), announcements(&port, ADDRESS6));
            if v4.len() >= 6 && v6.len() >= 3 { Ok(()) } else { Err((v4, v6)) }
        });
        let v4 = announcements(&port, ADDRESS);
        for (request, name) in [(true, "request"), (false, "reply")] {
            let at: Vec<_> = v4.iter().filter(|f| arp_of(f, request)).map(|f| f.at).collect();
            assert!(at[0] >= begun && at[0] <= answered, "the first {name} waits for nothing");
            check_pauses(&at, name);
        }
        let v6: Vec<_> = announcements(&port, ADDRESS6).iter().map(|f| f.at).collect();
        check_pauses(&v6, "advertisement");
        let asked = |content: &Content| match *content {
            Content::Arp { request, sender, target, .. } => {
                request && sender == ip(ADDRESS) && target == ip("192.0.2.1")
            }
            Content::NeighbourSolicitation { source, target } => {
                source == ip(ADDRESS6) && target == ip("2001:db8::2")
            }
            _ => false,
        };
        let frames = port.frames();
        let asked = frames.iter().filter(|f| f.from_device && asked(&f.content)).count();
        assert!(asked >= 6, "gateways are asked with the moved address as sender: {asked}");
    });
}

/// 0, 100 ms, 1 s; how late they may be is this machine's doing.
fn check_pauses(at: &[u64], name: &str) {
    for (n, planned) in [(1, 100.0), (2, 1000.0)] {
        let late = clock::ms_between(at[0], at[n]) - planned;
        assert!((-0.5..80.0).contains(&late), "{name} {n} is {late} ms late");
    }
}

/// Without carrier nobody would hear them, and the kernel refuses each: they begin when there is one.
#[test]
fn they_wait_for_carrier_without_a_word() {
    isolated(|| {
        let lab = Lab::builder().build();
        lab.carrier(0, false);
        let mut host = Host::start(lab.host());
        let port = Capture::start(lab.lan(), "sw0");
        host.must(host.set("eth0", DATA, Role::Data, Some(&["192.0.2.1"])));
        host.must(host.set("eth0", DATA6, Role::Data, Some(&["2001:db8::1"])));
        // All four of each would have been tried by then.
        clock::pass(Duration::from_millis(5_500));
        let complaints = |host: &mut Host| -> Vec<String> {
            host.texts().into_iter().filter(|text| text.contains("announcing")).collect()
        };
        assert_eq!(complaints(&mut host), [""; 0]);
        let up = lab.carrier(0, true);
        for address in [ADDRESS, ADDRESS6] {
            port.wait("one at once", up, LIMIT, |f| f.announces(ip(address)));
        }
        wait_for("the repeats", LIMIT, || {
            let (v4, v6) = (announcements(&port, ADDRESS), announcements(&port, ADDRESS6));
            if v4.len() >= 6 && v6.len() >= 3 { Ok(()) } else { Err((v4, v6)) }
        });
        assert_eq!(complaints(&mut host), [""; 0]);
    });
}

#[test]
fn they_end_when_the_address_moves_on() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = Host::start(lab.host());
        let old = Capture::start(lab.lan(), "sw0");
        let new = Capture::start(lab.lan(), "sw1");
        host.must(host.set("eth0", DATA, Role::Data, Some(&[])));
        host.must(host.set("eth1", DATA, Role::Data, Some(&[])));
        let moved = clock::now();
        host.must(host.unset("eth0", DATA));
        let deleted = clock::now();
        new.wait("one after the deletion", moved, LIMIT, |f| f.announces(ip(ADDRESS)));
        wait_for("the third from the new owner", LIMIT, || {
            let all = announcements(&new, ADDRESS);
            if all.len() >= 8 { Ok(()) } else { Err(all) }
        });
        let stale: Vec<_> =
            announcements(&old, ADDRESS).into_iter().filter(|f| f.at > deleted).collect();
        assert!(stale.is_empty(), "the old owner still speaks: {stale:#?}");
    });
}

#[test]
fn they_end_when_somebody_takes_the_address_away() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = Host::start(lab.host());
        let port = Capture::start(lab.lan(), "sw0");
        host.must(host.set("eth0", DATA, Role::Data, Some(&[])));
        lab.host().expect("ip", &["address", "del", "192.0.2.50/32", "dev", "eth0"]);
        let gone = clock::now();
        // The other address' third tells that the first one's would have come by now.
        host.must(host.set("eth0", DATA6, Role::Data, Some(&[])));
        wait_for("the third of the other", LIMIT, || {
            let all = announcements(&port, ADDRESS6);
            if all.len() >= 3 { Ok(()) } else { Err(all) }
        });
        let stale: Vec<_> =
            announcements(&port, ADDRESS).into_iter().filter(|f| f.at > gone).collect();
        assert!(stale.is_empty(), "{stale:#?}");
    });
}

#[test]
fn one_that_is_asked_for_replaces_the_pending_ones() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = Host::start(lab.host());
        let port = Capture::start(lab.lan(), "sw0");
        host.must(host.set("eth0", DATA, Role::Data, Some(&[])));
        let ifindex = host.ifindex("eth0");
        let again = clock::now();
        host.must(Request::Announce { ifindex, address: ip(ADDRESS), peers: peers(&[]) });
        wait_for("its third", LIMIT, || {
            let all = announcements(&port, ADDRESS);
            if all.len() >= 8 { Ok(()) } else { Err(all) }
        });
        let at: Vec<_> = announcements(&port, ADDRESS)
            .iter()
            .filter(|f| f.at >= again && arp_of(f, true))
            .map(|f| f.at)
            .collect();
        check_pauses(&at, "request");
        assert!(clock::ms_between(again, at[0]) < 80.0);
    });
}

#[test]
fn a_neighbour_learns_the_new_place() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = Host::start(lab.host());
        host.must(host.set("eth0", DATA, Role::Data, Some(&["192.0.2.1"])));
        let peer = lab.target(1);
        let known = |n: usize| {
            let wanted = mpathd_tests::lab::nic_mac(n);
            wait_for("the neighbour's entry", Duration::from_secs(3), || {
                let mac = mpathd_tests::observe::neighbour_mac(peer, ADDRESS);
                if mac.as_deref() == Some(wanted.as_str()) { Ok(()) } else { Err(mac) }
            });
        };
        known(0);
        host.must(host.set("eth1", DATA, Role::Data, Some(&["192.0.2.1"])));
        host.must(host.unset("eth0", DATA));
        known(1);
    });
}
