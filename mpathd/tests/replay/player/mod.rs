//! Plays a recording: feeds the engine what the host did, in virtual time. The LAN carries out the
//! engine's requests and tells it so; what the file says of addresses, routes and hooks of ours is
//! the recorded daemon's doing, not the host's, and is passed over. Foreign facts and who answers
//! come from the file.

#![allow(dead_code, reason = "each test program uses its own part of the player")]

pub mod changes;
#[path = "../../../core/tests/lan/mod.rs"]
mod lan;
pub mod recording;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use lan::{Answer, Lan, Outcome};
use mpathd_core::config::Config;
use mpathd_core::event::{self, Event, Fate, ReceiveMode};
use mpathd_core::ids::{Family, IfName, Ifindex};
use mpathd_core::request::OpId;
use mpathd_core::time::Instant;

use changes::{Change, Picture};
use recording::{
    Address, AddressGone, Answers, Command, Fact, Interface, Link, Recording, Route, RouteKey,
};

/// What became of it.
pub struct Played {
    /// In order; times from the first fact of the host.
    pub changes: Vec<Change>,
    lan: Lan,
}

impl Played {
    /// # Panics
    /// Unless every data address is on exactly one NIC and all routes stand.
    pub fn assert_at_rest(&self) {
        self.lan.assert_at_rest();
    }
}

/// Plays all of it. Changes before `from` are left out; what there is at `from` is told as if it had
/// come at that moment.
///
/// # Errors
/// What is wrong with the configuration.
pub fn play(recording: &Recording, config: &str, from: Duration) -> Result<Played, String> {
    let header = &recording.header;
    let config = parse(config)?;
    let facts = facts(recording, &config);
    let mut lan = Lan::bare(config, header.state.clone(), header.seed);
    let start = lan.now;
    lan.outcomes = outcomes(recording, start);
    let mut player = Player {
        start,
        from: start + from,
        awake_at: start,
        lan,
        surveyed: false,
        ifindexes: BTreeMap::new(),
        gateways: Vec::new(),
        numbered: 1,
        modes: modes(recording),
        stood: BTreeMap::new(),
        picture: Picture::default(),
        changes: Vec::new(),
    };
    for (t, fact) in facts {
        player.advance(start + t);
        player.take(fact)?;
    }
    player.advance(start + recording.end);
    player.turns(start + recording.end);
    Ok(Played { changes: player.changes, lan: player.lan })
}

fn parse(config: &str) -> Result<Config, String> {
    let settings = mpathd::config::parse(config.as_bytes(), Path::new("config.toml"));
    settings.map(|settings| settings.engine).map_err(|errors| errors.to_string())
}

/// A recorded round tells only that the path had changed since the round before: half an interval
/// earlier is the middle, so that a replay whose rounds are a little early hears of it as well.
fn facts<'a>(recording: &'a Recording, config: &Config) -> Vec<(Duration, &'a Fact)> {
    let half_interval = |interface: IfName| {
        let mut groups = config.groups.iter();
        let group = groups.find(|g| g.members.iter().any(|m| m.name == interface));
        group.map_or(Duration::ZERO, |group| group.fdt / 12)
    };
    let moved = recording.facts.iter().map(|(t, fact)| match fact {
        Fact::Answers(answers) if answers.rounds.is_some() => {
            (t.saturating_sub(half_interval(answers.interface)), fact)
        }
        _ => (*t, fact),
    });
    let mut facts: Vec<_> = moved.collect();
    facts.sort_by_key(|(t, _)| *t);
    facts
}

/// How long requests take, what the kernel refuses, and how the replies of a NIC are received, is
/// the host's to say, whenever the engine asks.
fn outcomes(recording: &Recording, start: Instant) -> BTreeMap<OpId, VecDeque<Outcome>> {
    let mut all: BTreeMap<OpId, VecDeque<Outcome>> = BTreeMap::new();
    for (t, fact) in &recording.facts {
        if let Fact::Done(done) = fact {
            let took = Duration::from_nanos(done.waited_ns.saturating_add(done.ran_ns));
            let outcome = Outcome { took, at: Some(start + *t), errno: done.errno };
            all.entry(OpId(done.op)).or_default().push_back(outcome);
        }
    }
    all
}

fn modes(recording: &Recording) -> BTreeMap<IfName, ReceiveMode> {
    let attached = recording.facts.iter().filter_map(|(_, fact)| match fact {
        Fact::Attached(attached) => Some((attached.interface, attached.mode)),
        _ => None,
    });
    attached.collect()
}

struct Player {
    lan: Lan,
    start: Instant,
    from: Instant,
    /// The daemon sleeps until then.
    awake_at: Instant,
    surveyed: bool,
    ifindexes: BTreeMap<IfName, Ifindex>,
    /// Lists of next hops that are not empty.
    gateways: Vec<(Ifindex, Family)>,
    /// The highest number so far.
    numbered: u32,
    modes: BTreeMap<IfName, ReceiveMode>,
    /// Where addresses of ours stood, as the file tells.
    stood: BTreeMap<IpAddr, BTreeSet<IfName>>,
    picture: Picture,
    changes: Vec<Change>,
}

