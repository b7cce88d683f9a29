//! `mpathd reload` and HUP, seen from outside: what the file has new comes, what stands does not move,
//! what is no longer in it goes; and a reload that cannot be leaves everything as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use mpathd_tests::daemon::bin_dir;
use mpathd_tests::observe::{addrs, holders, routes_v4, routes_v6};
use mpathd_tests::traffic::{EchoServer, Stream};
use mpathd_tests::watch::AddressWatch;
use mpathd_tests::{Daemon, Lab, Nanos, clock, isolated, wait_for};
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(10);
const PORT: u16 = 7007;

const CONFIG: &str = r#"
failure_detection_time = "600ms"
[groups.ipmp0]
data_addresses = ["192.0.2.50/24", "192.0.2.51/24", "2001:db8::50/64"]
targets = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
[groups.ipmp0.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
[groups.ipmp0.interfaces.eth1]
test_addresses = ["192.0.2.12/24"]
"#;

/// `CONFIG` with this in place of that.
fn edited(edits: &[(&str, &str)]) -> String {
    edits.iter().fold(CONFIG.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    })
}

const ONE_MORE: (&str, &str) = ("\"2001:db8::50/64\"]", "\"2001:db8::50/64\", \"192.0.2.52/24\"]");

/// A daemon whose probes are answered on both NICs.
fn running(lab: &Lab, config: &str) -> Daemon {
    let daemon = Daemon::start(lab.host(), config);
    wait_answered(&daemon);
    wait_group(&daemon, "ipmp0:ok:0.60s");
    daemon
}

fn wait_answered(daemon: &Daemon) {
    wait_for("answers on both NICs", LIMIT, || {
        let output = daemon.ipmpstat(&["-i", "-P", "-o", "interface,probe"]);
        let now = String::from_utf8_lossy(&output.stdout).into_owned();
        let answered = ["eth0:ok", "eth1:ok"].iter().all(|it| now.lines().any(|line| line == *it));
        if answered { Ok(()) } else { Err((now, daemon.log_text())) }
    });
}

