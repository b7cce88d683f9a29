//! The scene: the lab, the real daemon in its host, and the connections that users have through it. All of it
//! is the lab's and the daemon's; nothing here measures or draws.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::ending;
use crate::lab::FAR_V4;
use crate::observe::holders;
use crate::traffic::{EchoServer, Stream};
use crate::{Daemon, Lab, clock, wait_for};

pub const FDT: Duration = Duration::from_millis(100);
pub const DATA: [&str; 3] = ["192.0.2.50", "2001:db8::50", "192.0.2.51"];
pub const TARGETS: usize = 3;
const NICS: usize = 2;
const PORT: u16 = 7007;

/// Between two messages of a stream: also what blackouts are exact to.
pub const UDP_INTERVAL: Duration = Duration::from_millis(2);
pub const TCP_INTERVAL: Duration = Duration::from_millis(4);
/// No wait of the demo takes longer in a sound system.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Two data addresses go to eth0, for the daemon spreads them in the order of the file.
pub const CONFIG: &str = r#"[groups.ipmp0]
failure_detection_time = "100ms"
data_addresses = ["192.0.2.50/24", "192.0.2.51/24", "2001:db8::50/64"]
targets = ["192.0.2.1", "192.0.2.2", "192.0.2.3",
           "2001:db8::1", "2001:db8::2", "2001:db8::3"]
routes = [{ to = "default", via = "192.0.2.1" }]

[groups.ipmp0.interfaces.eth0]
test_addresses = ["192.0.2.11/24", "2001:db8::11/64"]

[groups.ipmp0.interfaces.eth1]
test_addresses = ["192.0.2.12/24", "2001:db8::12/64"]
"#;

/// Test addresses by NIC, IPv4 and IPv6.
pub const TEST: [[&str; 2]; NICS] =
    [["192.0.2.11", "2001:db8::11"], ["192.0.2.12", "2001:db8::12"]];

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address of the scene")
}

/// A connection of a user.
#[derive(Debug)]
pub struct Flow {
    pub name: &'static str,
    pub path: String,
    pub is_tcp: bool,
    pub stream: Stream,
}

/// The field order is the order of the end: streams before servers, all before the lab.
#[derive(Debug)]
pub struct Scene {
    pub flows: Vec<Flow>,
    servers: Vec<EchoServer>,
    pub daemon: Arc<Daemon>,
    pub lab: Lab,
}

impl Scene {
    pub fn lab() -> Lab {
        Lab::builder().nics(NICS).targets(TARGETS).far().build()
    }

    /// Starts the daemon, and the streams once the addresses stand.
    ///
    /// # Panics
    /// If the daemon is not ready or a connection is not made in time.
    pub fn start(lab: Lab) -> Self {
        let daemon = Arc::new(Daemon::start(lab.host(), CONFIG));
        ending::with_log_of(&daemon);
        Self { flows: Vec::new(), servers: Vec::new(), daemon, lab }
    }

    /// # Panics
    /// If a connection is not made, or does not answer, in time.
    pub fn connect(&mut self) {
        let lab = &self.lab;
        self.servers =
            vec![EchoServer::start(lab.host(), PORT), EchoServer::start(lab.far(), PORT)];
        let tcp = |name, from: &crate::NetNs, to: &str| Flow {
            name,
            path: format!("{} -> {to}", from.name()),
            is_tcp: true,
            stream: Stream::tcp(from, SocketAddr::new(ip(to), PORT), TCP_INTERVAL),
        };
        let udp = |name, to: &str| Flow {
            name,
            path: format!("client -> {to}"),
            is_tcp: false,
            stream: Stream::udp(lab.client(), SocketAddr::new(ip(to), PORT), UDP_INTERVAL),
        };
        let begun = clock::now();
        self.flows = vec![
            udp("UDP IPv4", DATA[0]),
            udp("UDP IPv6", DATA[1]),
            tcp("TCP IPv4", lab.client(), DATA[0]),
            tcp("TCP IPv6", lab.client(), DATA[1]),
            tcp("TCP routed", lab.host(), FAR_V4),
        ];
        for flow in &self.flows {
            flow.stream.wait_answered(begun, LIMIT);
        }
    }

    /// Waits until the daemon calls both interfaces sound and every path has answered it some rounds long.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn wait_steady(&self) {
        wait_for("sound path on every interface", LIMIT, || {
            let (interfaces, targets) = (self.json("-i"), self.json("-t"));
            let sound = |it: &Value| it["state"] == "ok";
            let answers = |it: &Value| it["state"] == "active" && it["acked"].as_u64() >= Some(20);
            let interfaces = interfaces["interfaces"].as_array().cloned().unwrap_or_default();
            let targets = targets["targets"].as_array().cloned().unwrap_or_default();
            let ready = interfaces.iter().all(sound)
                && targets.len() == NICS * TARGETS * 2
                && targets.iter().all(answers);
            if ready { Ok(()) } else { Err((interfaces, targets)) }
        });
    }

    /// The table that an administrator would see.
    ///
    /// # Panics
    /// If `ipmpstat` fails.
    pub fn ipmpstat(&self, mode: &str) -> String {
        self.said(&["-n", mode])
    }

    /// # Panics
    /// If `ipmpstat` fails, or what it says is no JSON.
    pub fn json(&self, mode: &str) -> Value {
        let said = self.said(&["-n", mode, "--json"]);
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("ipmpstat {mode}: {error}"))
    }

    fn said(&self, arguments: &[&str]) -> String {
        let output = self.daemon.ipmpstat(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ipmpstat {}: {error}", arguments.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The one NIC that has this address, by the kernel's word.
    ///
    /// # Panics
    /// If it is on none or on several.
    pub fn nic_of(&self, address: &str) -> usize {
        let holders = holders(self.lab.host(), address);
        let [holder] = &holders[..] else {
            panic!("{address} is on {} interfaces: {holders:?}", holders.len())
        };
        holder
            .strip_prefix("eth")
            .and_then(|it| it.parse().ok())
            .expect("the host's NICs are eth0, eth1")
    }
}
