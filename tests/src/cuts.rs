//! A lab whose host runs the daemon with a dual-stack group, and cuts of the NIC that carries the data, one
//! after the other. For series of cuts: timed tests and the benchmark.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::{self, Nanos};
use crate::daemon::Daemon;
use crate::delays::Delays;
use crate::lab::Lab;
use crate::wait_for;
use crate::watch::{AddressEvent, AddressWatch};

pub const DATA_V4: &str = "192.0.2.50";
pub const DATA_V6: &str = "2001:db8::50";
/// A verdict takes at least this many intervals of silence, and FDT is so many intervals.
pub const INTERVALS_AT_LEAST: u32 = 4;
pub const INTERVALS_PER_FDT: u32 = 6;

/// For what takes milliseconds, or some FDTs, on a machine at rest.
const LIMIT: Duration = Duration::from_secs(20);
/// From the end of FDT to the address on another NIC.
pub const MARGIN: Duration = Duration::from_millis(10);
/// No notice for so long: what was on its way has come.
const AT_REST: Nanos = 30_000_000;
/// A moment less a span of whole microseconds is exact to this.
const ROUNDED: Nanos = 100_000;
const TARGETS: usize = 3;
/// All targets answer on all NICs, the path's RTT is known, and no target is new any more: the failure
/// detection time holds from then on (README).
const ANSWERS: u64 = 20;

/// The running lab, and what the machine does meanwhile.
#[derive(Debug)]
pub struct Rig {
    // The daemon ends before the lab.
    pub daemon: Daemon,
    pub lab: Lab,
    pub addresses: AddressWatch,
    pub stalls: Delays,
    pub rtnl: Delays,
    fdt: Duration,
    size: Size,
    /// Lines of its own in the group's table.
    more: String,
    /// Per NIC that was cut: when it was mended.
    mended: Vec<Option<Nanos>>,
    overtaken: u32,
}

/// How many of each family the group has. The first address is [`DATA_V4`] or [`DATA_V6`]; the first route is the
/// default route, the last of several that to the far network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub addresses: usize,
    pub routes: usize,
}

impl Size {
    pub const SMALL: Self = Self { addresses: 1, routes: 1 };

    /// In file order, each with its prefix length.
    pub fn addresses(self, v6: bool) -> impl Iterator<Item = String> {
        let first = if v6 { format!("{DATA_V6}/64") } else { format!("{DATA_V4}/24") };
        let more = (1..self.addresses).map(move |n| match v6 {
            true => format!("2001:db8::5:{n:x}/64"),
            false => format!("192.0.2.{}/24", 150 + n),
        });
        [first].into_iter().chain(more)
    }

    /// The last in file order.
    ///
    /// # Panics
    /// If there is none.
    pub fn last_address(self, v6: bool) -> IpAddr {
        let last = self.addresses(v6).last().expect("one at the least");
        last.split_once('/').and_then(|(ip, _)| ip.parse().ok()).expect("an address")
    }

    fn routes(self, v6: bool) -> impl Iterator<Item = String> {
        let others = (1..self.routes).map(move |n| match (v6, n + 1 == self.routes) {
            (false, true) => "198.51.100.0/24".to_owned(),
            (true, true) => "2001:db8:1::/64".to_owned(),
            (false, false) => format!("10.{}.{}.0/24", n / 256, n % 256),
            (true, false) => format!("2001:db8:f:{n:x}::/64"),
        });
        let via = if v6 { "2001:db8::1" } else { "192.0.2.1" };
        ["default".to_owned()]
            .into_iter()
            .chain(others)
            .map(move |to| format!("{{ to = \"{to}\", via = \"{via}\" }}"))
    }
}

/// A cut, and where the addresses that the NIC held went.
#[derive(Clone, Debug)]
pub struct Cut {
    pub nic: usize,
    pub at: Nanos,
    pub moves: Vec<Move>,
}

#[derive(Clone, Copy, Debug)]
pub struct Move {
    pub address: IpAddr,
    /// The daemon's own stamp of its verdict, a microsecond exact.
    pub verdict: Nanos,
    /// The kernel's notice that it stands on another NIC.
    pub added: Nanos,
}

impl Move {
    /// From verdict to address.
    pub fn took(&self) -> Duration {
        Duration::from_nanos(self.added.saturating_sub(self.verdict))
    }
}

/// What a move is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    Kept,
    /// Too late, by no more than the machine itself has measurably taken.
    Excused(String),
    Broken(String),
}

impl Rig {
    /// Starts everything, and waits until all targets have answered on all NICs. Two NICs share the data; of
    /// three, the second and third stand by, and addresses never go back by themselves.
    ///
    /// # Panics
    /// If that does not come about; with the daemon's log.
    pub fn start(fdt: Duration, nics: usize) -> Self {
        Self::start_with(fdt, nics, Size::SMALL, "")
    }