fn group(daemon: &Daemon) -> String {
    let output = daemon.ipmpstat(&["-g", "-P", "-o", "group,state,fdt"]);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn wait_group(daemon: &Daemon, wanted: &str) {
    wait_for(wanted, LIMIT, || match group(daemon) {
        now if now == wanted => Ok(()),
        now => Err((now, daemon.log_text())),
    });
}

/// Exit code, stdout and stderr.
fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn reload(daemon: &Daemon) -> (Option<i32>, String, String) {
    told(&daemon.mpathd(&["reload"]))
}

/// A thread of the daemon, from proc_pid_status(5) and proc_pid_stat(5).
#[derive(Debug, PartialEq, Eq)]
struct Thread {
    id: String,
    /// SigBlk.
    blocked: u64,
    /// SCHED_FIFO; 0 = ordinary.
    priority: u64,
}

fn threads(daemon: &Daemon) -> BTreeMap<String, Thread> {
    let folder = format!("/proc/{}/task", daemon.pid());
    let tasks = std::fs::read_dir(&folder).expect("the daemon runs");
    let thread = |task: std::fs::DirEntry| {
        // It may end meanwhile.
        let read = |file| std::fs::read_to_string(task.path().join(file)).ok();
        let (status, stat) = (read("status")?, read("stat")?);
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
        let after_name = stat.rsplit_once(") ")?.1;
        let thread = Thread {
            id: task.file_name().into_string().ok()?,
            blocked: u64::from_str_radix(field("SigBlk:")?.trim(), 16).ok()?,
            // Field 40; 3 is the first after the name.
            priority: after_name.split(' ').nth(37)?.parse().ok()?,
        };
        Some((field("Name:")?.trim().to_owned(), thread))
    };
    tasks.filter_map(|task| thread(task.ok()?)).collect()
}

fn blocks(thread: &Thread, signal: Signal) -> bool {
    thread.blocked >> (signal as i32 - 1) & 1 == 1
}

fn ids(daemon: &Daemon) -> [String; 2] {
    let threads = threads(daemon);
    ["mpathd-fast", "mpathd-host"].map(|name| threads[name].id.clone())
}

/// `DEVICE ADDRESS` of everything on the host.
fn standing(lab: &Lab) -> BTreeSet<String> {
    addrs(lab.host()).iter().map(|it| format!("{} {}", it.ifname, it.info.local)).collect()
}

/// Addresses that anything has happened to since then.
fn touched(watch: &AddressWatch, since: Nanos) -> BTreeSet<IpAddr> {
    watch.events().into_iter().filter(|it| it.at >= since).map(|it| it.address).collect()
}

#[test]
fn what_is_new_comes_and_what_stands_stays() {
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = running(&lab, CONFIG);
        let (before, old) = (standing(&lab), threads(&daemon));
        assert_eq!((old["mpathd-fast"].priority, old["mpathd-host"].priority), (51, 51));
        let _server = EchoServer::start(lab.host(), PORT);
        let streams = ["192.0.2.50", "192.0.2.51", "2001:db8::50"].map(|address| {
            let to = SocketAddr::new(address.parse().expect("an address"), PORT);
            Stream::tcp(lab.client(), to, Duration::from_millis(5))
        });
        let watch = AddressWatch::start(lab.host());
        let begun = clock::now();

        daemon.configure(&edited(&[("600ms", "3s"), ONE_MORE]));
        let (code, out, err) = reload(&daemon);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        let changes =
            ["group ipmp0: failure_detection_time 600ms -> 3s", "group ipmp0: + 192.0.2.52/24"];
        assert_eq!(out.lines().collect::<Vec<_>>(), changes);
        // "Applied" means that it stands when the answer comes.
        let holder = holders(lab.host(), "192.0.2.52");
        assert_eq!(holder.len(), 1, "{:?}", daemon.log_text());
        wait_group(&daemon, "ipmp0:ok:3.00s");

        let answered = streams.iter().map(|it| it.wait_answered(clock::now(), LIMIT));
        assert!(answered.max().is_some());
        for stream in streams {
            let report = stream.finish(LIMIT);
            assert_eq!((report.broken.clone(), report.unanswered()), (None, 0));
            let silence = report.longest_silence(begun);
            assert!(silence < Duration::from_secs(1), "silent for {silence:?}");
        }
        let new: IpAddr = "192.0.2.52".parse().expect("an address");
        assert_eq!(touched(&watch, begun), BTreeSet::from([new]), "something else has moved");
        let with_new = before.into_iter().chain([format!("{} 192.0.2.52", holder[0])]).collect();
        assert_eq!(standing(&lab), with_new);

        let now = threads(&daemon);
        assert!(
            !blocks(&now["mpathd"], Signal::SIGHUP) && !blocks(&now["mpathd"], Signal::SIGTERM)
        );
        for name in ["mpathd-fast", "mpathd-host"] {
            assert_eq!(now[name].id, old[name].id, "{name} was started anew");
            assert_eq!(now[name].priority, 0, "no FDT is under 1 s any more");
            assert!(
                [Signal::SIGHUP, Signal::SIGTERM].into_iter().all(|it| blocks(&now[name], it)),
                "a handler could run in {name}: {now:?}"
            );
        }
    });
}

#[test]
fn nothing_is_left_over_by_many_reloads() {
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = running(&lab, CONFIG);
        let descriptors = || {
            let folder = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid()));
            folder.expect("the daemon runs").count()
        };
        let slower = edited(&[("600ms", "900ms")]);
        let watch = AddressWatch::start(lab.host());
        let (begun, before) = (clock::now(), threads(&daemon).len());
        let mut open = Vec::new();
        for config in [slower.as_str(), CONFIG].repeat(5) {
            daemon.configure(config);
            let (code, out, err) = reload(&daemon);
            assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
            wait_answered(&daemon);
            open.push(descriptors());
        }
        assert_eq!(threads(&daemon).len(), before);
        // A tool's connection may still be on its way out.
        wait_for("as many descriptors as after the first reload", LIMIT, || {
            let now = descriptors();
            if now <= open[0] { Ok(()) } else { Err((now, open.clone())) }
        });
        assert_eq!(touched(&watch, begun), BTreeSet::new(), "{}", daemon.log_text());
    });
}

