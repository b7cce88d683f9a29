//! The main job, seen from outside: addresses and routes leave a NIC whose path died, and come back.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use mpathd_tests::capture::{Capture, Content, Frame};
use mpathd_tests::config::{Member, TARGETS_V4, TARGETS_V6};
use mpathd_tests::daemon::bin_dir;
use mpathd_tests::lab::{FAR_V4, FAR_V6};
use mpathd_tests::observe::{Route, holders, routes_v4, routes_v6};
use mpathd_tests::owner::{OwnerWatch, wait_held};
use mpathd_tests::told::{interface, json, rows, wait_interface, wait_ok};
use mpathd_tests::traffic::{EchoServer, Stream};
use mpathd_tests::watch::AddressWatch;
use mpathd_tests::{Config, Daemon, Lab, Nanos, clock, isolated, wait_for};

const LIMIT: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_millis(5);
const DATA: [&str; 3] = ["192.0.2.50", "192.0.2.51", "2001:db8::50"];
const PORT: u16 = 7007;
const ETH1: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn ip(text: &str) -> std::net::IpAddr {
    text.parse().expect("an address")
}

/// A lab whose daemon has had answers on all NICs.
fn running(lab: &Lab, config: &Config) -> Daemon {
    let daemon = Daemon::start(lab.host(), &config.to_string());
    let names: Vec<&str> = config.members.iter().map(|it| it.name.as_str()).collect();
    wait_ok(&daemon, &names);
    daemon
}

/// How many data addresses each NIC has.
fn spread(lab: &Lab, addresses: &[&str]) -> Vec<usize> {
    let held: Vec<_> = addresses.iter().flat_map(|it| holders(lab.host(), it)).collect();
    let count = |nic| held.iter().filter(|it| **it == format!("eth{nic}")).count();
    (0..lab.nics()).map(count).collect()
}

fn wait_spread(lab: &Lab, addresses: &[&str], wanted: &[usize]) {
    wait_for(&format!("spread {wanted:?}"), LIMIT, || match spread(lab, addresses) {
        now if now == wanted => Ok(()),
        now => Err(now),
    });
}

/// Waits until these NICs have all data addresses, each about as many as the others.
fn wait_fair(lab: &Lab, nics: &[usize]) {
    wait_for(&format!("fair spread over {nics:?}"), LIMIT, || {
        let now = spread(lab, &DATA);
        let counts = || nics.iter().map(|nic| now[*nic]);
        let all = counts().sum::<usize>() == DATA.len();
        let fair = counts().max() <= counts().min().map(|least| least + 1);
        if all && fair { Ok(()) } else { Err(now) }
    });
}

/// The devices that a route of ours goes out by; every one of ours has to use the same.
fn ways_out(lab: &Lab) -> BTreeSet<String> {
    let all = [routes_v4(lab.host()), routes_v6(lab.host())].concat();
    let ours: Vec<Route> = all.into_iter().filter(|it| it.protocol == "109").collect();
    let destinations: Vec<&str> = ours.iter().map(|it| it.dst.as_str()).collect();
    for wanted in ["default", "192.0.2.0/24", "2001:db8::/64"] {
        assert!(destinations.contains(&wanted), "no route to {wanted} in {ours:#?}");
    }
    let ways = |route: &Route| -> BTreeSet<String> {
        route.nexthops.iter().map(|it| it.dev.clone()).chain(route.dev.clone()).collect()
    };
    let first = ways(&ours[0]);
    match ours.iter().find(|it| ways(it) != first) {
        None => first,
        // Under way; a caller that waits goes on waiting.
        Some(_) => BTreeSet::new(),
    }
}

fn wait_ways_out(lab: &Lab, nics: &[&str]) {
    let wanted: BTreeSet<String> = nics.iter().map(|&it| it.to_owned()).collect();
    wait_for(&format!("routes over {nics:?} alone"), LIMIT, || {
        if ways_out(lab) == wanted {
            Ok(())
        } else {
            Err((routes_v4(lab.host()), routes_v6(lab.host())))
        }
    });
}

/// TCP and UDP, IPv4 and IPv6: from the LAN and from far to every data address, and from the host to far.
fn streams(lab: &Lab) -> Vec<(String, Stream)> {
    let mut streams = Vec::new();
    let far = [FAR_V4, FAR_V6];
    let inward = [lab.client(), lab.far()].into_iter().flat_map(|from| DATA.map(|to| (from, to)));
    for (from, to) in inward.chain(far.map(|to| (lab.host(), to))) {
        let name = format!("from {} to {to}", from.name());
        let to = SocketAddr::new(ip(to), PORT);
        streams.push((format!("TCP {name}"), Stream::tcp(from, to, INTERVAL)));
        streams.push((format!("UDP {name}"), Stream::udp(from, to, INTERVAL)));
    }
    wait_answered(&streams, clock::now());
    streams
}

