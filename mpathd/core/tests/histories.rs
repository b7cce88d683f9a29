//! Random small histories of failures, repairs, returns and holds: no data address leaves a NIC that
//! answers for one that has not answered since its return, and none crosses over between NICs that work.

mod lan;

use std::collections::BTreeMap;
use std::net::IpAddr;

use lan::*;
use mpathd_core::config::Group;
use mpathd_core::event::Command;
use mpathd_core::ids::IfName;
use mpathd_core::request::{Request, Role};
use mpathd_core::time::Instant;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const FDT: std::time::Duration = std::time::Duration::from_millis(100);

#[derive(Clone, Copy, Debug)]
enum Step {
    Wire(usize),
    /// Of all NICs at once.
    Wires,
    Link(usize),
    Presence(usize),
    Offline(usize),
    /// A NIC hears nothing of one family.
    Deaf(usize, bool),
}

/// The truth about a NIC, per family.
#[derive(Clone, Copy, Default)]
struct Truth {
    /// It answers since then.
    works: [Option<Instant>; 2],
    /// It has answered since it came, or came back into service.
    proven: [bool; 2],
}

struct Referee {
    lan: Lan,
    offline: Vec<bool>,
    truth: Vec<Truth>,
    holder: BTreeMap<IpAddr, IfName>,
    /// Of working NICs: when, from, to.
    moves: Vec<(Instant, usize, usize)>,
    seen: usize,
}

fn position(name: IfName) -> usize {
    name.as_str().trim_start_matches("eth").parse().unwrap()
}

impl Referee {
    fn new(group: Group) -> Self {
        let (members, lan) = (group.members.len(), Lan::settled(group));
        let on = |a: &mpathd_core::view::AddressView| Some((a.address.address, a.inbound?));
        let holder = lan.view().addresses.iter().filter_map(on).collect();
        let truth = vec![Truth::default(); members];
        let offline = vec![false; members];
        let mut referee = Self { lan, offline, truth, holder, moves: Vec::new(), seen: 0 };
        referee.note();
        referee
    }

    /// After each step.
    fn note(&mut self) {
        for (i, truth) in self.truth.iter_mut().enumerate() {
            let nic = self.lan.nics.get(&name(i));
            let up = nic.is_some_and(|n| n.link.running && n.wire == Wire::Works);
            for (f, ipv6) in [false, true].into_iter().enumerate() {
                let works = up && !self.offline[i] && self.lan.deaf != Some((name(i), ipv6));
                truth.works[f] = works.then(|| truth.works[f].unwrap_or(self.lan.now));
                truth.proven[f] |= works;
            }
        }
    }

    fn answers(&self, i: usize, family: usize) -> bool {
        self.truth[i].works[family].is_some_and(|at| self.lan.now.since(at) >= FDT + 50 * MS)
    }

    fn take(&mut self, step: Step, nth: usize) {
        let there = |lan: &Lan, i| lan.nics.contains_key(&name(i));
        match step {
            Step::Wire(i) if there(&self.lan, i) => {
                let works = self.lan.nics[&name(i)].wire == Wire::Works;
                self.lan.wire(i, if works { Wire::Cut } else { Wire::Works });
            }
            Step::Wires => {
                let works = self.lan.nics.values().any(|nic| nic.wire == Wire::Works);
                let wire = if works { Wire::Cut } else { Wire::Works };
                self.lan.nics.values_mut().for_each(|nic| nic.wire = wire);
            }
            Step::Link(i) if there(&self.lan, i) => {
                self.lan.carrier(i, !self.lan.nics[&name(i)].link.running);
            }
            Step::Presence(i) if there(&self.lan, i) => {
                self.lan.unplug(name(i));
                (self.truth[i], self.offline[i]) = (Truth::default(), false);
            }
            Step::Presence(i) => {
                // Behind a port that passes nothing, until that is mended.
                self.lan.plug(name(i), 100 + nth as u32);
                self.lan.wire(i, Wire::Cut);
            }
            Step::Offline(i) if self.offline[i] => {
                if self.lan.command(Command::Online { interface: name(i) }) {
                    (self.truth[i], self.offline[i]) = (Truth::default(), false);
                }
            }
            Step::Offline(i) => {
                let answered = self.answers(i, 0) && self.truth[i].proven[0];
                if self.lan.command(Command::Offline { interface: name(i) }) {
                    self.offline[i] = true;
                    let others = (0..self.truth.len()).filter(|o| *o != i);
                    let proven = others.filter(|o| self.truth[*o].proven.contains(&true)).count();
                    assert!(!answered || proven > 0, "the last that answers is out of service");
                }
            }
            Step::Deaf(i, ipv6) => {
                let deaf = Some((name(i), ipv6));
                self.lan.deaf = if self.lan.deaf == deaf { None } else { deaf };
            }
            Step::Wire(_) | Step::Link(_) => {}
        }
        self.note();
    }

