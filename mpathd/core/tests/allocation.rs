//! After its construction the engine allocates nothing, whatever happens (design 3).

mod lan;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use lan::*;
use mpathd_core::view::View;

thread_local! {
    static COUNT: Cell<Option<usize>> = const { Cell::new(None) };
}

struct Counting;

// SAFETY: every call is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|c| c.set(c.get().map(|n| n + 1)));
        // SAFETY: the caller's contract is ours.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is ours.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts what `act` allocates inside the engine; the LAN around it may.
pub fn allocations(act: impl FnOnce()) -> usize {
    COUNT.with(|c| c.set(Some(0)));
    act();
    COUNT.with(Cell::take).unwrap_or_default()
}

#[test]
fn nothing_is_allocated_after_construction() {
    let mut lan = Lan::new(dual_stack(group(4, 8, 100 * MS)), Default::default());
    let mut view = View::default();
    lan.engine.fill(&mut view, lan.now);
    lan.watch = Some(allocations_of_turn);
    lan.survey();
    lan.run(5 * S);
    lan.wire(0, Wire::Cut);
    lan.run(5 * S);
    lan.wire(0, Wire::Works);
    lan.carrier(1, false);
    lan.run(30 * S);
    lan.carrier(1, true);
    lan.targets.values_mut().for_each(|t| t.alive = false);
    lan.run(30 * S);
    lan.targets.values_mut().for_each(|t| t.alive = true);
    lan.unplug(name(2));
    lan.run(30 * S);
    lan.plug(name(2), 99);
    lan.run(30 * S);
    // The succession itself does not either, whether the heir has more to do or less.
    for heir in [group(2, 3, 50 * MS), group(4, 9, 100 * MS)].map(dual_stack) {
        lan.reload_group(heir);
        lan.run(10 * S);
    }
    assert!(lan.turns > 1000);
    assert_eq!(lan.allocated, 0);
}

/// Targets that come and go, by tables and by search.
#[test]
fn nothing_is_allocated_for_targets_that_are_found() {
    let mut group = dual_stack(group(4, 8, 100 * MS));
    group.targets.clear();
    group.routes.clear();
    let mut lan = Lan::new(group, Default::default());
    let hosts: Vec<String> = (100..250).map(|n| format!("192.0.2.{n}")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    lan.add_targets(&hosts);
    lan.neighbours = ip(&["192.0.2.1", "192.0.2.2"]);
    lan.watch = Some(allocations_of_turn);
    lan.survey();
    lan.run(10 * S);
    for some in hosts.chunks(10) {
        // The group fails, forgets them, and finds others: more than are remembered as proven.
        lan.targets.values_mut().for_each(|t| t.alive = false);
        lan.run(S);
        some.iter().for_each(|host| lan.target(host).alive = true);
        lan.responders = ip(some);
        lan.run(12 * S);
        lan.target(some[0]).alive = false;
        lan.run(2 * S);
    }
    lan.gateways(&hosts[..16]);
    lan.run(5 * S);
    lan.gateways(&hosts);
    lan.run(5 * S);
    lan.gateways(&[]);
    lan.run(5 * S);
    assert!(lan.view().proven.len() > 30, "{:?}", lan.view().proven);
    assert_eq!(lan.allocated, 0);
}

fn allocations_of_turn(turn: &mut dyn FnMut()) -> usize {
    allocations(turn)
}