fn wait_answered(streams: &[(String, Stream)], since: Nanos) {
    for (_, stream) in streams {
        stream.wait_answered(since, LIMIT);
    }
}

/// What `ipmpstat` tells has to be what `ip` shows.
fn check_what_is_told(lab: &Lab, daemon: &Daemon, usable: &[&str], failed: &[&str]) {
    let usable: BTreeSet<&str> = usable.iter().copied().collect();
    let words = |text: &str| -> BTreeSet<String> { text.split(' ').map(str::to_owned).collect() };
    let names = |value: &serde_json::Value| -> BTreeSet<String> {
        value
            .as_array()
            .expect("a list")
            .iter()
            .map(|it| it.as_str().expect("a name").to_owned())
            .collect()
    };
    let usable_names: BTreeSet<String> = usable.iter().map(|&it| it.to_owned()).collect();

    // The daemon draws a new picture of itself some times a second; one picture is of one moment.
    wait_for("a picture of what stands", LIMIT, || {
        let all = rows(daemon, "-a", "address,inbound,outbound");
        let fits = |row: &Vec<String>| {
            holders(lab.host(), &row[0]) == [row[1].as_str()] && words(&row[2]) == usable_names
        };
        if all.iter().all(fits) { Ok(()) } else { Err(all) }
    });
    let addresses = rows(daemon, "-a", "address,state,group,inbound,outbound");
    assert_eq!(addresses.len(), DATA.len(), "{addresses:?}");
    for (row, json) in addresses.iter().zip(json(daemon, "-a")) {
        assert_eq!(holders(lab.host(), &row[0]), [row[3].as_str()], "{row:?}");
        assert_eq!([&row[1], &row[2]], ["up", "ipmp0"], "{row:?}");
        assert_eq!(words(&row[4]), usable_names, "{row:?}");
        assert!(json["address"].as_str().is_some_and(|it| it.starts_with(&row[0])), "{json}");
        assert_eq!(json["inbound"], row[3].as_str(), "{json}");
        assert_eq!(names(&json["outbound"]), usable_names, "{json}");
    }

    let state = if failed.is_empty() { "ok" } else { "degraded" };
    // The first second counts in the doubt about new targets.
    let groups = wait_for("the group at its failure detection time", LIMIT, || {
        let groups = rows(daemon, "-g", "group,groupname,state,fdt,interfaces");
        let shown = groups.len() == 1 && groups[0][..4] == ["ipmp0", "ipmp0", state, "0.10s"];
        if shown { Ok(groups) } else { Err(groups) }
    });
    let list = groups[0][4].split_once(" [").map_or(groups[0][4].as_str(), |(active, _)| active);
    assert_eq!(words(list), usable_names, "{groups:?}");
    assert_eq!(groups[0][4].ends_with(&format!("[{}]", failed.join(" "))), !failed.is_empty());
    let group = &json(daemon, "-g")[0];
    assert_eq!(group["state"], state, "{group}");
    assert_eq!(names(&group["active"]), usable_names, "{group}");
    assert_eq!(names(&group["unusable"]), failed.iter().map(|&it| it.to_owned()).collect());

    for row in rows(daemon, "-i", "interface,active,link,probe,state") {
        let json = interface(daemon, &row[0]);
        let wanted = if usable.contains(row[0].as_str()) {
            ["yes", "up", "ok", "ok"]
        } else {
            ["no", "up", "failed", "failed"]
        };
        assert_eq!(row[1..], wanted, "{row:?}");
        assert_eq!(json["active"], wanted[0] == "yes", "{json}");
        assert_eq!(
            [&json["link"], &json["probe"], &json["state"]],
            [wanted[1], wanted[2], wanted[3]]
        );
        let reason = if usable.contains(row[0].as_str()) { None } else { Some("probes") };
        assert_eq!(json["reason"].as_str(), reason, "{json}");
    }

    for row in rows(daemon, "-t", "interface,mode,testaddr,targets") {
        assert_eq!(holders(lab.host(), &row[2]), [row[0].as_str()], "{row:?}");
        assert_eq!(row[1], "pinned");
        if usable.contains(row[0].as_str()) {
            let wanted: &[&str] = if row[2].contains(':') { &TARGETS_V6 } else { &TARGETS_V4 };
            assert_eq!(words(&row[3]), wanted.iter().map(|&it| it.to_owned()).collect());
        }
    }
    check_probes(lab, usable, failed);
}

