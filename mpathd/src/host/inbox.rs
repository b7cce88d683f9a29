//! What the host thread is asked for, in the order in which it is done: what moves addresses and
//! routes comes before all that can wait, and what is of one kind is done together. Routes wait for no address
//! but their sources: an address is announced before it stands (`herald.rs` of the engine), while nothing is sent
//! until the routes lead elsewhere.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
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
    /// `Request::Announce` each.
    announcements: VecDeque<Op>,
    rest: VecDeque<ToHost>,
}

impl Inbox {
    pub(super) fn new(queue: Arc<Queue<ToHost>>) -> Self {
        let (moves, announcements, rest) = Default::default();
        Self { queue, moves, announcements, rest }
    }

    /// Resets the wake-up; `next` is to be called until nothing is left.
    pub(super) fn clear_wake(&self) {
        self.queue.clear_wake();
    }

    pub(super) fn next(&mut self) -> Option<Task> {
        while !self.is_barred()
            && let Some(message) = self.queue.pop()
        {
            self.sort_in(message);
        }
        self.next_run()
            .or_else(|| self.moves.pop_front().map(Task::Single))
            .or_else(|| self.announcements.pop_front().map(|op| Task::Rest(ToHost::Op(op))))
            .or_else(|| self.rest.pop_front().map(Task::Rest))
    }

    /// Announcements of what stays where it is pass no move: there is one for each address of a group in which
    /// something moves. One of an address that is to be set elsewhere since is out of date.
    fn sort_in(&mut self, message: ToHost) {
        match message {
            ToHost::Op(op) if matches!(op.request, Request::Announce { .. }) => {
                self.announcements.push_back(op);
            }
            ToHost::Op(op) if moves(&op.request) => {
                let ip = address(&op);
                self.announcements.retain(|it| ip.is_none() || announced(it) != ip);
                self.moves.push_back(op);
            }
            message => self.rest.push_back(message),
        }
    }

    /// Another configuration comes before the requests that follow from it.
    fn is_barred(&self) -> bool {
        matches!(self.rest.back(), Some(ToHost::Settings { .. } | ToHost::Stop))
    }

    /// Of the addresses and routes that stand before anything else: sources of the routes, the routes, and then
    /// the other addresses.
    fn next_run(&mut self) -> Option<Task> {
        let is_one = |op: &&Op| address(op).or(source(op)).is_some();
        let count = self.moves.iter().take_while(is_one).count();
        let run = &mut self.moves.make_contiguous()[..count];
        let sources: BTreeSet<IpAddr> = run.iter().filter_map(source).collect();
        let turn = |op: &Op| match address(op) {
            Some(ip) if sources.contains(&ip) => 0,
            None => 1,
            Some(_) => 2,
        };
        run.sort_by_key(turn);
        let first = run.first().map(turn)?;
        let alike = run.partition_point(|op| turn(op) == first);
        let alike: Vec<Op> = self.moves.drain(..alike).collect();
        if alike.iter().all(|op| address(op).is_none()) {
            return Some(Task::Routes(alike));
        }
        let (first, later) = at_once(alike);
        later.into_iter().rev().for_each(|op| self.moves.push_front(op));
        Some(Task::Addresses(first))
    }
}