    fn run(&mut self, ms: u64) {
        let end = self.lan.now + MS * ms as u32;
        while self.lan.now < end {
            self.lan.run(5 * MS);
            while let Some((at, request)) = self.lan.requests.get(self.seen).copied() {
                self.seen += 1;
                if let Request::SetAddress { name, address, role: Role::Data, .. } = request {
                    self.moved(at, address.address, name);
                }
            }
        }
    }

    fn moved(&mut self, at: Instant, address: IpAddr, to: IfName) {
        let Some(from) = self.holder.insert(address, to).filter(|from| *from != to) else { return };
        let (from, to, family) = (position(from), position(to), usize::from(address.is_ipv6()));
        let texts =
            || format!("{at:?}: {address} from eth{from} to eth{to} {:#?}", self.lan.texts());
        if !self.answers(from, family) {
            return;
        }
        assert!(self.truth[to].proven[family], "to one that has not answered: {}", texts());
        // Both have worked for long enough to be repaired.
        let works = |i: usize| {
            let since = |at: Instant| self.lan.now.since(at) >= 4 * FDT;
            self.truth[i].works.iter().all(|at| at.is_some_and(since))
        };
        if works(from) && works(to) {
            let back = |(when, f, t): &(Instant, usize, usize)| {
                (*f, *t) == (to, from) && at.since(*when) <= S
            };
            assert!(!self.moves.iter().any(back), "crosses over: {}", texts());
            self.moves.push((at, from, to));
        }
    }
}

fn any_step(members: usize) -> impl Strategy<Value = Step> {
    let nic = 0..members;
    prop_oneof![
        5 => nic.clone().prop_map(Step::Wire),
        2 => Just(Step::Wires),
        2 => nic.clone().prop_map(Step::Link),
        3 => nic.clone().prop_map(Step::Presence),
        2 => nic.clone().prop_map(Step::Offline),
        1 => (nic, any::<bool>()).prop_map(|(i, ipv6)| Step::Deaf(i, ipv6)),
    ]
}

fn any_pause() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 300u64..2_000, 2 => 0u64..300, 1 => 9_000u64..12_000]
}

fn any_history() -> impl Strategy<Value = (Group, Vec<(Step, u64)>)> {
    (2usize..4, 0usize..3, any::<bool>(), any::<bool>()).prop_flat_map(
        |(members, standbys, failback, dual)| {
            let mut group = Group { failback, ..group(members, 2, FDT) };
            group.members.iter_mut().rev().take(standbys).for_each(|m| m.standby = true);
            let group = if dual { dual_stack(group) } else { group };
            (Just(group), prop::collection::vec((any_step(members), any_pause()), 3..12))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        rng_seed: RngSeed::Fixed(16),
        ..ProptestConfig::default()
    })]
    #[test]
    fn addresses_move_to_nics_that_have_answered_and_for_a_reason((group, steps) in any_history()) {
        let mut referee = Referee::new(group);
        for (nth, (step, pause)) in steps.iter().enumerate() {
            referee.take(*step, nth);
            referee.run(*pause);
        }
        referee.run(12_000);
    }
}