#[test]
fn the_new_configuration_protects_as_the_old_one_did() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut daemon = running(&lab, CONFIG);
        daemon.configure(&edited(&[("600ms", "300ms"), ONE_MORE]));
        assert_eq!(reload(&daemon).0, Some(0));
        wait_answered(&daemon);
        wait_group(&daemon, "ipmp0:ok:0.30s");
        let cut = lab.cut(0);
        daemon.wait_log("IP interface failure detected on eth0", cut, LIMIT);
        for address in ["192.0.2.50", "192.0.2.51", "192.0.2.52", "2001:db8::50"] {
            wait_for(&format!("{address} on eth1"), LIMIT, || {
                let now = holders(lab.host(), address);
                if now == ["eth1"] { Ok(()) } else { Err(now) }
            });
        }
        // What the engine knows survives: eth0 has not earned its repair.
        daemon.configure(&edited(&[ONE_MORE]));
        assert_eq!(reload(&daemon).0, Some(0));
        assert_eq!(holders(lab.host(), "192.0.2.50"), ["eth1"]);
        wait_group(&daemon, "ipmp0:degraded:0.60s");
        let mended = lab.mend(0);
        daemon.wait_log("IP interface repair detected on eth0", mended, LIMIT);
        assert!(daemon.stop().success(), "{}", daemon.log_text());
    });
}

#[test]
fn what_is_no_longer_configured_goes() {
    isolated(|| {
        let lab = Lab::builder().nics(4).build();
        let third = "[groups.ipmp0.interfaces.eth2]\ntest_addresses = [\"192.0.2.13/24\"]\n";
        let second = "[groups.ipmp1]\ndata_addresses = [\"203.0.113.60/24\"]\n[groups.ipmp1.interfaces.eth3]\n";
        let daemon = Daemon::start(lab.host(), &[CONFIG, third, second].concat());
        let routes = || routes_v4(lab.host()).into_iter().map(|it| it.dst).collect::<BTreeSet<_>>();
        wait_for("the second group's route", LIMIT, || {
            if routes().contains("203.0.113.0/24") { Ok(()) } else { Err(routes()) }
        });
        let before = standing(&lab);
        assert!(before.contains("eth2 192.0.2.13") && before.contains("eth3 203.0.113.60"));
        let watch = AddressWatch::start(lab.host());
        let begun = clock::now();

        daemon.configure(&edited(&[(", \"192.0.2.51/24\"", "")]));
        let (code, out, err) = reload(&daemon);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        let changes = [
            "group ipmp1 removed",
            "group ipmp1: - 203.0.113.60/24",
            "eth3 leaves ipmp1",
            "group ipmp0: - 192.0.2.51/24",
            "eth2 leaves ipmp0",
        ];
        assert_eq!(out.lines().collect::<Vec<_>>(), changes);
        // The answer comes when it is done.
        for address in ["192.0.2.13", "203.0.113.60", "192.0.2.51"] {
            assert!(holders(lab.host(), address).is_empty(), "{address}\n{}", daemon.log_text());
        }
        assert!(!routes().contains("203.0.113.0/24"), "{}", daemon.log_text());
        assert!(routes().contains("192.0.2.0/24"));
        // eth2 may have had one of the addresses that stay.
        let stayed = ["192.0.2.50", "2001:db8::50", "192.0.2.11", "192.0.2.12"];
        let left = |it: &&String| it.starts_with("eth0") || it.starts_with("eth1");
        for address in stayed {
            assert_eq!(holders(lab.host(), address).len(), 1, "{address}");
        }
        let on_members = before.iter().filter(left).filter(|it| !it.ends_with(".51"));
        assert!(on_members.clone().all(|it| standing(&lab).contains(it)), "something has moved");
        assert!(standing(&lab).iter().all(|it| left(&it)), "{:?}", standing(&lab));
        let unmoved: BTreeSet<IpAddr> =
            on_members.filter_map(|it| it.split_once(' ')?.1.parse().ok()).collect();
        assert!(touched(&watch, begun).is_disjoint(&unmoved), "{:#?}", watch.events());
    });
}

