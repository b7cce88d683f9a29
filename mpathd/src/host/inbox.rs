//! What the host thread is asked for, in the order in which it is done: what moves addresses and
//! routes comes before all that can wait, and what is of one kind is done together. Of a hundred addresses
//! the routes wait for the first ones only: the engine asks for a route when its source stands.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use mpathd_core::ids::Family;
use mpathd_core::request::{Op, Request};

use crate::messages::ToHost;
use crate::queue::Queue;

/// The first of a hundred addresses is announced before the last is set.
const ADDRESSES_AT_ONCE: usize = 16;

/// What is done in one go.
pub(super) enum Task {
    /// `Request::SetAddress` each.
    Addresses(Vec<Op>),
    /// `Request::SetRoute` each.
    Routes(Vec<Op>),
    /// Of a move, too.
    Single(Op),
    /// What can wait.
    Rest(ToHost),
}

pub(super) struct Inbox {
    queue: Arc<Queue<ToHost>>,
    moves: VecDeque<Op>,
    rest: VecDeque<ToHost>,
}

impl Inbox {
    pub(super) fn new(queue: Arc<Queue<ToHost>>) -> Self {
        Self { queue, moves: VecDeque::new(), rest: VecDeque::new() }
    }

    /// Resets the wake-up; `next` is to be called until nothing is left.
    pub(super) fn clear_wake(&self) {
        self.queue.clear_wake();
    }

    pub(super) fn next(&mut self) -> Option<Task> {
        while let Some(message) = self.queue.pop() {
            match message {
                // Another configuration comes before the requests that follow from it.
                ToHost::Op(op) if moves(&op.request) && !self.is_barred() => {
                    self.moves.push_back(op);
                }
                message => self.rest.push_back(message),
            }
        }
        if let Some(op) = self.moves.front() {
            return Some(match op.request {
                Request::SetAddress { .. } => Task::Addresses(self.run_of_addresses()),
                Request::SetRoute(_) => Task::Routes(self.run_of_routes()),
                _ => Task::Single(self.moves.pop_front()?),
            });
        }
        self.rest.pop_front().map(Task::Rest)
    }

    fn is_barred(&self) -> bool {
        let bars = |it: &ToHost| matches!(it, ToHost::Settings { .. } | ToHost::Stop);
        self.rest.iter().any(bars)
    }

    /// The first of both families, if both move.
    fn run_of_addresses(&mut self) -> Vec<Op> {
        let count = self.moves.iter().map_while(family).count();
        let all: Vec<Op> = self.moves.drain(..count).collect();
        let of = |one: Family| all.iter().filter(|op| family(op) == Some(one)).count();
        let both = Family::ALL.iter().all(|one| of(*one) > 0);
        let each = if both { ADDRESSES_AT_ONCE / 2 } else { ADDRESSES_AT_ONCE };
        let mut taken = [0; 2];
        let (first, rest): (Vec<Op>, Vec<Op>) = all.iter().partition(|op| {
            let Some(family) = family(op) else { return false };
            taken[family as usize] += 1;
            taken[family as usize] <= each
        });
        let routes = self.run_of_routes();
        routes.into_iter().chain(rest).rev().for_each(|op| self.moves.push_front(op));
        first
    }

