//! Values as the file takes them, for what is told about a configuration.

use std::time::Duration;

use mpathd_core::config::{Datapath, TestAddress};

/// The shortest text that says the same; different ones differ in writing, for 2^53 ns are 104 days.
pub fn duration(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ms", duration.as_nanos() as f64 / 1e6)
    }
}

pub fn test_address(test: &TestAddress) -> String {
    match test {
        TestAddress::Static(net) => net.to_string(),
        TestAddress::LinkLocal => "link-local".to_owned(),
    }
}

pub fn datapath(datapath: Datapath) -> &'static str {
    match datapath {
        Datapath::Auto => "auto",
        Datapath::Xdp => "xdp",
        Datapath::XdpGeneric => "xdp-generic",
        Datapath::Tcx => "tcx",
        Datapath::Socket => "socket",
    }
}

pub fn take_over(dynamic: bool) -> &'static str {
    if dynamic { "dynamic" } else { "static" }
}
