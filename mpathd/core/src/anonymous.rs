//! The anonymous group (behaviour file 5.9): interfaces outside of groups, each of them an island. They
//! are watched by their own addresses, and nothing is ever moved, added or set on them.
//!
//! Its members are seats: whoever comes takes one that is vacant, and leaves it when it goes.

use core::ops::Range;

use crate::config::{Datapath, TestAddress};
use crate::engine::Engine;
use crate::event::{Link, OwnAddress};
use crate::ids::Family;
use crate::member::Member;
use crate::message::Message;
use crate::reconcile::ATTACH_LATEST;
use crate::request::Request;
use crate::time::Instant;

impl Engine {
    pub(crate) fn is_stranger(&self, m: usize) -> bool {
        self.groups[self.group_of(m)].is_anonymous()
    }

    /// Members that share what they find: all of a group, but outside of groups each alone.
    pub(crate) fn circle(&self, m: usize) -> Range<usize> {
        if self.is_stranger(m) { m..m + 1 } else { self.groups[self.group_of(m)].members.clone() }
    }

    /// A seat for an interface outside of groups, if those are watched and one is vacant.
    pub(crate) fn seat(&mut self, link: &Link) -> Option<usize> {
        let group = self.groups.iter().find(|g| g.is_anonymous())?;
        if !link.may_be_watched() {
            return None;
        }
        let mut seats = group.members.clone();
        let watched = seats.len();
        let Some(m) = seats.find(|m| self.members[*m].link.is_none()) else {
            if !core::mem::replace(&mut self.crowded, true) {
                let interface = link.name;
                self.out.message(Message::Crowded { interface, watched });
            }
            return None;
        };
        self.members[m].config.name = link.name;
        Some(m)
    }

    /// It is not watched any more; the seat is as if nobody had sat there.
    pub(crate) fn vacate(&mut self, m: usize) {
        for i in 0..Family::ALL.len() {
            for n in 0..self.members[m].instances[i].paths.len() {
                self.close_path(m, i, n);
            }
        }
        let (g, position) = (self.group_of(m), self.position(m));
        let Member { id, group, .. } = self.members[m];
        let config = &self.config.groups[g];
        self.members[m] = Member::new(id, group, config.members[position].clone(), config.fdt);
    }

    /// An address of the interface's own serves as its test address.
    pub(crate) fn own_address(&mut self, own: OwnAddress) {
        let Some(m) = self.member_at(own.ifindex).filter(|m| self.is_stranger(*m)) else { return };
        let family = own.family as usize;
        let test = own.address.map(|net| match own.family {
            Family::Inet => TestAddress::Static(net),
            Family::Inet6 => TestAddress::LinkLocal,
        });
        let member = &mut self.members[m];
        if member.config.test[family] == test
            && member.instances[family].test == own.address.map(|net| net.address)
        {
            return;
        }
        member.config.test[family] = test;
        member.instances[family].claim = None;
        member.instances[family].stop();
        member.instances[family].test = own.address.map(|net| net.address);
        if test.is_none() {
            (member.instances[family].failure, member.instances[family].replied) = (None, false);
        }
        self.retarget(m, own.family);
    }

    /// Sockets only: a hook would be something added to it, and may reset its link. After everything
    /// that groups need.
    pub(crate) fn wish_watched(&self, m: usize, now: Instant) -> Option<Request> {
        let member = &self.members[m];
        let started = self.started.unwrap_or(now);
        let is_turn = self.is_settled(now) || now.since(started) >= ATTACH_LATEST;
        let link = member.link.filter(|_| member.needs_hook() && is_turn)?;
        Some(Request::Attach {
            ifindex: link.ifindex,
            name: link.name,
            datapath: Datapath::Socket,
            consume_replies: false,
            bypassed: false,
        })
    }
}