    fn run_of_routes(&mut self) -> Vec<Op> {
        let fits = |op: &Op| matches!(op.request, Request::SetRoute(_));
        let count = self.moves.iter().take_while(|op| fits(op)).count();
        self.moves.drain(..count).collect()
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

/// Of an address that is to be set.
fn family(op: &Op) -> Option<Family> {
    match op.request {
        Request::SetAddress { address, .. } => Some(address.family()),
        _ => None,
    }
}

/// Whether traffic waits for it. What is left keeps its order: an announcement of an address must not
/// come before the request that takes it elsewhere, or behind one that it is older than.
fn moves(request: &Request) -> bool {
    match request {
        Request::SetAddress { .. }
        | Request::UnsetAddress { .. }
        | Request::SetRoute(_)
        | Request::UnsetRoute(_)
        | Request::Announce { .. } => true,
        Request::Prepare { .. }
        | Request::TakeAddress(_)
        | Request::TakeRoutes(_)
        | Request::Attach { .. }
        | Request::RemoveUnconfigured
        | Request::Search { .. }
        | Request::CountTransmits { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use mpathd_core::event::{Hops, RouteKey};
    use mpathd_core::ids::{IfName, Ifindex, IpNet};
    use mpathd_core::request::{OpId, Peers, Role, WantedRoute};
    use mpathd_core::time::Instant;

    use super::*;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 50));

    fn op(id: u32, request: Request) -> ToHost {
        ToHost::Op(Op { id: OpId(id), decided: Instant(0), request })
    }

    fn name() -> IfName {
        IfName::new("eth0").unwrap()
    }

    fn prepare() -> Request {
        Request::Prepare { ifindex: Ifindex(1), name: name(), set_up: false }
    }

    fn set() -> Request {
        set_address(IpNet::host(IP))
    }

    fn set_address(address: IpNet) -> Request {
        let (ifindex, name) = (Ifindex(1), name());
        Request::SetAddress { ifindex, name, address, role: Role::Data, announce: None }
    }

    fn announce() -> Request {
        Request::Announce { ifindex: Ifindex(1), address: IP, peers: Peers::default() }
    }

    fn route() -> Request {
        let key = RouteKey { table: 254, to: IpNet::host(IP), metric: 5 };
        Request::SetRoute(WantedRoute { key, via: None, src: IP, hops: Hops::default() })
    }

    /// Numbers of what is done in one go; 0 for what is no request.
    fn order(messages: Vec<ToHost>) -> Vec<Vec<u32>> {
        let queue = Arc::new(Queue::new(64).unwrap());
        for message in messages {
            assert!(queue.push(message).is_ok());
        }
        let mut inbox = Inbox::new(queue);
        let ids = |ops: Vec<Op>| ops.iter().map(|op| op.id.0).collect();
        std::iter::from_fn(|| inbox.next())
            .map(|task| match task {
                Task::Addresses(ops) | Task::Routes(ops) => ids(ops),
                Task::Single(op) | Task::Rest(ToHost::Op(op)) => vec![op.id.0],
                Task::Rest(_) => vec![0],
            })
            .collect()
    }

    #[test]
    fn moves_pass_what_can_wait_and_keep_their_order() {
        let asked = vec![
            op(1, prepare()),
            ToHost::DumpLinks,
            op(2, announce()),
            op(3, set()),
            op(4, set()),
            op(5, route()),
            op(6, route()),
            op(7, announce()),
        ];
        assert_eq!(order(asked), [vec![2], vec![3, 4], vec![5, 6], vec![7], vec![1], vec![0]]);
    }

    #[test]
    fn nothing_passes_another_configuration() {
        let settings = ToHost::Settings { settings: Box::default(), priority: 0 };
        let asked = vec![op(1, set()), settings, op(2, set()), ToHost::Stop, op(3, set())];
        assert_eq!(order(asked), [vec![1], vec![0], vec![2], vec![0], vec![3]]);
    }

    #[test]
    fn a_hundred_addresses_go_in_pieces_and_routes_after_the_first() {
        let addresses = (0..40).map(|id| op(id, set()));
        let rest = [op(50, route()), op(51, route()), op(52, announce()), op(53, set())];
        let order = order(addresses.chain(rest).collect());
        let sizes: Vec<_> = order.iter().map(Vec::len).collect();
        assert_eq!(sizes, [16, 2, 16, 8, 1, 1], "{order:?}");
        assert_eq!((order[1].clone(), order[2][0], order[5].clone()), (vec![50, 51], 16, vec![53]));
    }

    #[test]
    fn no_family_waits_for_all_addresses_of_the_other() {
        let v6 = IpNet::host("2001:db8::50".parse().unwrap());
        let addresses = (0..20).map(|id| op(id, set()));
        let of_v6 = (20..40).map(|id| op(id, set_address(v6)));
        let order = order(addresses.chain(of_v6).chain([op(50, route())]).collect());
        assert_eq!(order[0], (0..8).chain(20..28).collect::<Vec<_>>());
        assert_eq!(order[1], [50]);
        assert_eq!(order[2], (8..16).chain(28..36).collect::<Vec<_>>());
        assert_eq!(order[3], [16, 17, 18, 19, 36, 37, 38, 39]);
    }
}
