//! USR1: what was sent and what came back, in lines for the log.

use mpathd_common::abi::Outcome;

use super::counts::{Snapshot, TargetCounts};

pub(super) fn lines(snapshot: &Snapshot) -> Vec<String> {
    let view = &snapshot.view;
    let instances = view.instances.iter().map(|instance| {
        let rows = view
            .targets
            .iter()
            .filter(|row| (row.interface, row.family) == (instance.interface, instance.family));
        let (sent, acked, lost) = rows.fold((0, 0, 0), |(sent, acked, lost), row| {
            (sent + row.sent, acked + row.acked, lost + row.lost)
        });
        format!(
            "statistics: {} {}: {sent} probes sent, {acked} answered, {lost} lost, \
             {} rounds missed",
            instance.interface, instance.family, instance.rounds_missed
        )
    });
    let late = view.lateness;
    let own = format!(
        "statistics: this host ran mpathd {:.1} ms late at most, {} rounds missed in all; \
         longest request {:.1} ms",
        late.max.as_secs_f64() * 1e3,
        late.rounds_missed,
        late.request_max.as_secs_f64() * 1e3
    );
    instances.chain(snapshot.counts.iter().filter_map(odd)).chain([own]).collect()
}

/// Replies that are not as they should be, where there are any.
fn odd(counts: &TargetCounts) -> Option<String> {
    let words = [
        (Outcome::Forged, "forged"),
        (Outcome::WrongNic, "on another interface"),
        (Outcome::Duplicate, "duplicate"),
    ];
    let kinds: Vec<_> = words
        .into_iter()
        .map(|(outcome, words)| (counts.count(outcome), words))
        .filter(|(count, _)| *count > 0)
        .map(|(count, words)| format!("{count} {words}"))
        .collect();
    let TargetCounts { interface, target, .. } = counts;
    (!kinds.is_empty())
        .then(|| format!("statistics: {interface} {target}: of the replies {}", kinds.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn the_targets_of_an_instance_are_summed() {
        let lines = lines(&Snapshot { view: sample::view(), ..Snapshot::default() });
        assert_eq!(
            lines[0],
            "statistics: eth0 inet: 200 probes sent, 190 answered, 10 lost, 2 rounds missed"
        );
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn odd_replies_are_told_by_kind_and_others_are_not() {
        let mut snapshot = sample::snapshot();
        let told = |snapshot: &Snapshot| lines(snapshot)[1].clone();
        let expected = "statistics: eth0 192.0.2.1: of the replies 3 forged, 1 duplicate";
        assert_eq!(told(&snapshot), expected);
        snapshot.counts[0].outcomes.insert("wrong_nic".to_owned(), 2);
        assert!(told(&snapshot).ends_with("3 forged, 2 on another interface, 1 duplicate"));
        assert_eq!(lines(&snapshot).len(), 3, "192.0.2.2 has nothing odd");
    }
}
