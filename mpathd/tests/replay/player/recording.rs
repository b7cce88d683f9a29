//! Reads what `mpathd --record` writes, and what people write after its example: a header, then one
//! JSON object a line. Kinds and fields that are not known here are passed over, and what a line
//! leaves out has the value of an ordinary host.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use mpathd_core::event::{self, Fate, FoundBy, HookLoss, ReceiveMode, Unfit};
use mpathd_core::ids::{Family, IfName, IpNet};
use mpathd_core::state::Saved;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, from_str, from_value};

/// The newest format that is understood.
const FORMAT: u32 = 1;

#[derive(Debug)]
pub struct Recording {
    pub header: Header,
    /// In the order of their times, from the first fact of the host.
    pub facts: Vec<(Duration, Fact)>,
    /// Time of the last line.
    pub end: Duration,
}

#[derive(Debug, Deserialize)]
pub struct Header {
    mpathd_replay: u32,
    /// Text of the configuration file.
    #[serde(default)]
    pub config: Option<String>,
    pub seed: u64,
    /// Contents of the state file.
    #[serde(default)]
    pub state: Saved,
}

#[derive(Clone, Debug)]
pub enum Fact {
    Link(Link),
    LinkGone(Interface),
    Address(Address),
    AddressGone(AddressGone),
    Route(Route),
    RouteGone(RouteKey),
    Gateways(Gateways),
    NextHops(NextHops),
    Found(Found),
    Surveyed,
    OwnAddress(OwnAddress),
    Claimed(Claimed),
    NeighbourProxy(NeighbourProxy),
    Refused(Refused),
    Plumbed(Plumbed),
    /// A device has another name. Written, not recorded: the daemon hears of it as `link-gone` and `link`.
    Rename(Rename),
    Attached(Attached),
    Done(Done),
    Answers(Answers),
    Transmits(Transmits),
    ReceiveDeferred(ReceiveDeferred),
    HookLost(HookLost),
    Redirectable(Redirectable),
    Command(Command),
    Reload(Reload),
    /// The daemon sleeps for so long.
    Sleep(Duration),
    /// Facts or lines that are not here.
    Lost(Lost),
}