impl Player {
    /// Lets time pass. What is fed at one moment is judged together, so that moment itself is left.
    fn advance(&mut self, to: Instant) {
        if to <= self.lan.now {
            return;
        }
        if self.lan.now < self.from && self.from <= to {
            self.turns(self.from);
            self.lan.messages.clear();
            self.look();
        }
        self.turns(to);
    }

    /// Wakes the daemon whenever something happens or is due.
    fn turns(&mut self, to: Instant) {
        while let Some(at) = self.lan.next().map(|at| at.max(self.awake_at)).filter(|at| *at <= to)
        {
            self.lan.now = self.lan.now.max(at);
            self.lan.turn();
            if self.from <= self.lan.now {
                self.look();
            }
        }
        self.lan.now = self.lan.now.max(to);
    }

    fn look(&mut self) {
        let t = self.lan.now.since(self.start);
        for (_, message) in self.lan.messages.drain(..) {
            self.changes.push(Change::log(t, &message.to_string()));
        }
        let view = self.lan.view();
        let name = |at: Ifindex| {
            let nic = self.lan.nics.values().find(|nic| nic.link.ifindex == at);
            nic.map_or_else(|| format!("#{}", at.0), |nic| nic.link.name.to_string())
        };
        let picture = Picture::of(&view, self.lan.routes.values(), name);
        self.changes.extend(picture.changes_since(&self.picture, t));
        self.picture = picture;
    }

