//! Receive hooks: which kind a NIC gets, whose program is left alone, and what a restart finds.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use aya::maps::{Map, MapData, PerCpuArray};
use aya::programs::{Xdp, xdp::XdpMode};
use mpathd::messages::ToSlow;
use mpathd_core::config::Datapath;
use mpathd_core::event::{Event, ReceiveMode};
use mpathd_core::ids::IfName;
use mpathd_core::request::Request;
use mpathd_tests::{Lab, NetNs, isolated, object};

use crate::driver::{Host, Options};

fn with_object() -> Options {
    Options { object: object::read().expect("the kernel program is built"), ..Options::default() }
}

fn attach(host: &mut Host, name: &str, datapath: Datapath) -> ReceiveMode {
    let ifindex = host.ifindex(name);
    host.must(Request::Attach {
        ifindex,
        name: IfName::new(name).expect("a name"),
        datapath,
        consume_replies: true,
        bypassed: false,
    });
    match host.expect("the hook", |e| matches!(e, Event::Attached { .. })) {
        Event::Attached { mode, .. } => mode,
        other => unreachable!("{other:?}"),
    }
}

/// Id and kind of the program in the XDP slot, as `ip -d link` shows it.
fn slot(namespace: &NetNs, device: &str) -> Option<(u64, u64)> {
    let text = namespace.expect("ip", &["-j", "-d", "link", "show", device]);
    let all: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let xdp = all[0].get("xdp")?;
    Some((xdp["prog"]["id"].as_u64()?, xdp["mode"].as_u64()?))
}

const DRIVER: u64 = 1;
const GENERIC: u64 = 2;

#[test]
fn each_kind_can_be_forced_and_the_slots_come_once() {
    isolated(|| {
        let lab = Lab::builder().nics(3).build();
        let mut host = Host::with(lab.host(), with_object());
        assert_eq!(attach(&mut host, "eth0", Datapath::Auto), ReceiveMode::Xdp);
        assert_eq!(attach(&mut host, "eth1", Datapath::Tcx), ReceiveMode::Tcx);
        assert_eq!(attach(&mut host, "eth2", Datapath::XdpGeneric), ReceiveMode::XdpGeneric);
        assert_eq!(slot(lab.host(), "eth0").map(|(_, mode)| mode), Some(DRIVER));
        assert_eq!(slot(lab.host(), "eth1"), None);
        assert_eq!(slot(lab.host(), "eth2").map(|(_, mode)| mode), Some(GENERIC));
        assert_eq!((host.slots, host.channels.len()), (1, 3), "{:?}", host.texts());
        // Asked again, it stays; asked for another, it changes.
        let before = slot(lab.host(), "eth0");
        assert_eq!(attach(&mut host, "eth0", Datapath::Auto), ReceiveMode::Xdp);
        assert_eq!((slot(lab.host(), "eth0"), host.channels.len()), (before, 3));
        assert_eq!(attach(&mut host, "eth0", Datapath::Socket), ReceiveMode::Socket);
        assert_eq!(slot(lab.host(), "eth0"), None);
    });
}

#[test]
fn somebody_elses_program_is_left_alone_and_named() {
    isolated(|| {
        let lab = Lab::builder().build();
        let _foreign = lab.host().run(|| {
            let bytes = object::read().expect("the kernel program is built");
            let mut ebpf = aya::Ebpf::load(&bytes).expect("it loads");
            let program = ebpf.program_mut("mpathd_xdp").expect("it has one");
            let program: &mut Xdp = program.try_into().expect("it is for XDP");
            program.load().expect("it verifies");
            program.attach("eth0", XdpMode::Skb).expect("the slot is free");
            ebpf
        });
        let before = slot(lab.host(), "eth0").expect("it is attached");
        let mut host = Host::with(lab.host(), with_object());
        assert_eq!(attach(&mut host, "eth0", Datapath::Auto), ReceiveMode::Tcx);
        assert_eq!(slot(lab.host(), "eth0"), Some(before));
        let named = format!("program {} of somebody else", before.0);
        host.wait_text(|text| text.contains(&named));
        host.stop();
        assert_eq!(slot(lab.host(), "eth0"), Some(before));
    });
}

/// The directory of pins of the lab's host.
fn pins(host: &NetNs) -> PathBuf {
    let cookie = host.run(mpathd::host::pins::netns_cookie).expect("a cookie");
    PathBuf::from(format!("/sys/fs/bpf/mpathd/{}-{cookie}", mpathd_common::abi::LAYOUT))
}

/// Of each message with counts, whether they began under an earlier daemon.
fn adopted(host: &Host) -> Vec<bool> {
    let all = host.slow.iter().filter_map(|message| match message {
        ToSlow::Counters(source) => Some(source.adopted),
        _ => None,
    });
    all.collect()
}

