//! USR1: what was sent and what came back, in lines for the log.

use mpathd_core::view::View;

pub(super) fn lines(view: &View) -> Vec<String> {
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
    instances.chain([own]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn the_targets_of_an_instance_are_summed() {
        let lines = lines(&sample::view());
        assert_eq!(
            lines[0],
            "statistics: eth0 inet: 200 probes sent, 190 answered, 10 lost, 2 rounds missed"
        );
        assert_eq!(lines.len(), 2);
    }
}