    fn take(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Link(link) => self.link(link),
            Fact::LinkGone(Interface { interface }) => {
                self.ifindexes.remove(interface);
                if self.lan.nics.contains_key(interface) {
                    self.lan.unplug(*interface);
                }
            }
            Fact::Address(address) => self.address(address),
            Fact::AddressGone(gone) => self.address_gone(gone),
            Fact::Route(route) => self.route(route),
            Fact::RouteGone(key) => self.route_gone(key),
            Fact::Gateways(gateways) => {
                let known: Vec<_> = self.gateways.drain(..).collect();
                for (ifindex, family) in known {
                    self.next_hops(event::Gateways::new(ifindex, family));
                }
                let mut lists: Vec<event::Gateways> = Vec::new();
                for gateway in &gateways.all {
                    let (ifindex, address) = (self.ifindex(gateway.interface), gateway.address);
                    let key = (ifindex, Family::of(address));
                    let at = lists.iter().position(|list| (list.ifindex, list.family) == key);
                    let at = at.unwrap_or_else(|| {
                        lists.push(event::Gateways::new(key.0, key.1));
                        lists.len() - 1
                    });
                    lists[at].push(event::Gateway { address, kind: event::GatewayKind::Other });
                }
                lists.into_iter().for_each(|list| self.next_hops(list));
            }
            Fact::NextHops(next) => {
                let mut list = event::Gateways::new(self.ifindex(next.interface), next.family);
                next.all.iter().for_each(|gateway| list.push(*gateway));
                list.omitted = next.omitted;
                self.next_hops(list);
            }
            Fact::Found(found) => {
                let ifindex = self.ifindex(found.interface);
                let (address, by) = (found.address, found.by);
                self.post(Event::Found { ifindex, address, by });
            }
            // A later one belongs to a reload, and the LAN has told of itself.
            Fact::Surveyed if self.surveyed => {}
            Fact::Surveyed => {
                self.surveyed = true;
                self.lan.survey();
            }
            Fact::Reload(reload) => self.lan.reload(parse(&reload.config)?, reload.seed),
            Fact::Answers(answers) => self.answers(answers),
            Fact::Transmits(transmits) => {
                if let Some(nic) = self.lan.nics.get_mut(&transmits.interface) {
                    nic.frames = transmits.frames;
                }
            }
            Fact::ReceiveDeferred(fact) => {
                let ifindex = self.ifindex(fact.interface);
                self.post(Event::ReceiveDeferred { ifindex, deferred: fact.deferred });
            }
            Fact::HookLost(fact) => {
                let ifindex = self.ifindex(fact.interface);
                self.post(Event::HookLost { ifindex, loss: fact.loss });
            }
            Fact::Redirectable(fact) => {
                let ifindex = self.ifindex(fact.interface);
                self.post(Event::Redirectable { ifindex, redirectable: fact.redirectable });
            }
            Fact::Command(command) => self.post(Event::Command(match *command {
                Command::Offline(interface) => event::Command::Offline { interface },
                Command::Online(interface) => event::Command::Online { interface },
            })),
            Fact::OwnAddress(told) => {
                let ifindex = self.ifindex(told.interface);
                let (family, address) = (told.family, told.address);
                self.post(Event::OwnAddress(event::OwnAddress { ifindex, family, address }));
            }
            Fact::Claimed(told) => {
                let (ifindex, address) = (self.ifindex(told.interface), told.address);
                let mac = mac(&told.mac).ok_or("not a MAC address")?;
                self.post(Event::Claimed { ifindex, address, mac });
            }
            Fact::Refused(told) => {
                let on = told.interface.map(|name| self.ifindex(name));
                self.post(Event::Refused { address: told.address, on });
            }
            Fact::NeighbourProxy(told) => {
                let (ifindex, family) = (self.ifindex(told.interface), told.family);
                let mac = mac(&told.mac).ok_or("not a MAC address")?;
                self.post(Event::NeighbourProxy { ifindex, family, mac });
            }
            Fact::Plumbed(told) => {
                let ifindex = self.ifindex(told.interface);
                let (family, plumbed) = (told.family, told.plumbed);
                self.post(Event::Plumbed { ifindex, family, plumbed });
            }
            Fact::Rename(rename) => {
                if let Some(ifindex) = self.ifindexes.remove(&rename.interface) {
                    self.ifindexes.insert(rename.to, ifindex);
                    self.lan.rename(rename.interface, rename.to);
                }
            }
            Fact::Sleep(span) => self.awake_at = self.lan.now + *span,
            Fact::Attached(_) | Fact::Done(_) | Fact::Lost(_) => {}
        }
        Ok(())
    }

    fn post(&mut self, event: Event) {
        self.lan.post(Duration::ZERO, event);
    }

    /// One that comes back has another number, as in the kernel.
    fn ifindex(&mut self, name: IfName) -> Ifindex {
        if let Some(known) = self.ifindexes.get(&name) {
            return *known;
        }
        self.numbered += 1;
        let ifindex = Ifindex(self.numbered);
        self.ifindexes.insert(name, ifindex);
        ifindex
    }

    fn next_hops(&mut self, list: event::Gateways) {
        let key = (list.ifindex, list.family);
        self.gateways.retain(|known| *known != key);
        if !list.is_empty() {
            self.gateways.push(key);
        }
        self.post(Event::Gateways(list));
    }

    fn link(&mut self, link: &Link) {
        let (name, ifindex) = (link.interface, self.ifindex(link.interface));
        let own = [2, 0, 0, 0, 0, ifindex.0 as u8];
        self.lan.link(event::Link {
            name,
            ifindex,
            up: link.up,
            running: link.running,
            reported: link.reported,
            carrier_changes: link.carrier_changes,
            mac: link.mac.as_deref().and_then(mac).unwrap_or(own),
            unfit: link.unfit,
        });
        if let (Some(mode), Some(nic)) = (self.modes.get(&name), self.lan.nics.get_mut(&name)) {
            nic.mode = *mode;
        }
    }

    /// Before the survey is over, addresses of ours were put there by an earlier daemon.
    fn address(&mut self, address: &Address) {
        let ifindex = self.ifindex(address.interface);
        let host = address.address.address;
        if address.ours {
            self.stood.entry(host).or_default().insert(address.interface);
            if self.surveyed {
                return;
            }
            self.lan.addresses.insert((ifindex, host));
        }
        self.post(Event::Address(event::Address {
            ifindex,
            address: address.address,
            ours: address.ours,
            tentative: address.tentative,
            link_scope: address.link_scope,
            stale_form: address.stale_form,
            refused: address.refused,
            by_kernel: address.by_kernel,
        }));
    }

    /// We never remove an address where it stands alone: then it was somebody else.
    fn address_gone(&mut self, gone: &AddressGone) {
        let AddressGone { interface, address } = *gone;
        let ifindex = self.ifindex(interface);
        let Some(stood) = self.stood.get_mut(&address).filter(|on| on.contains(&interface)) else {
            return self.post(Event::AddressGone { ifindex, address });
        };
        stood.remove(&interface);
        if stood.is_empty() && self.lan.addresses.contains(&(ifindex, address)) {
            self.lan.take_away(ifindex, address);
        }
    }

    fn route(&mut self, route: &Route) {
        if route.ours && self.surveyed {
            return;
        }
        let key = key(&route.key);
        let hops = route.hops.iter().map(|hop| self.ifindex(*hop)).collect();
        let (via, src, ours) = (route.via, route.src, route.ours);
        let seen = event::ObservedRoute { key, via, src, hops, ours };
        self.lan.routes.insert(key, seen);
        self.post(Event::Route(seen));
    }

    fn route_gone(&mut self, gone: &RouteKey) {
        let key = key(gone);
        if self.lan.routes.get(&key).is_some_and(|there| !there.ours) {
            self.lan.routes.remove(&key);
            self.post(Event::RouteGone(key));
        }
    }

    fn answers(&mut self, answers: &Answers) {
        for (target, rtt) in &answers.targets {
            let fate = if answers.resolving.contains(target) {
                Fate::Resolving
            } else {
                answers.unsent.get(target).copied().unwrap_or(Fate::Left)
            };
            let answer = Answer { fate, rtt: rtt.map(Duration::from_nanos) };
            self.lan.answers.insert((answers.interface, *target), answer);
        }
    }
}

fn key(key: &RouteKey) -> event::RouteKey {
    event::RouteKey { table: key.table, to: key.to, metric: key.metric }
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Vec<u8> =
        text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>().ok()?;
    bytes.try_into().ok()
}
