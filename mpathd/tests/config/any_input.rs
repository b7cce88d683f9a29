//! No input makes the reader panic, and what it accepts keeps the promises of `core::config`.

use std::collections::BTreeSet;
use std::path::Path;

use mpathd::config::{self, FDT_MAX, FDT_MIN};
use mpathd_core::config::MAX_MEMBERS;
use proptest::prelude::*;

/// Pieces of configuration files, so that chance gets past the first brackets.
const PIECES: &[&str] = &[
    "[groups.g]\n",
    "[groups.g.interfaces.eth0]\n",
    "[groups.g.interfaces.eth1]\n",
    "[groups.h.interfaces.\"eth0.100\"]\n",
    "[groups.h.interfaces.eth0.100]\n",
    "[[groups.g.routes]]\n",
    "[groups]\n",
    "failure_detection_time = ",
    "quiet_period = ",
    "failback = ",
    "data_addresses = ",
    "test_addresses = ",
    "targets = ",
    "routes = ",
    "interfaces = ",
    "realtime_priority = ",
    "to = ",
    "via = ",
    "metric = ",
    "groups.g.",
    "eth0.100.",
    "\"10ms\"\n",
    "\"192.0.2.50/24\"\n",
    "[\"192.0.2.50/24\"]\n",
    "[\"192.0.2.11/24\", \"link-local\"]\n",
    "[\"192.0.2.1\"]\n",
    "[{ to = \"default\", via = \"192.0.2.1\" }]\n",
    "{ eth0 = {}, eth1.standby = true }\n",
    "\"default\"\n",
    "\"fe80::1\"\n",
    "true\n",
    "10\n",
    "nan\n",
    "1979-05-27\n",
    "=",
    "\n",
    "é",
];

fn promises_hold(bytes: &[u8]) {
    let Ok(settings) = config::parse(bytes, Path::new("x.toml")) else { return };
    let mut own = BTreeSet::new();
    let mut names = BTreeSet::new();
    for group in &settings.engine.groups {
        assert!((FDT_MIN..=FDT_MAX).contains(&group.fdt));
        assert!((1..=MAX_MEMBERS).contains(&group.members.len()));
        assert!(group.data.iter().all(|data| own.insert(data.address)));
        assert!(group.members.iter().all(|member| names.insert(member.name)));
        assert!(group.routes.iter().all(|route| route.to.network() == route.to));
    }
}

proptest! {
    #[test]
    fn bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        promises_hold(&bytes);
    }

    #[test]
    fn pieces(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..24)) {
        promises_hold(pieces.concat().as_bytes());
    }

    #[test]
    fn values(key in proptest::sample::select(PIECES), text in "\\PC{0,40}") {
        let toml = format!("{key}{text:?}\n[groups.g]\ndata_addresses = [{text:?}]\n\
             targets = [{text:?}]\n[groups.g.interfaces.{text:?}]\ntest_addresses = [{text:?}]\n");
        promises_hold(toml.as_bytes());
    }
}

/// A file is input of the administrator, but a stack that overflows takes the whole network down.
#[test]
fn depth_is_bounded() {
    for (open, close) in [("[", "]"), ("{a=", "}"), ("a.", "a=1")] {
        let toml = format!("targets = {}{}", open.repeat(100_000), close.repeat(100_000));
        promises_hold(toml.as_bytes());
        promises_hold(format!("{}x = 1", open.repeat(100_000)).as_bytes());
    }
}