#[test]
fn the_last_group_goes_and_comes_back() {
    isolated(|| {
        let lab = Lab::builder().build();
        let bare = standing(&lab);
        let daemon = running(&lab, CONFIG);
        let before = standing(&lab);
        daemon.configure("# nothing\n");
        let (code, out, err) = reload(&daemon);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        assert!(out.starts_with("group ipmp0 removed\n"), "{out}");
        assert_eq!(standing(&lab), bare);
        let routes = routes_v4(lab.host()).into_iter().chain(routes_v6(lab.host()));
        assert!(routes.into_iter().all(|it| it.protocol != "109"), "{}", daemon.log_text());
        daemon.configure(CONFIG);
        let (code, out, err) = reload(&daemon);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        assert!(out.starts_with("group ipmp0 added\n"), "{out}");
        wait_answered(&daemon);
        assert_eq!(standing(&lab), before);
    });
}

#[test]
fn a_bad_file_changes_nothing() {
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = running(&lab, CONFIG);
        let (before, old) = (standing(&lab), ids(&daemon));
        let watch = AddressWatch::start(lab.host());
        let begun = clock::now();

        daemon.configure(&edited(&[("600ms", "1ms"), ("targets", "target"), ONE_MORE]));
        let (code, out, err) = reload(&daemon);
        let place = daemon.config().display().to_string();
        assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
        let lines: Vec<&str> = err.lines().collect();
        assert_eq!(lines.len(), 2, "{err}");
        assert!(lines[0].starts_with(&format!("mpathd: {place}:2:26: failure_detection_time")));
        assert!(
            lines[1].starts_with(&format!("mpathd: {place}:5:1: groups.ipmp0.target")),
            "{err}"
        );
        let kept = daemon.wait_log("reload: the old configuration is kept", begun, LIMIT);

        daemon.signal(Signal::SIGHUP);
        daemon.wait_log("reload: the old configuration is kept", kept.at + 1, LIMIT);
        let logged = daemon.wait_log(&format!("reload: {place}:2:26: "), kept.at + 1, LIMIT);
        assert!(logged.text.contains(lines[0].trim_start_matches("mpathd: ")), "{logged:?}");

        std::fs::remove_file(daemon.config()).expect("the folder is the lab's own");
        let (code, _, err) = reload(&daemon);
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains(&format!("mpathd: {place} is not there")), "{err}");

        assert_eq!(group(&daemon), "ipmp0:ok:0.60s");
        assert_eq!((ids(&daemon), standing(&lab)), (old, before));
        assert_eq!(touched(&watch, begun), BTreeSet::new());
    });
}

#[test]
fn an_address_that_somebody_renews_is_refused_before_anything_is_stopped() {
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = running(&lab, CONFIG);
        let old = ids(&daemon);
        let dynamic = "address add 192.0.2.52/24 dev eth1 valid_lft 600 preferred_lft 600";
        lab.host().ip(&format!("{dynamic}\n"));
        daemon.configure(&edited(&[ONE_MORE]));
        let (code, out, err) = reload(&daemon);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
        let why = "mpathd: group ipmp0 can't start: 192.0.2.52/24 on eth1 has a lifetime";
        assert!(err.starts_with(why), "{err}");
        assert_eq!((group(&daemon).as_str(), ids(&daemon)), ("ipmp0:ok:0.60s", old));

        // A static one is taken over where it stands.
        lab.host().ip("address del 192.0.2.52/24 dev eth1\naddress add 192.0.2.52/24 dev eth1\n");
        assert_eq!(reload(&daemon), (Some(0), "group ipmp0: + 192.0.2.52/24\n".into(), "".into()));
    });
}

