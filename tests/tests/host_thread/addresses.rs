//! Addresses: their form, whose they are, and what is told of them.

use std::collections::BTreeMap;

use mpathd::messages::ToSlow;
use mpathd::slow::state::{OwnAddress, State};
use mpathd_core::event::Event;
use mpathd_core::ids::{IfName, Ifindex};
use mpathd_core::request::{Request, Role};
use mpathd_tests::observe::{addrs, holders};
use mpathd_tests::{Lab, NetNs, isolated, wait_for};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::driver::{DATA, DATA6, Host, LIMIT, Options, ip, net, settings};

const TEST: &str = "192.0.2.11/24";
const TEST6: &str = "2001:db8::11/64";

/// IFA_PROTO of each address, which iproute2 6.1 does not show.
fn protocols(namespace: &NetNs) -> BTreeMap<String, u8> {
    namespace.run(|| {
        let socket = Socket::new(NETLINK_ROUTE).expect("a netlink socket");
        let ask = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let mut ask = NetlinkMessage::from(ask);
        ask.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        ask.finalize();
        let mut bytes = vec![0; ask.buffer_len()];
        ask.serialize(&mut bytes);
        socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).expect("the kernel takes it");
        let mut all = BTreeMap::new();
        loop {
            let (datagram, _) = socket.recv_from_full().expect("an answer");
            let mut rest = &datagram[..];
            while !rest.is_empty() {
                let message = NetlinkMessage::deserialize(rest).expect("it decodes");
                rest =
                    &rest[(message.header.length as usize).next_multiple_of(4).min(rest.len())..];
                match message.payload {
                    NetlinkPayload::Done(_) => return all,
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(message)) => {
                        let address = message.attributes.iter().find_map(|a| match a {
                            AddressAttribute::Address(ip) => Some(ip.to_string()),
                            _ => None,
                        });
                        let protocol = message.attributes.iter().find_map(|a| match a {
                            AddressAttribute::Protocol(p) => Some(u8::from(*p)),
                            _ => None,
                        });
                        all.extend(address.map(|ip| (ip, protocol.unwrap_or(0))));
                    }
                    _ => {}
                }
            }
        }
    })
}

fn told(host: &mut Host, address: &str) -> mpathd_core::event::Address {
    let wanted = ip(address);
    match host.expect(address, |e| matches!(e, Event::Address(a) if a.address.address == wanted)) {
        Event::Address(address) => address,
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn each_role_has_its_form() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = Host::start(lab.host());
        for (address, role) in
            [(DATA, Role::Data), (TEST, Role::Test), (DATA6, Role::Data), (TEST6, Role::Test)]
        {
            host.must(host.set("eth0", address, role, None));
        }
        let all = addrs(lab.host());
        let find = |text: &str| {
            let found = all.iter().find(|a| a.info.local == net(text).address);
            &found.unwrap_or_else(|| panic!("{text} is missing: {all:#?}")).info
        };
        for (text, scope) in [(DATA, "global"), (TEST, "link")] {
            let info = find(text);
            assert_eq!((info.prefixlen, info.scope.as_str()), (32, scope));
            assert_eq!(info.broadcast, Some(ip("192.0.2.255")));
            assert_eq!(info.label.as_deref(), Some("eth0:mpathd"));
            assert!(info.noprefixroute);
        }
        for (text, deprecated) in [(DATA6, false), (TEST6, true)] {
            let info = find(text);
            assert_eq!((info.prefixlen, info.scope.as_str()), (128, "global"));
            assert_eq!((info.deprecated, info.valid_life_time), (deprecated, u32::MAX));
            assert!(info.noprefixroute && info.nodad && !info.tentative);
        }
        let marks = protocols(lab.host());
        for text in [DATA, TEST, DATA6, TEST6] {
            assert_eq!(marks.get(&net(text).address.to_string()), Some(&109), "{text}");
        }
        let seen = told(&mut host, "192.0.2.50");
        assert_eq!((seen.ours, seen.tentative, seen.link_scope), (true, false, false));
        assert!(told(&mut host, "192.0.2.11").link_scope);
    });
}