    /// As `start`, with more addresses and routes; `more`: lines for the group's table.
    ///
    /// # Panics
    /// As `start`.
    pub fn start_with(fdt: Duration, nics: usize, size: Size, more: &str) -> Self {
        let lab = Lab::builder().nics(nics).targets(TARGETS).far().build();
        let stalls = Delays::of_cpus();
        let rtnl = Delays::of_rtnl();
        let addresses = AddressWatch::start(lab.host());
        let json = ["--log-format", "json"];
        let mut daemon = Daemon::launch(lab.host(), &config(fdt, nics, size, more), &json);
        daemon.wait_ready(LIMIT);
        let mended = vec![None; nics];
        let more = more.to_owned();
        let rig =
            Self { daemon, lab, addresses, stalls, rtnl, fdt, size, more, mended, overtaken: 0 };
        rig.wait_probing();
        rig.wait_at_rest();
        rig
    }

    /// Starts the daemon again with another FDT, and waits as `start` does.
    ///
    /// # Panics
    /// If it does not stop, or start.
    pub fn restart(&mut self, fdt: Duration) {
        self.restart_sized(fdt, self.size);
    }

    /// As `restart`, with other lines of its own in the group's table.
    ///
    /// # Panics
    /// As `restart`.
    pub fn restart_with(&mut self, fdt: Duration, more: &str) {
        more.clone_into(&mut self.more);
        self.restart(fdt);
    }

    /// As `restart`, with as many addresses and routes.
    ///
    /// # Panics
    /// As `restart`.
    pub fn restart_sized(&mut self, fdt: Duration, size: Size) {
        self.daemon.stop();
        self.daemon.configure(&config(fdt, self.lab.nics(), size, &self.more));
        (self.fdt, self.size) = (fdt, size);
        self.mended.fill(None);
        self.daemon.restart();
        self.wait_probing();
        self.wait_at_rest();
    }

    pub fn fdt(&self) -> Duration {
        self.fdt
    }

    pub fn interval(&self) -> Duration {
        self.fdt / INTERVALS_PER_FDT
    }

    /// Cuts the NIC that holds most of the data addresses, waits until all that it held are on others, and
    /// mends it. `phase`, 0 to 1, shifts the cut within an interval.
    ///
    /// # Panics
    /// If there is no sound other NIC, or they do not come to one.
    pub fn cut(&mut self, phase: f64) -> Cut {
        loop {
            let (cut, failed) = self.cut_once(phase);
            // Where no verdict moved anything, another NIC has been repaired meanwhile, or its damping is over.
            let by_verdict = |it: &Move| it.verdict + ROUNDED >= failed;
            if cut.moves.len() == 1 || cut.moves.iter().any(by_verdict) {
                return cut;
            }
            self.overtaken += 1;
        }
    }

    /// How many cuts were made again, for their addresses had left before the verdict.
    pub fn overtaken(&self) -> u32 {
        self.overtaken
    }

    /// The cut, and when the failure of the interface was told.
    fn cut_once(&mut self, phase: f64) -> (Cut, Nanos) {
        self.wait_for_spare();
        let (nic, held) = self.busiest();
        let at = self.lab.cut_at(nic, clock::now() + clock::nanos(self.interval().mul_f64(phase)));
        let moves = held.iter().map(|address| self.wait_moved(*address, nic, at)).collect();
        let failed = self.mend(nic, at);
        (Cut { nic, at, moves }, failed)
    }

    /// Undoes a cut, when both families have failed; when that was told, by the daemon's own stamp.
    ///
    /// # Panics
    /// If they have not.
    pub fn mend(&mut self, nic: usize, cut: Nanos) -> Nanos {
        let text = format!("IP interface failure detected on eth{nic} ");
        let line = self.daemon.wait_log(&text, cut, LIMIT);
        self.mended[nic] = Some(self.lab.mend(nic));
        let line: Value = serde_json::from_str(&line.text).expect("a JSON log");
        line["mpathd_at_ns"].as_u64().expect("a moment")
    }

    /// Gives a NIC its carrier back, when it has failed for the lack of it.
    ///
    /// # Panics
    /// If it has not.
    pub fn restore_carrier(&mut self, nic: usize, down: Nanos) {
        let text = format!("IP interface failure detected on eth{nic} ");
        self.daemon.wait_log(&text, down, LIMIT);
        self.mended[nic] = Some(self.lab.carrier(nic, true));
    }

