//! The first announcement of an address that is to leave a dead NIC: by the next one at the verdict, ahead of
//! the kernel's setting it there, which can wait for RTNL. What neighbours then send is taken, for an address
//! is this host's whatever NIC it stands on (weak host model). Its repeats are those of the announcement when
//! the address stands.

use core::time::Duration;

use crate::engine::Engine;
use crate::ids::Family;
use crate::placement::Rank;
use crate::request::{Action, Herald, Peers};
use crate::time::Instant;

/// Of a group and family at one time: each is some frames, and rounds wait for them.
const AT_ONCE: usize = 8;
/// The next follow after this, if the kernel has not set them meanwhile.
const PAUSE: Duration = Duration::from_millis(1);

impl Engine {
    /// After the placement and the redirects: each once. The first of a family, which most routes have as their
    /// source, then the last first, for the kernel begins with the first. Gateways and targets are told in person
    /// where all else moves at the verdict too.
    pub(crate) fn herald(&mut self, g: usize, now: Instant) {
        let Self { groups, members, addresses, out, .. } = self;
        let group = &mut groups[g];
        let members = &members[group.members.clone()];
        let all = group.addresses.clone();
        let first = |family| all.clone().find(|k| addresses[*k].net.family() == family);
        let sources = Family::ALL.map(first);
        let mut counts = [0; 2];
        for k in sources.into_iter().flatten().chain(all.rev()) {
            let address = &mut addresses[k];
            let family = address.net.family() as usize;
            let ranks = &group.standing.ranks[family];
            let leaves = (0..members.len()).any(|p| address.on.contains(p) && ranks[p].is_dead());
            let works = |h: &usize| {
                let rank = ranks[*h];
                !address.on.contains(*h) && (rank.carries() || rank == Rank::StandIn)
            };
            let next = address.holder.filter(|_| leaves).filter(works);
            let ifindex = next.and_then(|h| members[h].ifindex());
            match ifindex.filter(|_| address.heralded != next) {
                Some(_) if counts[family] == AT_ONCE => group.judge_again(now + PAUSE),
                Some(ifindex) => {
                    let redirects = members.iter().any(|m| m.redirected[family].is_some());
                    let peers = if redirects { group.peers[family] } else { Peers::default() };
                    out.push(Action::Herald(Herald {
                        ifindex,
                        address: address.net.address,
                        peers,
                    }));
                    address.heralded = next;
                    counts[family] += 1;
                }
                None => address.heralded = next,
            }
        }
    }
}