/// `ipmpstat -p` runs until it is stopped; as text and as JSON.
fn check_probes(lab: &Lab, usable: BTreeSet<&str>, failed: &[&str]) {
    let program = bin_dir().join("ipmpstat");
    let program = program.to_str().expect("a path in ASCII");
    let run = |arguments: &[&str]| {
        let output = lab.host().output("timeout", &[&["1", program, "-p"], arguments].concat());
        String::from_utf8(output.stdout).expect("it says UTF-8")
    };
    let text = run(&["-n", "-P", "-o", "interface,netrtt,rtt,target"]);
    let lines = run(&["--json"]);
    for nic in usable {
        let answered = text.lines().any(|it| it.starts_with(nic) && it.contains("ms:"));
        assert!(answered, "no answered probe of {nic} in\n{text}");
    }
    for nic in failed {
        let mut of_nic = text.lines().filter(|it| it.starts_with(nic));
        assert!(of_nic.clone().count() > 0, "no probe of {nic} in\n{text}");
        assert!(of_nic.all(|it| it.contains(":::")), "an answered probe of {nic} in\n{text}");
    }
    // Where the path is cut none is answered. Elsewhere a stall of this machine may cost a reply its time.
    let (mut count, mut lost) = (0, 0);
    for line in lines.lines() {
        let probe: serde_json::Value = serde_json::from_str(line).expect("an object a line");
        count += 1;
        if failed.iter().any(|it| probe["interface"] == *it) {
            assert_eq!(probe["state"], "lost", "{probe}");
        } else {
            lost += usize::from(probe["state"] == "lost");
            assert!(probe["state"] == "lost" || probe["state"] == "acked", "{probe}");
        }
    }
    assert!(count > 10, "{count} probes in a second");
    assert!(lost * 5 <= count, "{lost} of {count} lost: {lines}");
}

/// Behaviours 4, 102 to 106, 110.
#[test]
fn a_silent_cut_moves_everything_and_repair_brings_it_back() {
    isolated(|| {
        let lab = Lab::builder().far().build();
        let host = lab.host();
        let watch = AddressWatch::start(host);
        let owner = OwnerWatch::start(host, lab.client());
        let daemon = running(&lab, &Config::dual_stack(2));
        let _servers = [EchoServer::start(host, PORT), EchoServer::start(lab.far(), PORT)];
        let streams = streams(&lab);
        assert!(spread(&lab, &DATA).iter().all(|it| (1..=2).contains(it)));
        wait_ways_out(&lab, &["eth0", "eth1"]);
        check_what_is_told(&lab, &daemon, &["eth0", "eth1"], &[]);

        let on_eth0: Vec<&str> =
            DATA.into_iter().filter(|it| holders(host, it) == ["eth0"]).collect();
        let cut = lab.cut(0);
        wait_spread(&lab, &DATA, &[0, 3]);
        for address in &on_eth0 {
            let added = watch.wait_added(address, "eth1", cut, LIMIT);
            let deleted = watch.wait_deleted(address, "eth0", cut, LIMIT);
            assert!(added < deleted, "{address} was nowhere");
            daemon.wait_log(&format!("moved {address} from eth0 to eth1 in "), cut, LIMIT);
        }
        daemon.wait_log("IP interface failure detected on eth0 of group ipmp0", cut, LIMIT);
        wait_ways_out(&lab, &["eth1"]);
        wait_answered(&streams, clock::now());
        check_what_is_told(&lab, &daemon, &["eth1"], &["eth0"]);

        let mended = lab.mend(0);
        daemon.wait_log("IP interface repair detected on eth0 of group ipmp0", mended, LIMIT);
        wait_ways_out(&lab, &["eth0", "eth1"]);
        wait_fair(&lab, &[0, 1]);
        wait_answered(&streams, clock::now());
        check_what_is_told(&lab, &daemon, &["eth0", "eth1"], &[]);

        for address in DATA {
            let changes = owner.check(address);
            assert_eq!(changes > 0, on_eth0.contains(&address), "{address}");
        }
        for (name, stream) in streams {
            let is_tcp = name.starts_with("TCP");
            // What TCP sends again may take its time.
            let report = stream.finish(if is_tcp { LIMIT } else { Duration::from_secs(1) });
            assert_eq!(report.broken, None, "{name}");
            if is_tcp {
                assert_eq!(report.unanswered(), 0, "{name}");
            }
            assert_eq!(report.refused, 0, "{name}: {:?}", report.last_refusal);
            let silence = report.longest_silence(cut);
            assert!(silence < Duration::from_secs(2), "{name} silent for {silence:?}");
        }
    });
}

