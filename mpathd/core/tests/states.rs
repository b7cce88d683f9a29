//! The states of members, families and groups, and what follows what: a group failure moves nothing,
//! and no data address leaves a NIC that answers for one that has not answered yet.

mod lan;

use lan::*;
use mpathd_core::view::GroupState;

fn group_state(lan: &Lan) -> GroupState {
    lan.view().groups[0].state
}

fn set_alive(lan: &mut Lan, ipv6: bool, alive: bool) {
    let targets = lan.targets.iter_mut().filter(|(ip, _)| ip.is_ipv6() == ipv6);
    targets.for_each(|(_, target)| target.alive = alive);
}

/// The family is silent on all members at once, as when its router dies, or on one after the other.
#[test]
fn a_family_that_is_dead_everywhere_degrades_the_group() {
    let mut lan = Lan::settled(dual_stack(group(2, 1, 100 * MS)));
    assert_eq!(group_state(&lan), GroupState::Ok);
    set_alive(&mut lan, true, false);
    lan.run(S);
    assert_eq!(group_state(&lan), GroupState::Degraded, "{:#?}", lan.texts());
    set_alive(&mut lan, true, true);
    lan.run(S);
    assert_eq!(group_state(&lan), GroupState::Ok);
    lan.deaf = Some((name(0), true));
    lan.run(S);
    set_alive(&mut lan, true, false);
    lan.run(S);
    assert_eq!(group_state(&lan), GroupState::Degraded);
    set_alive(&mut lan, false, false);
    lan.run(S);
    assert_eq!(group_state(&lan), GroupState::Failed);
}

/// All data addresses are of the family that is dead: nothing can be reached, whatever the other one does.
#[test]
fn a_group_fails_with_the_only_family_of_its_data() {
    let mut group = dual_stack(group(2, 0, 100 * MS));
    group.routes.clear();
    let mut lan = Lan::settled(group);
    set_alive(&mut lan, true, false);
    lan.run(S);
    assert_eq!(group_state(&lan), GroupState::Failed);
    set_alive(&mut lan, true, true);
    lan.run(S);
    assert_eq!(group_state(&lan), GroupState::Ok);
    set_alive(&mut lan, false, false);
    lan.run(S);
    assert_eq!(group_state(&lan), GroupState::Degraded);
}