    /// Waits until the daemon has all NICs in use again and addresses are at rest.
    ///
    /// # Panics
    /// If it has not.
    pub fn wait_repaired(&self) {
        for nic in 0..self.lab.nics() {
            wait_for(&format!("repair of eth{nic}"), LIMIT + self.fdt * 3, || {
                if self.repaired(nic) { Ok(()) } else { Err(self.daemon.log_text()) }
            });
            self.wait_healthy(nic);
        }
        self.wait_at_rest();
    }

    /// Waits until some NIC besides the busiest is sound, and addresses are at rest.
    ///
    /// # Panics
    /// If there is none.
    pub fn wait_for_spare(&self) {
        self.wait_at_rest();
        let (busiest, _) = self.busiest();
        let spare = wait_for("spare NIC", LIMIT + self.fdt * 3, || {
            let spare = (0..self.lab.nics()).find(|nic| *nic != busiest && self.repaired(*nic));
            spare.ok_or_else(|| self.daemon.log_text())
        });
        self.wait_healthy(spare);
        self.wait_at_rest();
    }

    /// The daemon has told the NIC's repair since it was mended.
    fn repaired(&self, nic: usize) -> bool {
        let Some(mended) = self.mended[nic] else { return true };
        let text = format!("IP interface repair detected on eth{nic} ");
        self.daemon.log_since(mended).iter().any(|line| line.text.contains(&text))
    }

    /// Waits until both families work on the NIC; the second may take a few rounds more than the first.
    ///
    /// # Panics
    /// If it is not repaired.
    pub fn wait_healthy(&self, nic: usize) {
        let name = format!("eth{nic}");
        wait_for(&format!("repair of both families on {name}"), LIMIT, || {
            let told = self.ipmpstat("-i");
            let healthy = told["interfaces"].as_array().into_iter().flatten().any(|it| {
                it["name"] == name.as_str() && it["state"] == "ok" && it["degraded"] == json!([])
            });
            if healthy { Ok(()) } else { Err(told) }
        });
    }

    /// Waits until `address`, which `from` held, is told to be on another NIC.
    ///
    /// # Panics
    /// If it is not.
    pub fn wait_moved(&self, address: IpAddr, from: usize, since: Nanos) -> Move {
        let left = format!("eth{from}");
        let limit = LIMIT + self.fdt * 2;
        let added = wait_for(&format!("move of {address} away from {left}"), limit, || {
            let events = self.addresses.events();
            let found = events.iter().find(|it| {
                it.at >= since && it.added && it.address == address && it.ifname != left
            });
            found.map(|it| it.at).ok_or_else(|| self.daemon.log_text())
        });
        let verdict = wait_for(&format!("verdict that moved {address}"), limit, || {
            let log = self.daemon.log_since(since);
            let mut moved = log.iter().filter_map(|it| it.told("moved"));
            let ours = |it: &Value| {
                it["mpathd_address"] == address.to_string() && it["mpathd_from"] == left.as_str()
            };
            moved.find(ours).ok_or_else(|| self.daemon.log_text())
        });
        // The daemon tells of a move when it is done, and how long it took.
        let told = verdict["mpathd_at_ns"].as_u64().expect("a moment");
        let took = verdict["mpathd_took_ms"].as_f64().expect("a span");
        Move { address, verdict: told - (took * 1e6) as Nanos, added }
    }

    /// The promise: never later than FDT and a margin, never before four intervals, but for what the machine
    /// itself took in that time.
    pub fn judge(&self, cut: &Cut, it: &Move) -> Judgement {
        let (fdt, interval) = (clock::nanos(self.fdt), clock::nanos(self.interval()));
        let took = Duration::from_nanos(it.added - cut.at);
        // The first unanswered probe may have left, and been held up, just before the cut.
        let before = self.stalls.within(cut.at - interval, cut.at);
        let early = (self.interval() * INTERVALS_AT_LEAST).saturating_sub(took);
        if early > before {
            let (nic, address) = (cut.nic, it.address);
            return Judgement::Broken(format!(
                "eth{nic}: {address} too early by {early:.1?}, stalls before the cut {before:.1?}"
            ));
        }
        let late = took.saturating_sub(self.fdt + MARGIN);
        if late.is_zero() {
            return Judgement::Kept;
        }
        // A stall shortly before the cut has taught the daemon to wait longer for each reply.
        let stalls = self.stalls.within(cut.at - 2 * fdt, it.added);
        let rtnl = self.rtnl.within(it.verdict, it.added);
        let line = format!(
            "eth{}: {} too late by {late:.1?}; meanwhile stalls of {stalls:.1?}, waits for RTNL of \
             {rtnl:.1?}; from verdict to address {:.1?}",
            cut.nic,
            it.address,
            it.took()
        );
        if late <= stalls + rtnl { Judgement::Excused(line) } else { Judgement::Broken(line) }
    }