#[test]
fn a_file_that_says_the_same_restarts_nothing() {
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = running(&lab, CONFIG);
        let old = ids(&daemon);
        daemon.configure(&edited(&[("[groups.ipmp0]", "# the group\n[groups.ipmp0]")]));
        assert_eq!(reload(&daemon), (Some(0), "nothing changed\n".into(), "".into()));
        assert_eq!(ids(&daemon), old);
    });
}

/// Behaviour 11.
#[test]
fn a_hangup_reloads_too() {
    isolated(|| {
        let lab = Lab::builder().nics(3).build();
        let daemon = running(&lab, CONFIG);
        let third = "[groups.ipmp0.interfaces.eth2]\ntest_addresses = [\"192.0.2.13/24\"]\n";
        daemon.configure(&[&edited(&[ONE_MORE]), third].concat());
        let begun = clock::now();
        daemon.signal(Signal::SIGHUP);
        // Another one meanwhile finds nothing new, and harms nothing.
        daemon.signal(Signal::SIGHUP);
        daemon.wait_log("reload: group ipmp0: + 192.0.2.52/24", begun, LIMIT);
        daemon.wait_log("reload: eth2 joins ipmp0", begun, LIMIT);
        daemon.wait_log("reload: done in", begun, LIMIT);
        assert_eq!(holders(lab.host(), "192.0.2.52").len(), 1);
        wait_for("the new member's test address", LIMIT, || {
            match holders(lab.host(), "192.0.2.13") {
                now if now == ["eth2"] => Ok(()),
                now => Err(now),
            }
        });
        assert_eq!(reload(&daemon), (Some(0), "nothing changed\n".into(), "".into()));
    });
}

#[test]
fn only_who_may_change_things_may_reload() {
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = running(&lab, CONFIG);
        let old = ids(&daemon);
        daemon.configure(&edited(&[ONE_MORE]));
        // Where the binaries lie, others may not be let in.
        let program = "/run/mpathd-of-nobody";
        std::fs::copy(bin_dir().join("mpathd"), program).expect("/run is the lab's own");
        let output = lab.host().run(|| {
            let mut command = Command::new(program);
            command.args(["reload", "--run-dir"]).arg(daemon.run_dir());
            command.uid(65534).gid(65534).current_dir("/").stdin(Stdio::null()).output()
        });
        let text = "mpathd: permission denied (group mpathd)\n";
        let output = output.expect("it can be run");
        assert_eq!(told(&output), (Some(1), String::new(), text.to_owned()));
        assert_eq!(ids(&daemon), old);

        let absent = told(&daemon.mpathd(&["reload", "--run-dir", "/run/nobody"]));
        let text =
            "mpathd: cannot contact mpathd(8) at /run/nobody/mpathd.sock -- is it running?\n";
        assert_eq!(absent, (Some(1), String::new(), text.to_owned()));
    });
}

