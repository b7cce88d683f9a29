//! Address conflicts: another host answers for an address of ours. A conflict is believed when two
//! questions of our own have been answered (RFC 5227 2.1.1, RFC 4862 5.4): an unasked ARP reply or
//! neighbour advertisement proves nothing, since anybody can send one, or a stale one may be repeated.

use core::time::Duration;

use crate::time::Instant;

/// A conflict ends when nobody has answered for so long. While it lasts, the netlink thread asks every 20 s.
const HOLDS: Duration = Duration::from_secs(50);
/// All answers to one question are reported together; those to the next one come later than this.
const ONE_QUESTION: Duration = Duration::from_millis(100);

/// What is known of another host that answers for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    mac: [u8; 6],
    /// When `mac` answered last.
    heard: Instant,
    /// When a question was answered last, by whomever.
    answered: Instant,
    believed: bool,
}

impl Claim {
    /// A question has been answered by `mac`. Returns `true` if the administrator should be told: the
    /// conflict is believed from now on, or it is with another host than before.
    pub fn answered(claim: &mut Option<Self>, mac: [u8; 6], now: Instant) -> bool {
        let new = Self { mac, heard: now, answered: now, believed: false };
        let Some(known) = claim else {
            *claim = Some(new);
            return false;
        };
        let before = *known;
        let again = now.since(before.answered) >= ONE_QUESTION;
        known.answered = now;
        if mac == before.mac {
            known.heard = now;
        }
        // Of several hosts the same one is named as long as it answers.
        let other = mac != before.mac && now.since(before.heard) >= HOLDS / 2;
        if before.believed && other {
            *known = Self { believed: true, ..new };
            return true;
        }
        known.believed |= again;
        known.believed && !before.believed
    }

    /// The other host's MAC, once the conflict is believed.
    pub fn mac(&self) -> Option<[u8; 6]> {
        self.believed.then_some(self.mac)
    }

    /// When it is over unless another question is answered.
    pub fn ends_at(&self) -> Instant {
        self.answered + HOLDS
    }

    /// Forgets a claim that is over. Returns `true` if it was believed.
    pub fn end(claim: &mut Option<Self>, now: Instant) -> bool {
        let over = claim.filter(|claim| claim.ends_at() <= now);
        if over.is_some() {
            *claim = None;
        }
        over.is_some_and(|claim| claim.believed)
    }
}

/// The MAC of the host that an address is in conflict with, if there is one.
pub fn conflict(claim: Option<Claim>) -> Option<[u8; 6]> {
    claim.and_then(|claim| claim.mac())
}