#[derive(Clone, Debug, Deserialize)]
pub struct Link {
    pub interface: IfName,
    #[serde(default = "yes")]
    pub up: bool,
    #[serde(default = "yes")]
    pub running: bool,
    /// The driver tells of carrier.
    #[serde(default = "yes")]
    pub reported: bool,
    #[serde(default)]
    pub carrier_changes: u32,
    /// `02:00:00:00:00:0a`; left out: one of its own.
    #[serde(default)]
    pub mac: Option<String>,
    #[serde(default)]
    pub unfit: Option<Unfit>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Interface {
    pub interface: IfName,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Address {
    pub interface: IfName,
    pub address: IpNet,
    #[serde(default)]
    pub ours: bool,
    #[serde(default)]
    pub tentative: bool,
    #[serde(default)]
    pub link_scope: bool,
    #[serde(default)]
    pub stale_form: bool,
    #[serde(default)]
    pub refused: bool,
    #[serde(default)]
    pub by_kernel: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub struct AddressGone {
    pub interface: IfName,
    pub address: IpAddr,
}

#[derive(Clone, Debug, Deserialize)]
pub struct RouteKey {
    pub to: IpNet,
    #[serde(default = "main_table")]
    pub table: u32,
    #[serde(default)]
    pub metric: u32,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Route {
    #[serde(flatten)]
    pub key: RouteKey,
    #[serde(default)]
    pub via: Option<IpAddr>,
    #[serde(default)]
    pub src: Option<IpAddr>,
    #[serde(default)]
    pub hops: Vec<IfName>,
    #[serde(default)]
    pub ours: bool,
}

/// Of one interface and family; the list is complete.
#[derive(Clone, Debug, Deserialize)]
pub struct NextHops {
    pub interface: IfName,
    pub family: Family,
    pub all: Vec<event::Gateway>,
    #[serde(default)]
    pub omitted: u32,
}

/// As recorded before next hops were told by interface and family: all of the host.
#[derive(Clone, Debug, Deserialize)]
pub struct Gateways {
    pub all: Vec<Gateway>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Gateway {
    pub address: IpAddr,
    pub interface: IfName,
}

#[derive(Clone, Debug, Deserialize)]
pub struct OwnAddress {
    pub interface: IfName,
    pub family: Family,
    #[serde(default)]
    pub address: Option<IpNet>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Found {
    pub interface: IfName,
    pub address: IpAddr,
    pub by: FoundBy,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Claimed {
    pub interface: IfName,
    pub address: IpAddr,
    pub mac: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Refused {
    pub address: IpAddr,
    pub interface: Option<IfName>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct NeighbourProxy {
    pub interface: IfName,
    pub family: Family,
    pub mac: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Plumbed {
    pub interface: IfName,
    pub family: Family,
    pub plumbed: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Rename {
    pub interface: IfName,
    pub to: IfName,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Attached {
    pub interface: IfName,
    pub mode: ReceiveMode,
}

/// A request that the host has carried out.
#[derive(Clone, Debug, Deserialize)]
pub struct Done {
    pub op: u32,
    #[serde(default)]
    pub errno: Option<i32>,
    #[serde(default)]
    pub waited_ns: u64,
    #[serde(default)]
    pub ran_ns: u64,
}

/// Who answers from now on, with the round-trip times in ns.
#[derive(Clone, Debug, Deserialize)]
pub struct Answers {
    pub interface: IfName,
    pub targets: BTreeMap<IpAddr, Option<u64>>,
    /// Recorded, not written: this is what became of a round, and the rounds between the line before
    /// and this one had become the same.
    #[serde(default)]
    pub rounds: Option<u64>,
    /// What becomes of probes that do not leave.
    #[serde(default)]
    pub unsent: BTreeMap<IpAddr, Fate>,
    /// Targets whose MAC is asked for instead.
    #[serde(default)]
    pub resolving: Vec<IpAddr>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Transmits {
    pub interface: IfName,
    pub frames: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ReceiveDeferred {
    pub interface: IfName,
    pub deferred: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub struct HookLost {
    pub interface: IfName,
    pub loss: HookLoss,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Redirectable {
    pub interface: IfName,
    pub redirectable: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    Offline(IfName),
    Online(IfName),
}

/// The daemon has read another configuration and begins anew.
#[derive(Clone, Debug, Deserialize)]
pub struct Reload {
    pub config: String,
    pub seed: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Lost {
    #[serde(default)]
    pub facts: u64,
    #[serde(default)]
    pub lines: u64,
}

#[derive(Deserialize)]
struct Wake {
    late: u64,
}

fn yes() -> bool {
    true
}

fn main_table() -> u32 {
    mpathd_core::config::TABLE_MAIN
}

impl Recording {
    /// # Errors
    /// The number of the line that is not as it should be, and why.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty());
        let (_, first) = lines.next().ok_or("the recording is empty")?;
        let header: Header = from_str(first).map_err(|error| format!("line 1: {error}"))?;
        if header.mpathd_replay > FORMAT {
            return Err(format!("format {} is newer than {FORMAT}", header.mpathd_replay));
        }
        let (mut facts, mut end) = (Vec::new(), Duration::ZERO);
        for (number, line) in lines {
            let (t, of_line) =
                read_line(line).map_err(|error| format!("line {}: {error}", number + 1))?;
            end = end.max(t);
            facts.extend(of_line);
        }
        // Rounds are told when they have been judged, sleep when it is over.
        facts.sort_by_key(|(t, _)| *t);
        Ok(Self { header, facts, end })
    }

    /// Facts and lines that the recorder had to leave out.
    pub fn lost(&self) -> u64 {
        let of =
            |fact: &Fact| if let Fact::Lost(lost) = fact { lost.facts + lost.lines } else { 0 };
        self.facts.iter().map(|(_, fact)| of(fact)).sum()
    }
}

fn read_line(line: &str) -> Result<(Duration, Vec<(Duration, Fact)>), String> {
    let mut object: Map<String, Value> = from_str(line).map_err(|error| error.to_string())?;
    let t = object.remove("t").and_then(|t| t.as_u64()).ok_or("no time `t`")?;
    let t = Duration::from_nanos(t);
    let mut facts = Vec::new();
    for (kind, content) in object {
        facts.extend(read_fact(t, &kind, content).map_err(|error| format!("{kind}: {error}"))?);
    }
    Ok((t, facts))
}

/// When it begins, and what it is; `None` for a kind that replay has no use for.
fn read_fact(
    t: Duration,
    kind: &str,
    content: Value,
) -> Result<Option<(Duration, Fact)>, serde_json::Error> {
    fn read<T: DeserializeOwned>(
        content: Value,
        fact: fn(T) -> Fact,
    ) -> Result<Fact, serde_json::Error> {
        from_value(content).map(fact)
    }
    let fact = match kind {
        "link" => read(content, Fact::Link),
        "link-gone" => read(content, Fact::LinkGone),
        "address" => read(content, Fact::Address),
        "address-gone" => read(content, Fact::AddressGone),
        "route" => read(content, Fact::Route),
        "route-gone" => read(content, Fact::RouteGone),
        "gateways" => read(content, Fact::Gateways),
        "next-hops" => read(content, Fact::NextHops),
        "found" => read(content, Fact::Found),
        "surveyed" => Ok(Fact::Surveyed),
        "own-address" => read(content, Fact::OwnAddress),
        "claimed" => read(content, Fact::Claimed),
        "refused" => read(content, Fact::Refused),
        "neighbour-proxy" => read(content, Fact::NeighbourProxy),
        "plumbed" => read(content, Fact::Plumbed),
        "rename" => read(content, Fact::Rename),
        "attached" => read(content, Fact::Attached),
        "done" => read(content, Fact::Done),
        "answers" => read(content, Fact::Answers),
        "transmits" => read(content, Fact::Transmits),
        "receive-deferred" => read(content, Fact::ReceiveDeferred),
        "hook-lost" => read(content, Fact::HookLost),
        "redirectable" => read(content, Fact::Redirectable),
        "command" => read(content, Fact::Command),
        "reload" => read(content, Fact::Reload),
        "lost" => read(content, Fact::Lost),
        "wake" => {
            let Wake { late } = from_value(content)?;
            let late = Duration::from_nanos(late);
            return Ok(Some((t.saturating_sub(late), Fact::Sleep(late))));
        }
        _ => return Ok(None),
    };
    fact.map(|fact| Some((t, fact)))
}
