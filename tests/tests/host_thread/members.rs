//! Members: sysctls, links, counters, and a configuration that changes.

use mpathd::host::Settings;
use mpathd::messages::{SysctlKey, ToHost, ToSlow};
use mpathd_core::event::Event;
use mpathd_core::ids::IfName;
use mpathd_core::request::{Request, Role};
use mpathd_tests::observe::link;
use mpathd_tests::{Lab, isolated, wait_for};

use crate::driver::{Host, LIMIT, Options, settings};

fn prepare(host: &Host, name: &str, set_up: bool) -> Request {
    Request::Prepare {
        ifindex: host.ifindex(name),
        name: IfName::new(name).expect("a name"),
        set_up,
    }
}

fn changes(host: &mut Host) -> Vec<(SysctlKey, i32, i32)> {
    host.listen();
    let change = |message: &ToSlow| match message {
        ToSlow::Sysctl { key, old, new, .. } => Some((*key, *old, *new)),
        _ => None,
    };
    host.slow.iter().filter_map(change).collect()
}

#[test]
fn sysctls_are_set_told_once_and_put_back() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = Host::start(lab.host());
        for _ in 0..2 {
            host.must(prepare(&host, "eth0", false));
        }
        for key in SysctlKey::ALL {
            let path = key.path(IfName::new("eth0").expect("a name"));
            let path = path.strip_prefix("net/").expect("it is one of the network");
            assert_eq!(lab.host().read_sysctl(path), key.wanted().to_string(), "{path}");
        }
        let told = changes(&mut host);
        assert!(told.contains(&(SysctlKey::ArpIgnore, 0, 1)), "{told:?}");
        let mut keys: Vec<_> = told.iter().map(|(key, ..)| *key).collect();
        keys.dedup();
        assert_eq!(keys.len(), told.len(), "each once: {told:?}");
        assert_eq!(lab.host().read_sysctl("ipv4/conf/eth1/arp_ignore"), "0", "members only");

        lab.host().sysctl("ipv4/conf/eth0/arp_ignore", "0");
        host.must(prepare(&host, "eth0", false));
        assert_eq!(lab.host().read_sysctl("ipv4/conf/eth0/arp_ignore"), "1");
        assert_eq!(changes(&mut host).len(), told.len());
        host.wait_text(|text| text.contains("by somebody else"));
    });
}

#[test]
fn with_check_they_are_only_reported() {
    isolated(|| {
        let lab = Lab::builder().build();
        let settings = Settings { only_check_sysctls: true, ..settings() };
        let mut host = Host::with(lab.host(), Options { settings, ..Options::default() });
        host.must(prepare(&host, "eth0", false));
        assert_eq!(lab.host().read_sysctl("ipv4/conf/eth0/arp_ignore"), "0");
        let wrong = "sysctl net.ipv4.conf.eth0.arp_ignore should be 1";
        host.wait_text(|text| text.starts_with(wrong));
    });
}

#[test]
fn what_makes_our_addresses_unreachable_is_refused() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = Host::start(lab.host());
        for (value, bad) in [("ipv4/conf/all/arp_ignore", "2"), ("ipv4/conf/all/arp_filter", "1")] {
            lab.host().sysctl(value, bad);
            host.refuses(prepare(&host, "eth0", false), libc::EINVAL);
            let name = value.rsplit('/').next().expect("a path");
            host.wait_text(|text| text.contains(name));
            lab.host().sysctl(value, "0");
            host.must(prepare(&host, "eth0", false));
        }
    });
}

#[test]
fn without_ipv6_the_rest_works() {
    isolated(|| {
        let lab = Lab::builder().build();
        lab.host().sysctl("ipv6/conf/eth0/disable_ipv6", "1");
        let mut host = Host::start(lab.host());
        host.must(prepare(&host, "eth0", false));
        host.must(host.set("eth0", "192.0.2.50/24", Role::Data, None));
        let refused = host.ask(host.set("eth0", "2001:db8::50/64", Role::Data, None));
        assert!(refused.result.is_err());
    });
}

#[test]
fn a_link_is_set_up_once_asked() {
    isolated(|| {
        let lab = Lab::builder().build();
        lab.host().expect("ip", &["link", "set", "eth0", "down"]);
        let mut host = Host::start(lab.host());
        host.must(prepare(&host, "eth0", false));
        assert!(!link(lab.host(), "eth0").flags.contains(&"UP".to_owned()));
        host.must(prepare(&host, "eth0", true));
        assert!(link(lab.host(), "eth0").flags.contains(&"UP".to_owned()));
    });
}

#[test]
fn links_and_transmissions_are_told_when_asked() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = Host::start(lab.host());
        host.send(ToHost::DumpLinks);
        wait_for("all links", LIMIT, || {
            host.listen();
            if host.links_dumped > 0 { Ok(()) } else { Err(host.events.clone()) }
        });
        let links: Vec<_> = host
            .events
            .iter()
            .filter_map(|e| if let Event::Link(l) = e { Some(l.name.to_string()) } else { None })
            .collect();
        // At the start by itself, before any address; then because it was asked. And not lo.
        assert_eq!(links, ["eth0", "eth1", "eth0", "eth1"]);
        assert!(matches!(host.events[0], Event::Link(_)), "{:?}", host.events[0]);
        let (ifindex, name) = (host.ifindex("eth0"), IfName::new("eth0").expect("a name"));
        let count = |host: &mut Host| {
            host.must(Request::CountTransmits { ifindex, name });
            match host.expect("the count", |e| matches!(e, Event::Transmits { .. })) {
                Event::Transmits { frames, .. } => frames,
                other => unreachable!("{other:?}"),
            }
        };
        let before = count(&mut host);
        host.must(host.set("eth0", "192.0.2.50/24", Role::Data, Some(&[])));
        assert!(count(&mut host) >= before + 2, "an announcement is two frames");
    });
}

#[test]
fn after_a_reload_other_things_are_told() {
    isolated(|| {
        let lab = Lab::builder().nics(3).build();
        lab.host().expect("ip", &["address", "add", "192.0.2.77/32", "dev", "eth2"]);
        lab.host().expect("ip", &["address", "add", "192.0.2.78/32", "dev", "eth0"]);
        let mut host = Host::start(lab.host());
        host.forget();
        let only = |name| IfName::new(name).into_iter().collect();
        let settings = Box::new(Settings { interfaces: only("eth2"), ..settings() });
        host.send(ToHost::Settings { settings, priority: 0 });
        let (eth0, eth2) = (host.ifindex("eth0"), host.ifindex("eth2"));
        let came = |e: &Event| matches!(e, Event::Address(a) if a.ifindex == eth2 && !a.ours);
        host.expect("what is of concern now", came);
        let of_eth0 = |e: &Event| matches!(e, Event::Address(a) if a.ifindex == eth0);
        wait_for("the new survey", LIMIT, || {
            host.listen();
            let done = host.events.contains(&Event::Surveyed);
            if done { Ok(()) } else { Err(host.events.clone()) }
        });
        assert!(!host.events.iter().any(of_eth0), "{:?}", host.events);
    });
}