/// The first of both families, if both move; and the others.
fn at_once(addresses: Vec<Op>) -> (Vec<Op>, Vec<Op>) {
    let family = |op: &Op| address(op).map(Family::of);
    let of = |one: Family| addresses.iter().any(|op| family(op) == Some(one));
    let both = Family::ALL.into_iter().all(of);
    let each = if both { ADDRESSES_AT_ONCE / 2 } else { ADDRESSES_AT_ONCE };
    let mut taken = [0; 2];
    addresses.into_iter().partition(|op| {
        let Some(family) = family(op) else { return false };
        taken[family as usize] += 1;
        taken[family as usize] <= each
    })
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

/// That is to be set.
fn address(op: &Op) -> Option<IpAddr> {
    match op.request {
        Request::SetAddress { address, .. } => Some(address.address),
        _ => None,
    }
}

fn announced(op: &Op) -> Option<IpAddr> {
    match op.request {
        Request::Announce { address, .. } => Some(address),
        _ => None,
    }
}

/// Of a route that is to be set.
fn source(op: &Op) -> Option<IpAddr> {
    match op.request {
        Request::SetRoute(wanted) => Some(wanted.src),
        _ => None,
    }
}

/// Whether traffic waits for it.
fn moves(request: &Request) -> bool {
    match request {
        Request::SetAddress { .. }
        | Request::UnsetAddress { .. }
        | Request::SetRoute(_)
        | Request::UnsetRoute(_) => true,
        Request::Announce { .. }
        | Request::Prepare { .. }
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

    /// Of all routes.
    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 50));
    const V4: &str = "192.0.2.51";
    const V6: &str = "2001:db8::50";

    fn op(id: u32, request: Request) -> ToHost {
        ToHost::Op(Op { id: OpId(id), decided: Instant(0), request })
    }

    fn name() -> IfName {
        IfName::new("eth0").unwrap()
    }

    fn prepare() -> Request {
        Request::Prepare { ifindex: Ifindex(1), name: name(), set_up: false }
    }

    fn set(ip: &str) -> Request {
        let (ifindex, name, address) = (Ifindex(1), name(), IpNet::host(ip.parse().unwrap()));
        Request::SetAddress { ifindex, name, address, role: Role::Data, announce: None }
    }

    fn unset() -> Request {
        let (ifindex, name) = (Ifindex(1), name());
        Request::UnsetAddress { ifindex, name, address: IpNet::host(SOURCE) }
    }

    fn announce() -> Request {
        Request::Announce { ifindex: Ifindex(1), address: SOURCE, peers: Peers::default() }
    }

    fn route() -> Request {
        let key = RouteKey { table: 254, to: IpNet::host(SOURCE), metric: 5 };
        Request::SetRoute(WantedRoute { key, via: None, src: SOURCE, hops: Hops::default() })
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
                Task::Single(op) => vec![op.id.0],
                Task::Rest(ToHost::Op(op)) => {
                    assert!(!moves(&op.request), "{op:?}");
                    vec![op.id.0]
                }
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
            op(3, set(V4)),
            op(4, set(V4)),
            op(5, route()),
            op(6, route()),
            op(7, announce()),
        ];
        assert_eq!(order(asked), [vec![5, 6], vec![3, 4], vec![2], vec![7], vec![1], vec![0]]);
    }

    #[test]
    fn an_announcement_is_out_of_date_when_its_address_is_set_elsewhere() {
        let asked = vec![op(1, announce()), op(2, set("192.0.2.50")), op(3, announce())];
        assert_eq!(order(asked), [vec![2], vec![3]]);
    }

    #[test]
    fn nothing_passes_another_configuration() {
        let settings = ToHost::Settings { settings: Box::default(), priority: 0 };
        let asked = vec![op(1, set(V4)), settings, op(2, set(V4)), ToHost::Stop, op(3, set(V4))];
        assert_eq!(order(asked), [vec![1], vec![0], vec![2], vec![0], vec![3]]);
    }

    #[test]
    fn routes_follow_their_sources_and_all_other_addresses_the_routes() {
        let addresses = (0..20).map(|id| op(id, set(V4)));
        let rest = [op(20, set("192.0.2.50")), op(50, route()), op(51, route())];
        let later = [op(52, unset()), op(53, set(V4)), op(54, route())];
        let order = order(addresses.chain(rest).chain(later).collect());
        let sizes: Vec<_> = order.iter().map(Vec::len).collect();
        assert_eq!(sizes, [1, 2, 16, 4, 1, 1, 1], "{order:?}");
        assert_eq!(order[..2], [vec![20], vec![50, 51]]);
        assert_eq!(order[2], (0..16).collect::<Vec<_>>());
        assert_eq!(order[4..], [vec![52], vec![54], vec![53]]);
    }

    #[test]
    fn no_family_waits_for_all_addresses_of_the_other() {
        let addresses = (0..20).map(|id| op(id, set(V4)));
        let of_v6 = (20..40).map(|id| op(id, set(V6)));
        let order = order(addresses.chain(of_v6).collect());
        assert_eq!(order[0], (0..8).chain(20..28).collect::<Vec<_>>());
        assert_eq!(order[1], (8..16).chain(28..36).collect::<Vec<_>>());
        assert_eq!(order[2], [16, 17, 18, 19, 36, 37, 38, 39]);
    }
}
