//! What can be wrong with a configuration file, and how it is told.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use mpathd_core::config::MAX_MEMBERS;
use mpathd_core::ids::IpNet;

/// A position in a file; lines and columns (characters, not bytes) count from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: Arc<Path>,
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// One thing that is wrong: `FILE:LINE:COLUMN: KEY = VALUE: PROBLEM`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub place: Place,
    /// Dotted path; empty where the file as a whole is meant.
    pub key: String,
    /// The value as it is written, shortened.
    pub found: Option<String>,
    pub problem: Problem,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        match (self.key.as_str(), &self.found) {
            ("", _) => {}
            (key, None) => write!(f, "{key}: ")?,
            (key, Some(found)) => write!(f, "{key} = {found}: ")?,
        }
        write!(f, "{}", self.problem)
    }
}

/// Everything that is wrong with a configuration, in the order of files and lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(Vec<ConfigError>);

impl Errors {
    /// `order`: of the files.
    pub(super) fn unless_empty(mut list: Vec<ConfigError>, order: &[Arc<Path>]) -> Option<Self> {
        let ranks: BTreeMap<&Path, usize> =
            order.iter().enumerate().map(|(rank, file)| (file.as_ref(), rank)).collect();
        let rank = |error: &ConfigError| {
            let file = ranks.get(error.place.file.as_ref()).copied();
            (file, error.place.line, error.place.column)
        };
        list.sort_by_cached_key(rank);
        (!list.is_empty()).then_some(Self(list))
    }

    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        let place = Place { file: path.into(), line: 1, column: 1 };
        let problem = Problem::Unreadable(error.to_string());
        Self(vec![ConfigError { place, key: String::new(), found: None, problem }])
    }

    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for Errors {
    /// One line each, without a line end after the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// What is wrong, what is allowed, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error("not a text in UTF-8")]
    NotUtf8,
    #[error("not TOML: {0}")]
    Syntax(String),

    #[error("expected {0}")]
    Expected(&'static str),
    #[error("allowed: {0}")]
    Allowed(&'static str),
    #[error("unknown key; the nearest known one is `{nearest}` (here: {known})")]
    UnknownKey { nearest: &'static str, known: String },
    #[error("not a key of {here}; it belongs to {belongs}")]
    Misplaced { here: &'static str, belongs: &'static str },
    #[error("failback is for the whole group, never per interface; move it to [{group}]")]
    FailbackOfInterface { group: String },
    #[error("a name with a dot is quoted: write [{0}]")]
    UnquotedDot(String),

    #[error("write \"{0}s\" or \"{0}ms\" (a duration is a string with a unit)")]
    DurationWithoutUnit(String),
    #[error("a duration is a number and a unit (ms, s, m, h), such as \"10s\" or \"10ms\"")]
    Duration,
    #[error("{min} to {max} is allowed")]
    DurationRange { min: &'static str, max: &'static str },

    #[error("a group's name has 1 to 31 characters, no blanks, no control characters and no slash")]
    GroupName,
    #[error(
        "an interface's name has 1 to 15 bytes, no blanks, no slash, no colon, and is not `.` or `..`"
    )]
    InterfaceName,
    #[error(
        "a group needs an interface: add a table [{0}.interfaces.NAME], which may be empty, for each"
    )]
    NoInterface(String),
    #[error("{0} interfaces; a group has {MAX_MEMBERS} at most: make two groups of it")]
    TooManyMembers(usize),
    #[error(
        "{count} interfaces in all; one mpathd watches {most} at most: run a second one in another network namespace"
    )]
    TooManyInterfaces { count: usize, most: usize },
    #[error(
        "group {group} has an address of this subnet ({place}); a subnet belongs to one group only"
    )]
    SubnetOfTwoGroups { group: String, place: Place },
    #[error("already in group {group} ({place}); an interface is in one group only")]
    InterfaceInTwoGroups { group: String, place: Place },

    #[error(
        "not an address with a prefix length, such as \"192.0.2.50/24\" or \"2001:db8::50/64\""
    )]
    NotAnAddress,
    #[error(
        "neither \"link-local\" nor an address with a prefix length, such as \"192.0.2.11/24\""
    )]
    NotATestAddress,
    #[error("an address without a prefix length; write \"{0}/{1}\" if its subnet has {1} bits")]
    NoPrefix(String, u8),
    #[error("a prefix length of {len}; an {family} address has 1 to {max} bits")]
    PrefixLength { len: String, family: &'static str, max: u8 },
    #[error("{kind}; {role} address is one that a host can have")]
    NotAHost { kind: &'static str, role: &'static str },
    #[error("a link-local address belongs to one link and never moves; write a global one")]
    LinkLocalData,
    #[error(
        "write \"link-local\": the address that the kernel gives the interface is used as it is"
    )]
    LinkLocalTest,
    #[error("an address twice: it is a data address already ({0})")]
    DataTwice(Place),
    #[error("a test address twice: {0} has it already; every interface needs one of its own")]
    TestTwice(Place),
    #[error(
        "{0} has it as a data address; a test address stays on its interface, so it needs one of its own"
    )]
    TestIsData(Place),
    #[error("a second {0} test address; an interface has one per family at most")]
    SecondTest(&'static str),

    #[error("{role} address has no prefix length; write \"{write}\"")]
    WithPrefix { role: &'static str, write: String },
    #[error("not an address, such as \"192.0.2.1\" or \"2001:db8::1\"")]
    NotAnIp,
    #[error("the same target twice ({0})")]
    TargetTwice(Place),
    #[error("it is an address of this host ({0}); a target is another host on the LAN")]
    TargetIsOwn(Place),
    #[error("no interface of the group has a test address, so no target can be probed; add some")]
    TargetWithoutTest,
    #[error(
        "on no test subnet of the group ({0}); probes are not routed, so a target is a neighbour"
    )]
    TargetOffSubnet(String),

    #[error("a route needs `{0}`, as in {{ to = \"default\", via = \"192.0.2.1\" }}")]
    RouteLacks(&'static str),
    #[error(
        "a destination is \"default\" or a network with a prefix length, such as \"198.51.100.0/24\""
    )]
    Destination,
    #[error("host bits are set; write \"{0}\"")]
    HostBits(String),
    #[error("an {via} gateway does not lead to an {to} destination")]
    RouteFamilies { to: &'static str, via: &'static str },
    #[error(
        "no data or test subnet of the group contains this gateway ({0}); a gateway is a neighbour"
    )]
    GatewayOffSubnet(String),
    #[error("it is an address of this host ({0}); a gateway is another host on the LAN")]
    GatewayIsOwn(Place),
    #[error("not an {0} data address of the group; a route's source is one of them ({1})")]
    SourceNotData(&'static str, String),
    #[error("the group has no {0} data address, so the route has no source; add one")]
    RouteWithoutData(&'static str),
    #[error("allowed: 0 to 4294967295")]
    Metric,
    #[error("the kernel takes metric 0 of an IPv6 route for 1024; write 1024")]
    MetricZero,
    #[error("allowed: the number of a routing table (main is 254), 1 to 4294967295 without 255")]
    Table,
    #[error("the same destination, table and metric as {0}; give one of them another metric")]
    RouteTwice(Place),
    #[error(
        "it is the subnet of the data address {address} ({place}), whose hosts are neighbours; mpathd sets this \
         route itself, without a gateway: delete yours"
    )]
    RouteOfSubnet { address: IpAddr, place: Place },
    #[error("the {kind} of {net}; {role} is one host of it")]
    NoHostOfSubnet { kind: &'static str, net: IpNet, role: &'static str },
}