#[test]
fn what_is_so_already_is_no_error_and_no_change() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = Host::start(lab.host());
        for _ in 0..2 {
            host.must(host.set("eth0", DATA, Role::Data, None));
            host.must(host.set("eth0", DATA6, Role::Data, None));
        }
        let seen =
            |e: &&Event| matches!(e, Event::Address(a) if a.address.address == ip("192.0.2.50"));
        // Whoever asks for what stands does not know of it.
        assert_eq!(host.events.iter().filter(seen).count(), 2, "{:#?}", host.events);
        for _ in 0..2 {
            host.must(host.unset("eth0", DATA));
            host.must(host.unset("eth0", DATA6));
        }
        assert!(addrs(lab.host()).is_empty());
        let gone = Event::AddressGone { ifindex: host.ifindex("eth0"), address: ip("192.0.2.50") };
        host.expect("its end", |event| *event == gone);
    });
}

#[test]
fn the_answer_comes_after_the_observation() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = Host::start(lab.host());
        for round in 0..20 {
            host.forget();
            host.must(host.set("eth0", DATA, Role::Data, None));
            let seen = host.events.iter().any(|e| matches!(e, Event::Address(a) if a.ours));
            assert!(seen, "round {round}: the answer came before the address was told");
            host.must(host.unset("eth0", DATA));
        }
    });
}

/// The copies that may be taken, as told last.
fn foreign(host: &mut Host, address: &str) -> Vec<String> {
    host.listen();
    let of = |event: &Event| match event {
        Event::Foreign { address: told, on } if *told == ip(address) => Some(*on),
        _ => None,
    };
    let on = host.events.iter().filter_map(of).next_back().unwrap_or_default();
    let names = ["lo", "eth0", "eth1"].map(|name| (host.ifindex(name), name.to_owned()));
    let stands = |(index, _): &(Ifindex, String)| on.as_slice().contains(index);
    names.into_iter().filter(stands).map(|(_, name)| name).collect()
}

#[test]
fn somebody_elses_address_is_taken_over_and_remembered_but_not_one_with_a_lifetime() {
    isolated(|| {
        let lab = Lab::builder().build();
        lab.host().ip("address add 192.0.2.50/24 dev eth0
            address add 192.0.2.50/32 dev lo scope host
            address add 2001:db8::50/64 dev eth0 nodad valid_lft 600 preferred_lft 600
        ");
        let mut host = Host::start(lab.host());
        wait_for("IPv4 address as another's", LIMIT, || {
            let on = foreign(&mut host, "192.0.2.50");
            if on == ["lo", "eth0"] { Ok(()) } else { Err(on) }
        });
        assert_eq!(foreign(&mut host, "2001:db8::50"), [""; 0]);
        for address in [DATA, DATA6] {
            host.refuses(host.unset("eth0", address), libc::EPERM);
        }
        host.refuses(host.set("eth0", DATA6, Role::Data, None), libc::EEXIST);
        host.must(Request::TakeAddress(ip("2001:db8::50")));
        assert_eq!(holders(lab.host(), "2001:db8::50"), ["eth0"], "its lifetime forbids it");

        // Ours comes beside it first.
        host.must(host.set("eth0", DATA, Role::Data, None));
        assert_eq!(holders(lab.host(), "192.0.2.50"), ["lo", "eth0", "eth0"]);
        host.must(Request::TakeAddress(ip("192.0.2.50")));
        assert_eq!(holders(lab.host(), "192.0.2.50"), ["eth0"]);
        assert_eq!(foreign(&mut host, "192.0.2.50"), [""; 0]);
        let taken = |message: &ToSlow| match message {
            ToSlow::Taken(taken) => Some(taken.to_string()),
            _ => None,
        };
        let taken: Vec<String> = host.slow.iter().filter_map(taken).collect();
        assert_eq!(taken, ["192.0.2.50/32 on lo", "192.0.2.50/24 on eth0"]);
    });
}

/// What network managers do to every address that they think is theirs.
fn set_anew(lab: &Lab) {
    for address in ["192.0.2.50/32", "2001:db8::50/128"] {
        lab.host().expect("ip", &["address", "replace", address, "dev", "eth0"]);
    }
}

fn wait_for_marks(lab: &Lab) {
    wait_for("the marks", LIMIT, || {
        let marks = protocols(lab.host());
        let all = addrs(lab.host());
        let set = [DATA, DATA6].iter().all(|text| marks[&net(text).address.to_string()] == 109);
        if set && all.iter().all(|a| a.info.noprefixroute) { Ok(()) } else { Err((marks, all)) }
    });
}

#[test]
fn a_wiped_mark_is_put_back() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = Host::start(lab.host());
        host.must(host.set("eth0", DATA, Role::Data, None));
        host.must(host.set("eth0", DATA6, Role::Data, None));
        told(&mut host, "192.0.2.50");
        told(&mut host, "2001:db8::50");
        set_anew(&lab);
        wait_for_marks(&lab);
        host.listen();
        let lost = |e: &&Event| matches!(e, Event::AddressGone { .. } | Event::Address(_));
        assert_eq!(host.events.iter().find(lost), None, "nothing has changed for the engine");
        host.wait_text(|text| text.contains("by somebody else"));
    });
}