    /// Which NICs hold the address now, by the notices since before the daemon was started.
    pub fn holders(&self, address: IpAddr) -> Vec<usize> {
        holders(&self.addresses.events(), address)
    }

    /// The NIC with most of the data addresses, and which those are.
    ///
    /// # Panics
    /// If one is on no NIC or on two.
    pub fn busiest(&self) -> (usize, Vec<IpAddr>) {
        let mut held = vec![Vec::new(); self.lab.nics()];
        for address in data_addresses() {
            match self.holders(address)[..] {
                [nic] => held[nic].push(address),
                ref other => panic!("{address} is at rest on {other:?}"),
            }
        }
        held.into_iter().enumerate().max_by_key(|(_, held)| held.len()).expect("there are NICs")
    }

    /// Waits until each data address is on one NIC, no notice has come for 30 ms from now on, and the daemon itself
    /// wants no other place for one: what it has decided may wait for RTNL.
    ///
    /// # Panics
    /// If that does not come about.
    pub fn wait_at_rest(&self) {
        let begun = clock::now();
        wait_for("rest: each data address on one NIC", LIMIT, || {
            let on = data_addresses().map(|address| self.holders(address));
            let last = self.addresses.events().last().map_or(0, |it| it.at);
            let quiet = clock::now() - last.max(begun) > AT_REST;
            let settled = || self.ipmpstat("-a")["settled"] == json!(true);
            if quiet && on.iter().all(|nics| nics.len() == 1) && settled() {
                Ok(())
            } else {
                Err((on, self.daemon.log_text()))
            }
        });
    }

    /// What the machine itself did to everybody in that time.
    pub fn machine(&self, from: Nanos, to: Nanos) -> String {
        format!(
            "This machine meanwhile: longest stall {:.1?}, longest wait for RTNL {:.1?}.",
            self.stalls.longest(from, to),
            self.rtnl.longest(from, to)
        )
    }

    /// `ipmpstat MODE --json`.
    ///
    /// # Panics
    /// If it does not answer with an object.
    pub fn ipmpstat(&self, mode: &str) -> Value {
        let output = self.daemon.ipmpstat(&[mode, "--json"]);
        let text = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{said}"))
    }

    fn wait_probing(&self) {
        let expected = self.lab.nics() * 2 * TARGETS;
        wait_for("answers of all targets on all NICs", LIMIT, || {
            let told = self.ipmpstat("-t");
            let targets = told["targets"].as_array().map_or(&[][..], Vec::as_slice);
            let answers = |it: &&Value| it["acked"].as_u64() >= Some(ANSWERS);
            if targets.iter().filter(answers).count() == expected { Ok(()) } else { Err(told) }
        });
    }
}

pub fn data_addresses() -> [IpAddr; 2] {
    [DATA_V4, DATA_V6].map(|it| it.parse().expect("an address"))
}

/// Which NICs hold the address after these notices, in the order it came to them.
pub fn holders(events: &[AddressEvent], address: IpAddr) -> Vec<usize> {
    let mut on = Vec::new();
    for event in events.iter().filter(|it| it.address == address) {
        let nic = event.ifname.strip_prefix("eth").and_then(|it| it.parse().ok());
        let Some(nic) = nic else { panic!("{address} was on {}", event.ifname) };
        on.retain(|it| *it != nic);
        if event.added {
            on.push(nic);
        }
    }
    on
}

/// Both families, three targets, and a default route for both families.
fn config(fdt: Duration, nics: usize, size: Size, more: &str) -> String {
    let targets: Vec<String> = (1..=TARGETS)
        .flat_map(|n| [format!("\"192.0.2.{n}\""), format!("\"2001:db8::{n}\"")])
        .collect();
    let stand_by = nics > 2;
    let of_both = [false, true];
    let addresses: Vec<String> = of_both.into_iter().flat_map(|v6| size.addresses(v6)).collect();
    let routes: Vec<String> = of_both.into_iter().flat_map(|v6| size.routes(v6)).collect();
    let mut text = format!(
        "[groups.ipmp0]\n\
         failure_detection_time = \"{}ms\"\n\
         failback = {}\n\
         {more}\n\
         data_addresses = [\"{}\"]\n\
         targets = [{}]\n\
         routes = [{}]\n",
        fdt.as_millis(),
        !stand_by,
        addresses.join("\", \""),
        targets.join(", "),
        routes.join(", "),
    );
    for nic in 0..nics {
        text += &format!(
            "[groups.ipmp0.interfaces.eth{nic}]\n\
             test_addresses = [\"192.0.2.1{nic}/24\", \"2001:db8::1{nic}/64\"]\n\
             standby = {}\n",
            stand_by && nic > 0
        );
    }
    text
}
