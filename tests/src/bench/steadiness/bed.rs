//! One daemon with two groups of two NICs each, at FDTs of their own.

use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::Nanos;
use crate::daemon::{Daemon, LogLine};
use crate::delays::Delays;
use crate::lab::Lab;
use crate::wait_for;

const TARGETS: usize = 3;
/// All targets answer on all NICs, the round-trip times are known, and no target is new (README).
const ANSWERS: u64 = 20;
/// Programs get a twentieth of a CPU beside real-time hogs.
const LIMIT: Duration = Duration::from_secs(60);
/// What must not be told of a NIC that works.
const FAILURES: [&str; 4] = ["interface-failed", "family-failed", "group-failed", "family-silent"];

pub(super) struct Group {
    pub(super) fdt: Duration,
    /// The one that is cut, and the other one.
    pub(super) nics: [usize; 2],
    /// A subnet belongs to one group.
    subnets: [&'static str; 2],
}

pub(super) const GROUPS: [Group; 2] = [
    Group { fdt: Duration::from_millis(10), nics: [0, 1], subnets: ["192.0.2.", "2001:db8::"] },
    Group { fdt: Duration::from_millis(30), nics: [2, 3], subnets: ["198.18.0.", "2001:db8:18::"] },
];

pub(super) struct Bed {
    // The daemon ends before the lab.
    pub(super) daemon: Daemon,
    pub(super) lab: Lab,
    pub(super) stalls: Delays,
    pub(super) rtnl: Delays,
}

/// The daemon's word on how late it was since it was started.
#[derive(Clone, Copy, Default)]
pub(super) struct Lateness {
    pub(super) max_ms: f64,
    pub(super) rounds_missed: u64,
}

/// A real cut, and when the daemon knew, by its own stamps.
pub(super) struct Cut {
    pub(super) at: Nanos,
    pub(super) verdict: Nanos,
    pub(super) repaired: Nanos,
    /// When the last address that the NIC had was on another one; none if it had none.
    pub(super) moved: Option<Nanos>,
}

impl Bed {
    pub(super) fn start() -> Self {
        let lab = Lab::builder().nics(GROUPS.len() * 2).targets(TARGETS).build();
        for n in 1..=TARGETS {
            let [v4, v6] = GROUPS[1].subnets;
            lab.target(n).ip(&format!(
                "address add {v4}{n}/24 dev eth0\naddress add {v6}{n}/64 dev eth0 nodad\n"
            ));
        }
        let (stalls, rtnl) = (Delays::of_cpus(), Delays::of_rtnl());
        let mut daemon = Daemon::launch(lab.host(), &config(), &["--log-format", "json"]);
        daemon.wait_ready(LIMIT);
        let bed = Self { daemon, lab, stalls, rtnl };
        bed.wait_probing();
        bed
    }

    /// Nothing of the past is left in the daemon.
    pub(super) fn restart(&mut self) {
        self.daemon.stop();
        self.daemon.restart();
        self.wait_probing();
    }

    /// Cuts the group's first NIC until its failure is told, mends it, and waits for its repair.
    pub(super) fn cut(&self, group: &Group) -> Cut {
        let nic = group.nics[0];
        let name = format!("eth{nic}");
        let at = self.lab.cut_at(nic, 0);
        let verdict = self.wait_told("interface-failed", &name, at);
        // Where the daemon's host thread gets no CPU, the move is done and told when it does.
        let mended = self.lab.mend(nic);
        let repaired = self.wait_told("interface-repaired", &name, mended);
        let log = self.daemon.log_since(at);
        let moves = log.iter().filter_map(|it| it.told("moved"));
        let away = moves.filter(|it| it["mpathd_from"] == name.as_str() && stamp(it) >= at);
        Cut { at, verdict, repaired, moved: away.map(|it| stamp(&it)).max() }
    }

    /// Failures told since then.
    pub(super) fn failures(&self, since: Nanos) -> Vec<(LogLine, Value)> {
        let about = |line: LogLine| {
            let told = FAILURES.iter().find_map(|event| line.told(event))?;
            Some((line, told))
        };
        self.daemon.log_since(since).into_iter().filter_map(about).collect()
    }

    pub(super) fn lateness(&self) -> Lateness {
        let told = &self.ipmpstat("-t")["lateness"];
        Lateness {
            max_ms: told["max_ms"].as_f64().expect("a number"),
            rounds_missed: told["rounds_missed"].as_u64().expect("a number"),
        }
    }

    /// Waits until both families of all NICs work.
    pub(super) fn wait_healthy(&self) {
        wait_for("health of all NICs", LIMIT, || {
            let told = self.ipmpstat("-i");
            let of_all = told["interfaces"].as_array().map_or(&[][..], Vec::as_slice);
            let healthy = |it: &&Value| it["state"] == "ok" && it["degraded"] == json!([]);
            if of_all.iter().all(|it| healthy(&it)) { Ok(()) } else { Err(told) }
        });
    }

    fn wait_told(&self, event: &str, nic: &str, since: Nanos) -> Nanos {
        wait_for(&format!("{event} of {nic}"), LIMIT, || {
            let log = self.daemon.log_since(since);
            let mut told = log.iter().filter_map(|it| it.told(event));
            let found = told.find(|it| it["mpathd_interface"] == nic && stamp(it) >= since);
            found.map(|it| stamp(&it)).ok_or_else(|| self.daemon.log_text())
        })
    }

    fn wait_probing(&self) {
        let expected = self.lab.nics() * 2 * TARGETS;
        wait_for("answers of all targets on all NICs", LIMIT, || {
            let told = self.ipmpstat("-t");
            let targets = told["targets"].as_array().map_or(&[][..], Vec::as_slice);
            let answers = |it: &&Value| it["acked"].as_u64() >= Some(ANSWERS);
            if targets.iter().filter(answers).count() == expected { Ok(()) } else { Err(told) }
        });
        self.wait_healthy();
    }

    fn ipmpstat(&self, mode: &str) -> Value {
        let output = self.daemon.ipmpstat(&[mode, "--json"]);
        let text = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{said}"))
    }
}

pub(super) fn stamp(told: &Value) -> Nanos {
    told["mpathd_at_ns"].as_u64().expect("each message has it")
}

fn config() -> String {
    let mut text = String::new();
    for (number, group) in GROUPS.iter().enumerate() {
        let (fdt, [v4, v6]) = (group.fdt.as_millis(), group.subnets);
        let targets: Vec<String> =
            (1..=TARGETS).flat_map(|n| [format!("{v4}{n}"), format!("{v6}{n}")]).collect();
        text += &format!(
            "[groups.ipmp{number}]\nfailure_detection_time = \"{fdt}ms\"\n\
             data_addresses = [\"{v4}50/24\", \"{v6}50/64\"]\ntargets = {targets:?}\n"
        );
        for nic in group.nics {
            text += &format!(
                "[groups.ipmp{number}.interfaces.eth{nic}]\n\
                 test_addresses = [\"{v4}1{nic}/24\", \"{v6}1{nic}/64\"]\n"
            );
        }
    }
    text
}
