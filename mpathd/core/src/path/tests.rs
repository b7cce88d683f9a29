use super::*;

const T: Duration = Duration::from_millis(10);

fn at(ms: u64) -> Instant {
    Instant(ms * 1_000_000)
}

/// A path that sent one probe every `T` from 0 ms on, with the fate of each.
fn sent(fates: &[Fate]) -> (Path, Vec<Seq>) {
    let mut path = Path::new();
    path.rtt.take(Duration::from_millis(1), T);
    let mut seqs = Vec::new();
    for (i, fate) in fates.iter().enumerate() {
        let now = at(i as u64 * 10);
        let seq = path.next_probe(i as u64, now);
        path.sent(seq, now, *fate);
        seqs.push(seq);
    }
    (path, seqs)
}

fn expire(path: &mut Path, now: Instant) -> usize {
    let mut lost = 0;
    path.expire(now, T, |_| lost += 1);
    lost
}

extern crate std;
use alloc::vec::Vec;

/// Behaviour 41.
#[test]
fn a_probe_is_lost_after_the_rtt_that_is_known() {
    let (mut path, _) = sent(&[Fate::Left]);
    assert_eq!(path.limit(T), Duration::from_millis(3));
    assert_eq!((expire(&mut path, Instant(2_999_999)), expire(&mut path, at(3))), (0, 1));
}

/// Behaviour 42.
#[test]
fn a_probe_is_lost_after_an_interval_where_no_rtt_is_known() {
    let mut path = Path::new();
    let seq = path.next_probe(0, at(0));
    path.sent(seq, at(0), Fate::Left);
    assert_eq!((expire(&mut path, Instant(9_999_999)), expire(&mut path, at(10))), (0, 1));
}

/// Behaviour 38.
#[test]
fn only_what_left_can_be_lost() {
    let (mut path, _) = sent(&[Fate::Left, Fate::Refused, Fate::Waiting, Fate::Left]);
    assert_eq!(expire(&mut path, at(1000)), 2);
    assert_eq!(path.losses(), 2);
}

/// Behaviours 34, 36.
#[test]
fn a_late_reply_turns_lost_into_answered() {
    let (mut path, seqs) = sent(&[Fate::Left; 5]);
    expire(&mut path, at(1000));
    assert_eq!((path.losses(), path.lost), (5, 5));
    assert!(path.reply(seqs[2], at(1001), T).is_some());
    assert_eq!((path.losses(), path.lost, path.acked), (2, 4, 1));
    assert!(path.reply(seqs[2], at(1002), T).is_none(), "a duplicate counts once");
}

#[test]
fn the_time_in_a_queue_is_none_of_the_path() {
    let (mut path, seqs) = sent(&[Fate::Waiting; 2]);
    let before = path.rtt.srtt;
    path.reply(seqs[0], at(3000), T).unwrap();
    assert_eq!(path.rtt.srtt, before, "when it left is not known");
    path.left(seqs[1], at(2999)).unwrap();
    path.reply(seqs[1], at(3000), T).unwrap();
    assert_eq!(path.rtt.srtt, before, "it took 1 ms, as the first");
}

#[test]
fn any_answer_resets_the_run() {
    let (mut path, seqs) = sent(&[Fate::Left; 6]);
    path.reply(seqs[5], at(51), T).unwrap();
    expire(&mut path, at(1000));
    assert_eq!(path.losses(), 0);
}

#[test]
fn the_verdict_is_due_when_the_fifth_is() {
    let (mut path, _) = sent(&[Fate::Left; 5]);
    expire(&mut path, at(39));
    // srtt 1 ms, rttvar 0.5 ms: 3 ms for each.
    assert_eq!(path.verdict_due(5, T), Some(at(43)));
    expire(&mut path, at(43));
    let run = Run { first: at(0), fourth: at(30), due: at(43) };
    assert_eq!((path.losses(), path.run(5, None, T), path.run(6, None, T)), (5, Some(run), None));
    assert_eq!(path.verdict_due(5, T), None);
}

#[test]
fn the_verdict_is_not_due_before_the_fifth_is_sent() {
    let (path, _) = sent(&[Fate::Left; 4]);
    assert_eq!(path.verdict_due(5, T), None);
    assert_eq!(path.verdict_due(4, T), Some(at(33)));
}

#[test]
fn a_mac_told_is_neither_loss_nor_proof() {
    let (mut path, seqs) = sent(&[Fate::Resolving; 5]);
    path.resolved(seqs[3]);
    expire(&mut path, at(1000));
    assert_eq!(path.losses(), 1);
    assert_eq!(path.acked, 0);
    assert!(!path.proven);
}

#[test]
fn a_waiting_probe_counts_from_the_moment_it_leaves() {
    let (mut path, seqs) = sent(&[Fate::Waiting]);
    assert_eq!(expire(&mut path, at(900)), 0);
    assert_eq!(path.left(seqs[0], at(900)), Some(0));
    assert_eq!(expire(&mut path, at(902)), 0);
    assert_eq!(expire(&mut path, at(903)), 1);
}

#[test]
fn the_ring_overwrites_the_oldest_only() {
    let (mut path, seqs) = sent(&[Fate::Left; RING + 8]);
    assert!(path.reply(seqs[7], at(5000), T).is_none(), "too old");
    assert!(path.reply(seqs[8], at(5000), T).is_some());
}

#[test]
fn a_dead_target_counts_again_after_five_answers() {
    let (mut path, seqs) = sent(&[Fate::Left; 5]);
    path.key = None;
    path.dead = true;
    for seq in &seqs[..4] {
        path.reply(*seq, at(60), T);
    }
    assert!(path.dead);
    path.reply(seqs[4], at(61), T);
    assert!(!path.dead);
}

/// One loss more, where our own lateness asks for it, is still in the ring when its time is over.
#[test]
fn the_ring_has_room_for_a_verdict_however_long_a_reply_is_waited_for() {
    let mut path = Path::new();
    (0..2).for_each(|_| path.rtt.take(Duration::from_secs(1), T));
    assert_eq!(path.limit(T), T * LONGEST_WAIT);
    let needed = path.most_losses(T) + 1;
    assert!(needed > LOSSES_TO_FAIL);
    let found = (0..200).any(|n| {
        let seq = path.next_probe(n, at(n * 10));
        path.sent(seq, at(n * 10), Fate::Left);
        expire(&mut path, at(n * 10));
        path.run(needed, None, T).is_some()
    });
    assert!(found, "{needed} losses");
}