#[test]
fn a_move_is_announced_to_neighbours_gateway_and_targets() {
    isolated(|| {
        let lab = Lab::builder().build();
        let _daemon = running(&lab, &Config::dual_stack(2));
        let ports = ["pc", "p1", "p2", "p3"].map(|port| Capture::start(lab.lan(), port));
        let cut = lab.cut(0);
        let (v4, v6) = (ip("192.0.2.50"), ip("2001:db8::50"));
        wait_held(lab.host(), "2001:db8::50", "eth1", LIMIT);
        wait_held(lab.host(), "192.0.2.50", "eth1", LIMIT);

        let of_eth1 = |frame: &Frame| frame.source_mac == ETH1;
        let in_form = |form: bool| {
            move |frame: &Frame| {
                let is_form = matches!(frame.content,
                    Content::Arp { request, sender_mac: ETH1, .. } if request == form);
                is_form
                    && of_eth1(frame)
                    && frame.announces(v4)
                    && frame.destination_mac == [0xff; 6]
            }
        };
        let advertised = |frame: &Frame| {
            let to_eth1 =
                matches!(frame.content, Content::NeighbourAdvertisement { mac: Some(ETH1), .. });
            to_eth1 && of_eth1(frame) && frame.announces(v6)
        };
        for port in &ports {
            port.wait("gratuitous ARP request", cut, LIMIT, in_form(true));
            port.wait("gratuitous ARP reply", cut, LIMIT, in_form(false));
            port.wait("unsolicited advertisement", cut, LIMIT, advertised);
        }
        // At 0, 100 ms, 1 s and 5 s.
        wait_for("three announcements", LIMIT, || {
            let frames = ports[0].frames();
            let count = |fits: &dyn Fn(&Frame) -> bool| {
                frames.iter().filter(|it| it.at > cut && fits(it)).count()
            };
            let counts = [count(&in_form(true)), count(&in_form(false)), count(&advertised)];
            if counts.iter().all(|it| *it >= 3) { Ok(()) } else { Err(counts) }
        });
        for (port, target) in ports[1..].iter().zip(TARGETS_V4) {
            port.wait(&format!("ARP request to {target}"), cut, LIMIT, |frame| {
                of_eth1(frame)
                    && matches!(frame.content, Content::Arp { request: true, sender, target: asked, .. }
                        if sender == v4 && asked == ip(target))
            });
        }
        for (port, target) in ports[1..].iter().zip(TARGETS_V6) {
            port.wait(&format!("NS to {target}"), cut, LIMIT, |frame| {
                of_eth1(frame)
                    && matches!(frame.content, Content::NeighbourSolicitation { source, target: asked }
                        if source == v6 && asked == ip(target))
            });
        }
    });
}

#[test]
fn a_standby_is_given_nothing_at_start() {
    isolated(|| {
        let lab = Lab::builder().nics(3).build();
        let watch = AddressWatch::start(lab.host());
        let mut config = Config::dual_stack(2);
        config.members.push(Member::of_nic(2).standby());
        let _daemon = running(&lab, &config);
        let placed: Vec<_> = watch
            .events()
            .into_iter()
            .filter(|it| it.added && DATA.contains(&it.address.to_string().as_str()))
            .map(|it| format!("{} on {}", it.address, it.ifname))
            .collect();
        let wanted = ["192.0.2.50 on eth0", "192.0.2.51 on eth1", "2001:db8::50 on eth0"];
        assert!(placed.iter().all(|it| wanted.contains(&it.as_str())), "{placed:?}");
        assert_eq!(spread(&lab, &DATA), [2, 1, 0]);
    });
}