#[test]
fn a_restart_finds_its_hooks_in_place() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = Host::with(lab.host(), with_object());
        assert_eq!(attach(&mut host, "eth0", Datapath::Auto), ReceiveMode::Xdp);
        assert_eq!(attach(&mut host, "eth1", Datapath::Tcx), ReceiveMode::Tcx);
        assert_eq!(adopted(&host), [false]);
        host.stop();
        let first = slot(lab.host(), "eth0").expect("it stays attached");
        let frames = frames_seen(lab.host());

        let mut host = Host::with(lab.host(), with_object());
        assert_eq!(attach(&mut host, "eth0", Datapath::Auto), ReceiveMode::Xdp);
        assert_eq!(attach(&mut host, "eth1", Datapath::Tcx), ReceiveMode::Tcx);
        assert_eq!(adopted(&host), [true]);
        let second = slot(lab.host(), "eth0").expect("it is attached");
        assert_ne!(first.0, second.0, "its program was replaced");
        assert!(frames_seen(lab.host()) >= frames, "the maps were taken over");
        assert!(!host.texts().iter().any(|text| text.contains(": no ")), "{:?}", host.texts());
        let links = |prefix: &str| {
            let all = std::fs::read_dir(pins(lab.host())).expect("the pins");
            all.filter_map(Result::ok)
                .filter(|e| e.file_name().to_string_lossy().starts_with(prefix))
                .count()
        };
        assert_eq!((links("xdp-"), links("tcx-")), (1, 1));

        lab.host().expect("ip", &["link", "del", "eth0"]);
        mpathd_tests::wait_for("the pin to go with its device", crate::driver::LIMIT, || {
            if links("xdp-") == 0 { Ok(()) } else { Err("it is there") }
        });
    });
}

/// Frames that our hooks have passed on, from the pinned counters.
fn frames_seen(host: &NetNs) -> u64 {
    let path = pins(host).join(mpathd_common::abi::maps::SKIPS);
    let data = MapData::from_pin(path).expect("it is pinned");
    let counts: PerCpuArray<_, u64> = Map::PerCpuArray(data).try_into().expect("per CPU");
    counts.iter().flat_map(|of_all| of_all.expect("it can be read").to_vec()).sum()
}

#[test]
fn a_link_pinned_for_another_device_is_not_adopted() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = Host::with(lab.host(), with_object());
        assert_eq!(attach(&mut host, "eth0", Datapath::Auto), ReceiveMode::Xdp);
        let (eth0, eth1) = (host.ifindex("eth0").0, host.ifindex("eth1").0);
        host.stop();
        let pins = pins(lab.host());
        std::fs::rename(pins.join(format!("xdp-{eth0}")), pins.join(format!("xdp-{eth1}")))
            .expect("a pin can be renamed");
        let mut host = Host::with(lab.host(), with_object());
        assert_eq!(attach(&mut host, "eth1", Datapath::Auto), ReceiveMode::Xdp);
        assert!(slot(lab.host(), "eth1").is_some());
        assert_eq!(slot(lab.host(), "eth0"), None, "its link lost the last pin");
    });
}

#[test]
fn without_object_or_bpffs_the_mode_is_lowered_and_said() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = Host::start(lab.host());
        assert_eq!(attach(&mut host, "eth0", Datapath::Auto), ReceiveMode::Socket);
        assert_eq!(attach(&mut host, "eth1", Datapath::Xdp), ReceiveMode::Socket);
        host.wait_text(|text| text.contains("no kernel program"));
        let said = host.texts().iter().filter(|t| t.contains("no kernel program")).count();
        assert_eq!((said, host.slots, host.channels.len()), (1, 1, 2));
        host.stop();

        let options = Options { bpffs: PathBuf::from("/run/mpathd-bpf"), ..with_object() };
        let mut host = Host::with(lab.host(), options);
        assert_eq!(attach(&mut host, "eth0", Datapath::Auto), ReceiveMode::Xdp);
        host.wait_text(|text| text.contains("nothing is pinned"));
        host.stop();
        assert_eq!(slot(lab.host(), "eth0"), None, "unpinned, it ends with the thread");
    });
}

/// Any user can make directories in a BPF file system that has the kernel's default mode.
#[test]
fn pins_in_a_directory_of_somebody_else_are_not_adopted() {
    isolated(|| {
        let lab = Lab::builder().build();
        let pins = pins(lab.host());
        fs::create_dir_all(&pins).expect("our own BPF file system");
        chown(&pins, Some(65534), Some(65534)).expect("it is ours");
        let mut host = Host::with(lab.host(), with_object());
        assert_eq!(attach(&mut host, "eth0", Datapath::Auto), ReceiveMode::Xdp);
        host.wait_text(|text| text.contains("nothing is pinned") && text.contains("uid 65534"));
        assert_eq!(fs::read_dir(&pins).expect("it is there").count(), 0, "something is pinned");
        host.stop();
    });
}

#[test]
fn a_device_above_another_is_stamped_and_has_no_native_xdp() {
    isolated(|| {
        let lab = Lab::builder().build();
        let add =
            ["link", "add", "link", "eth0", "name", "upper", "type", "macvlan", "mode", "bridge"];
        lab.host().expect("ip", &add);
        lab.host().expect("ip", &["link", "set", "upper", "up"]);
        let mut host = Host::with(lab.host(), with_object());
        assert_eq!(attach(&mut host, "upper", Datapath::Auto), ReceiveMode::Tcx);
        assert_eq!(attach(&mut host, "eth1", Datapath::Auto), ReceiveMode::Xdp);
        let stamped: Vec<_> = host.channels.iter().map(|c| c.stamped).collect();
        assert_eq!(stamped, [true, false]);
        let options: Vec<_> = host.channels.iter().map(|c| bypasses(&c.send)).collect();
        assert_eq!(options, [false, true]);
        assert!(host.slow.iter().all(|m| !matches!(m, ToSlow::Stopped(_))));
    });
}

fn bypasses(socket: &impl AsFd) -> bool {
    use std::os::fd::AsRawFd;
    let (mut value, mut size) = (0_i32, 4);
    // SAFETY: the value is an int of the size given, and both live through the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_QDISC_BYPASS,
            (&raw mut value).cast(),
            &raw mut size,
        )
    };
    assert_eq!(result, 0);
    value == 1
}