/// Data addresses become test addresses and back, of both families: each has the form of what it is, and
/// nobody is accused of what the reload has changed.
#[test]
fn addresses_change_their_roles_by_a_reload_and_nobody_is_accused() {
    let config = |data: &[&str], of_eth0: &[&str], of_eth1: &[&str]| {
        format!(
            "failure_detection_time = \"600ms\"\n[groups.ipmp0]\ndata_addresses = {data:?}\n\
             targets = [\"192.0.2.1\", \"192.0.2.2\", \"2001:db8::1\"]\n\
             routes = [{{ to = \"default\", via = \"192.0.2.1\" }}]\n\
             [groups.ipmp0.interfaces.eth0]\ntest_addresses = {of_eth0:?}\n\
             [groups.ipmp0.interfaces.eth1]\ntest_addresses = {of_eth1:?}\n"
        )
    };
    let [first, second, third] = [
        config(
            &["192.0.2.50/24", "192.0.2.51/24", "2001:db8::50/64"],
            &["192.0.2.11/24", "2001:db8::11/64"],
            &["192.0.2.12/24", "2001:db8::12/64"],
        ),
        // A data and a test address of each family take each other's place.
        config(
            &["192.0.2.11/24", "192.0.2.51/24", "2001:db8::11/64"],
            &["192.0.2.50/24", "2001:db8::50/64"],
            &["192.0.2.12/24", "2001:db8::12/64"],
        ),
        // One leaves, and the interfaces exchange their test addresses.
        config(
            &["192.0.2.51/24", "2001:db8::11/64"],
            &["192.0.2.12/24", "2001:db8::12/64"],
            &["192.0.2.50/24", "2001:db8::50/64"],
        ),
    ];
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = running(&lab, &first);
        for next in [&second, &first, &second, &third, &first, &third, &second] {
            daemon.configure(next);
            let (code, told, error) = reload(&daemon);
            assert_eq!((code, error.as_str()), (Some(0), ""), "{told}");
            wait_for("the forms of the addresses", LIMIT, || {
                let now = addrs(lab.host());
                let data = |ip: &IpAddr| next.lines().nth(2).unwrap().contains(&format!("\"{ip}/"));
                let ours = now.iter().filter(|it| it.info.label.is_some() || it.info.nodad);
                let wrong = ours.filter(|it| {
                    let info = &it.info;
                    let as_test =
                        if info.local.is_ipv4() { info.scope == "link" } else { info.deprecated };
                    as_test == data(&info.local) || !next.contains(&format!("\"{}/", info.local))
                });
                let wrong: Vec<_> = wrong.collect();
                if wrong.is_empty() {
                    Ok(())
                } else {
                    Err((format!("{wrong:#?}"), daemon.log_text()))
                }
            });
            wait_answered(&daemon);
            clock::pass(Duration::from_millis(300));
            let accused =
                daemon.log_text().lines().find(|it| it.contains("somebody")).map(str::to_owned);
            assert_eq!(accused, None, "{}", daemon.log_text());
        }
    });
}

/// A default route that goes to a group without a link stays where it leads until that group can carry it, and
/// the reload says so.
#[test]
fn a_route_that_cannot_go_over_yet_stays_and_is_named() {
    let config = |first: &str, second: &str| {
        format!(
            "failure_detection_time = \"600ms\"\n\
             [groups.ipmp0]\ndata_addresses = [\"192.0.2.50/24\"]\n{first}\n\
             targets = [\"192.0.2.1\", \"192.0.2.2\"]\n\
             [groups.ipmp0.interfaces.eth0]\ntest_addresses = [\"192.0.2.11/24\"]\n\
             [groups.ipmp0.interfaces.eth1]\ntest_addresses = [\"192.0.2.12/24\"]\n\
             [groups.ipmp1]\ndata_addresses = [\"203.0.113.50/24\"]\n{second}\n\
             [groups.ipmp1.interfaces.eth2]\n"
        )
    };
    let route = |via: &str| format!("routes = [{{ to = \"default\", via = \"{via}\" }}]");
    isolated(|| {
        let lab = Lab::builder().nics(3).build();
        lab.carrier(2, false);
        let daemon = Daemon::start(lab.host(), &config(&route("192.0.2.1"), ""));
        wait_answered(&daemon);
        let default = |lab: &Lab| -> Vec<String> {
            let routes = routes_v4(lab.host()).into_iter().filter(|it| it.dst == "default");
            routes.map(|it| format!("{:?} {:?}", it.gateway, it.nexthops)).collect()
        };
        wait_for("the default route", LIMIT, || match default(&lab) {
            now if now.len() == 1 => Ok(()),
            now => Err((now, daemon.log_text())),
        });
        let before = default(&lab);

        daemon.configure(&config("", &route("203.0.113.1")));
        let (_, out, error) = reload(&daemon);
        let said = out + &error;
        let expected = "the default route still leads via 192.0.2.1 dev eth";
        assert!(said.contains(expected) && said.contains("group ipmp1"), "{said}");
        assert_eq!(default(&lab), before);

        lab.carrier(2, true);
        wait_for("the default route by its new group", LIMIT, || {
            let now = default(&lab);
            let there = now.len() == 1 && now[0].contains("203.0.113.1");
            if there { Ok(()) } else { Err((now, daemon.log_text())) }
        });
    });
}