#[test]
fn a_standby_is_activated_by_a_failure_and_put_back_by_repair() {
    isolated(|| {
        let lab = Lab::builder().nics(3).build();
        let mut config = Config::dual_stack(2);
        config.members.push(Member::of_nic(2).standby());
        let daemon = running(&lab, &config);
        let flags = |nic: &str, wanted: &str| {
            wait_interface(
                &daemon,
                nic,
                "active,flags",
                &[if wanted.starts_with('i') { "no" } else { "yes" }, wanted],
            );
        };
        flags("eth2", "is-----");
        wait_spread(&lab, &DATA, &[2, 1, 0]);
        wait_ways_out(&lab, &["eth0", "eth1"]);

        lab.cut(0);
        wait_fair(&lab, &[1, 2]);
        flags("eth2", "-s-----");
        wait_ways_out(&lab, &["eth1", "eth2"]);

        lab.mend(0);
        wait_fair(&lab, &[0, 1]);
        flags("eth2", "is-----");
        wait_ways_out(&lab, &["eth0", "eth1"]);
    });
}

/// Behaviour 93: the repaired NIC is put aside while the group has its number of active ones.
#[test]
fn without_failback_a_repaired_nic_stays_aside() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut config = Config::dual_stack(1);
        config.top = "failback = false".to_owned();
        config.members.push(Member::of_nic(1).standby());
        let daemon = running(&lab, &config);
        lab.cut(0);
        wait_spread(&lab, &DATA, &[0, 3]);
        wait_ways_out(&lab, &["eth1"]);
        let watch = AddressWatch::start(lab.host());
        let mended = lab.mend(0);
        daemon.wait_log("IP interface repair detected on eth0 of group ipmp0", mended, LIMIT);
        wait_interface(&daemon, "eth0", "active,flags,state", &["no", "i------", "ok"]);
        wait_ways_out(&lab, &["eth1"]);
        assert_eq!(spread(&lab, &DATA), [0, 3]);
        assert_eq!(watch.events(), [], "an address has moved");
    });
}

/// The group lacks its number of active NICs, so the repaired one sends (design 9); addresses stay.
#[test]
fn without_failback_addresses_stay_where_they_are() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut config = Config::dual_stack(2);
        config.group = "failback = false".to_owned();
        let daemon = running(&lab, &config);
        lab.cut(0);
        wait_spread(&lab, &DATA, &[0, 3]);
        wait_interface(&daemon, "eth0", "state", &["failed"]);
        let watch = AddressWatch::start(lab.host());
        lab.mend(0);
        wait_interface(&daemon, "eth0", "active,state", &["yes", "ok"]);
        wait_ways_out(&lab, &["eth0", "eth1"]);
        assert_eq!(spread(&lab, &DATA), [0, 3]);
        assert_eq!(watch.events(), [], "an address has moved");
    });
}

/// The other family still works.
fn cut_ipv6(lab: &Lab, nic: usize) {
    let chain = "type filter hook forward priority 0";
    lab.lan().nft(&format!(
        "table bridge cut {{
           chain ipv6 {{
             {chain}
             iifname sw{nic} ether type ip6 drop
             oifname sw{nic} ether type ip6 drop
           }}
         }}"
    ));
}

#[test]
fn a_family_that_is_dead_on_one_nic_alone_leaves_it() {
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = running(&lab, &Config::dual_stack(2));
        wait_held(lab.host(), "192.0.2.50", "eth0", LIMIT);
        wait_held(lab.host(), "2001:db8::50", "eth0", LIMIT);
        cut_ipv6(&lab, 0);
        wait_held(lab.host(), "2001:db8::50", "eth1", LIMIT);
        wait_for("IPv6 routes over eth1 alone", LIMIT, || {
            let routes = routes_v6(lab.host());
            let over_eth0 = |it: &Route| {
                it.protocol == "109"
                    && (it.dev.as_deref() == Some("eth0")
                        || it.nexthops.iter().any(|hop| hop.dev == "eth0"))
            };
            if routes.iter().any(over_eth0) { Err(routes) } else { Ok(()) }
        });
        wait_held(lab.host(), "192.0.2.50", "eth0", LIMIT);
        wait_interface(&daemon, "eth0", "active,degraded,state", &["yes", "inet6", "ok"]);
        assert_eq!(rows(&daemon, "-g", "state"), [["degraded"]]);
    });
}

#[test]
fn a_family_that_is_dead_on_the_only_active_nic_goes_to_the_standby() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut config = Config::dual_stack(1);
        config.members.push(Member::of_nic(1).standby());
        let _daemon = running(&lab, &config);
        wait_held(lab.host(), "192.0.2.50", "eth0", LIMIT);
        wait_held(lab.host(), "2001:db8::50", "eth0", LIMIT);
        cut_ipv6(&lab, 0);
        wait_held(lab.host(), "2001:db8::50", "eth1", LIMIT);
    });
}
