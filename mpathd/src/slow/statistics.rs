//! USR1: what was sent and what came back, in lines for the log.

use mpathd_common::abi::Outcome;
use mpathd_core::histogram::Histogram;

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
    let machine = snapshot.machine;
    let delays = [
        ("lateness of a wake-up", Some(late.wakes)),
        ("time of a request", Some(late.requests)),
        ("waited for a CPU in a second", machine.cpu_wait),
        ("steal in a second", machine.steal),
        ("interrupts in a second", machine.interrupts),
    ];
    let delays = delays.iter().map(|(what, histogram)| delay(what, histogram.as_ref()));
    instances.chain(snapshot.counts.iter().filter_map(odd)).chain([own]).chain(delays).collect()
}

fn delay(what: &str, histogram: Option<&Histogram>) -> String {
    let Some(histogram) = histogram else {
        return format!("statistics: {what}: this kernel does not tell");
    };
    let ms = |per_mille| histogram.quantile(per_mille).unwrap_or_default().as_secs_f64() * 1e3;
    let [p50, p99, p999, max] = [500, 990, 999, 1000].map(ms);
    let count = histogram.count();
    format!(
        "statistics: {what}: p50 {p50:.3} ms, p99 {p99:.3} ms, p99.9 {p999:.3} ms, max {max:.3} ms of \
         {count}"
    )
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
    use std::time::Duration;

    use mpathd_core::time::Instant;

    use super::super::sample;
    use super::*;

    #[test]
    fn the_targets_of_an_instance_are_summed() {
        let lines = lines(&Snapshot { view: sample::view(), ..Snapshot::default() });
        assert_eq!(
            lines[0],
            "statistics: eth0 inet: 200 probes sent, 190 answered, 10 lost, 2 rounds missed"
        );
        assert!(lines[1].contains("rounds missed in all"), "{}", lines[1]);
    }

    #[test]
    fn what_the_kernel_does_not_tell_is_said() {
        let mut snapshot = sample::snapshot();
        snapshot.machine.steal.as_mut().unwrap().record(Duration::from_millis(40), Instant(1));
        let told = lines(&snapshot);
        let steal = "statistics: steal in a second: p50 40.000 ms, p99 40.000 ms, p99.9 40.000 ms, \
                     max 40.000 ms of 1";
        assert!(told.iter().any(|line| line == steal), "{told:#?}");
        let unknown = "statistics: waited for a CPU in a second: this kernel does not tell";
        assert!(told.iter().any(|line| line == unknown), "{told:#?}");
    }

    #[test]
    fn odd_replies_are_told_by_kind_and_others_are_not() {
        let mut snapshot = sample::snapshot();
        let told = |snapshot: &Snapshot| lines(snapshot)[1].clone();
        let expected = "statistics: eth0 192.0.2.1: of the replies 3 forged, 1 duplicate";
        assert_eq!(told(&snapshot), expected);
        snapshot.counts[0].outcomes.insert("wrong_nic".to_owned(), 2);
        assert!(told(&snapshot).ends_with("3 forged, 2 on another interface, 1 duplicate"));
        let odd = lines(&snapshot).iter().filter(|line| line.contains("of the replies")).count();
        assert_eq!(odd, 1, "192.0.2.2 has nothing odd");
    }
}
