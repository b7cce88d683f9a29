//! mpathd on two NICs, with three targets; one NIC is cut.

use std::time::Duration;

use serde_json::{Value, json};

use super::contestant::{Change, Contestant};
use super::usage;
use super::wire::received;
use crate::clock::{self, Nanos};
use crate::daemon::{Daemon, LogLine};
use crate::lab::Lab;
use crate::wait_for;

const READY_LIMIT: Duration = Duration::from_secs(20);
const NICS: [usize; 2] = [0, 1];
/// Of eth0, the one that is cut.
const CUT: &[usize] = &[0];

#[derive(Debug)]
pub(super) struct Mpathd<'a> {
    lab: &'a Lab,
    daemon: Daemon,
    fdt: Duration,
    /// When all NICs worked first.
    ready: Nanos,
}

impl<'a> Mpathd<'a> {
    /// Starts it, and waits until all NICs work.
    pub(super) fn start(lab: &'a Lab, fdt: Duration) -> Self {
        let json = ["--log-format", "json"];
        let mut daemon = Daemon::launch(lab.host(), &config(fdt), &json);
        daemon.wait_ready(READY_LIMIT);
        wait_for("sound NICs", READY_LIMIT, || {
            let said = daemon.ipmpstat(&["-i", "--json"]).stdout;
            let told: Value = serde_json::from_slice(&said).unwrap_or_default();
            let nics = told["interfaces"].as_array().into_iter().flatten();
            let sound =
                nics.filter(|it| it["state"] == "ok" && it["degraded"] == json!([])).count();
            if sound == NICS.len() { Ok(()) } else { Err((told, daemon.log_text())) }
        });
        Self { lab, daemon, fdt, ready: clock::now() }
    }

    /// Of a NIC, or of the group as a whole.
    fn changes_of(&self, log: &[LogLine], down: &str, up: &str, nic: Option<&str>) -> Vec<Change> {
        let change = |line: &LogLine, event, up| {
            let told = line
                .told(event)
                .filter(|it| nic.is_none_or(|nic| it["mpathd_interface"] == nic))?;
            let at = told["mpathd_at_ns"].as_u64().expect("every message has its moment");
            Some(Change { at, heard: line.at, up })
        };
        let changes =
            log.iter().filter_map(|it| change(it, down, false).or_else(|| change(it, up, true)));
        let first = Change { at: self.ready, heard: self.ready, up: true };
        std::iter::once(first).chain(changes).collect()
    }
}

impl Contestant for Mpathd<'_> {
    fn name(&self) -> String {
        "mpathd".to_owned()
    }

    fn told(&self) -> String {
        format!("FDT {:?}", self.fdt)
    }

    fn promise(&self) -> Duration {
        self.fdt
    }

    fn changes(&self) -> Vec<Vec<Change>> {
        let log = self.daemon.log_since(self.ready);
        let of_nic = |nic| {
            let name = format!("eth{nic}");
            self.changes_of(&log, "interface-failed", "interface-repaired", Some(&name))
        };
        let group = self.changes_of(&log, "group-failed", "group-usable", None);
        NICS.map(of_nic).into_iter().chain([group]).collect()
    }

    fn concerned(&self) -> &'static [usize] {
        CUT
    }

    fn cut(&self) -> Nanos {
        self.lab.cut(CUT[0])
    }

    fn mend(&self) {
        self.lab.mend(CUT[0]);
    }

    fn cpu(&self) -> Nanos {
        usage::of_process(self.daemon.pid())
    }

    fn sent(&self) -> u64 {
        NICS.iter().map(|nic| received(self.lab.lan(), &format!("sw{nic}"))).sum()
    }

    fn log(&self) -> String {
        self.daemon.log_text()
    }
}

fn config(fdt: Duration) -> String {
    let mut text = format!(
        "failure_detection_time = \"{}ms\"\n\
         [groups.ipmp0]\n\
         data_addresses = [\"192.0.2.50/24\"]\n\
         targets = [\"192.0.2.1\", \"192.0.2.2\", \"192.0.2.3\"]\n",
        fdt.as_millis()
    );
    for nic in NICS {
        text += &format!(
            "[groups.ipmp0.interfaces.eth{nic}]\n\
             test_addresses = [\"192.0.2.1{nic}/24\"]\n"
        );
    }
    text
}