#[test]
fn after_a_restart_the_record_counts() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = Host::start(lab.host());
        host.must(host.set("eth0", DATA, Role::Data, None));
        host.must(host.set("eth0", DATA6, Role::Data, None));
        host.stop();
        set_anew(&lab);
        let eth0 = IfName::new("eth0").expect("a name");
        let addresses =
            [DATA, DATA6].map(|text| OwnAddress { interface: eth0, address: net(text) });
        let record = State { addresses: addresses.into(), ..State::default() };
        let settings = settings().with_record(&record);
        let options = Options { settings, ..Options::default() };
        let mut host = Host::with(lab.host(), options);
        wait_for_marks(&lab);
        host.must(host.unset("eth0", DATA6));
        host.must(host.unset("eth0", DATA));
        assert!(addrs(lab.host()).is_empty());
    });
}

#[test]
fn lost_notices_are_made_good_by_a_dump() {
    isolated(|| {
        let lab = Lab::builder().build();
        let options = Options { notices: 4096, ..Options::default() };
        let mut host = Host::with(lab.host(), options);
        // A flood that no 4 KiB hold, some 20 000 notices; an odd number of turns leaves the last half there.
        let mut batch = String::new();
        for n in 0..4000 {
            let (a, b) = (n / 250, n % 250);
            batch += &format!("address add 10.7.{a}.{b}/32 dev eth0\n");
            if n % 2 == 0 {
                batch += &format!("address del 10.7.{a}.{b}/32 dev eth0\n");
            }
        }
        std::fs::write("/run/flood", batch).expect("a file");
        host.deaf_while(|| drop(lab.host().expect("ip", &["-batch", "/run/flood"])));
        let eth0 = host.ifindex("eth0");
        let mut present = std::collections::BTreeSet::new();
        wait_for("the picture to be right", LIMIT * 2, || {
            host.listen();
            for event in host.events.drain(..) {
                match event {
                    Event::Address(a) if a.address.address.is_ipv4() => {
                        present.insert((a.ifindex, a.address.address));
                    }
                    Event::AddressGone { ifindex, address } => {
                        present.remove(&(ifindex, address));
                    }
                    _ => {}
                }
            }
            if present.len() == 2000 { Ok(()) } else { Err(present.len()) }
        });
        let all: Vec<(Ifindex, std::net::IpAddr)> = addrs(lab.host())
            .iter()
            .filter(|a| a.info.local.is_ipv4())
            .map(|a| (eth0, a.info.local))
            .collect();
        assert!(all.iter().all(|address| present.contains(address)) && all.len() == 2000);
    });
}
