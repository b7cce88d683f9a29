//! The judgement, from figures alone: what was promised, what was measured, and whether that is enough.

use std::time::Duration;

use crate::clock::Nanos;
use crate::traffic::Report;

/// What a shared machine may add to a measurement; reported apart, and never to the daemon's credit.
pub const TOLERANCE: Duration = Duration::from_millis(10);

/// What the demo is judged by.
#[derive(Clone, Debug)]
pub struct Figures {
    pub fdt: Duration,
    pub moves: Vec<Move>,
    pub flows: Vec<FlowEnd>,
}

/// A data address on its way to the other NIC; times from the cut.
#[derive(Clone, Copy, Debug)]
pub struct Move {
    pub address: &'static str,
    pub decided: Duration,
    pub stood: Duration,
}

/// How a stream ended.
#[derive(Clone, Debug, Default)]
pub struct FlowEnd {
    pub name: &'static str,
    pub is_tcp: bool,
    pub sent: u64,
    /// Without an answer: sent before the path was mended, and after.
    pub lost: [u64; 2],
    /// Something that was sent after the path was mended has been answered.
    pub alive: bool,
    pub broken: Option<String>,
}

impl FlowEnd {
    /// Of a finished stream.
    pub fn of(name: &'static str, is_tcp: bool, report: &Report, mend: Nanos) -> Self {
        let first_after = report.echoes.iter().find(|echo| echo.sent >= mend);
        let sent_before = first_after.map_or(report.sent, |echo| echo.sequence);
        let before = report.echoes.iter().filter(|echo| echo.sequence < sent_before).count() as u64;
        let lost_before = sent_before.saturating_sub(before);
        Self {
            name,
            is_tcp,
            sent: report.sent,
            lost: [lost_before, report.unanswered().saturating_sub(lost_before)],
            alive: first_after.is_some(),
            broken: report.broken.clone(),
        }
    }

    fn all_lost(&self) -> u64 {
        self.lost.iter().sum()
    }

    fn is_whole(&self) -> bool {
        self.broken.is_none() && self.alive && self.all_lost() == 0
    }
}

/// A sentence, and whether it is as promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub good: bool,
    pub text: String,
}

pub fn judge(figures: &Figures) -> Vec<Finding> {
    let moves = figures.moves.iter().flat_map(|it| moved(it, figures.fdt));
    let ends = figures.flows.iter().filter_map(ended);
    moves.chain(ends).chain([connections(&figures.flows), datagrams(&figures.flows)]).collect()
}

/// Whether it came in time and, if not though it was decided in time, where the time went.
fn moved(it: &Move, fdt: Duration) -> Vec<Finding> {
    let (address, limit) = (it.address, fdt.as_millis());
    let good = it.stood <= fdt + TOLERANCE;
    let within = if it.stood <= fdt {
        format!("within {limit} ms")
    } else if good {
        format!("within {limit} + {} ms tolerance", TOLERANCE.as_millis())
    } else {
        format!("NOT within {limit} ms")
    };
    let text = format!("{address} moved {:.1} ms after the cut, {within}", ms(it.stood));
    let mut findings = vec![Finding { good, text }];
    if !good && it.decided <= fdt {
        let (decided, took) = (ms(it.decided), ms(it.stood.saturating_sub(it.decided)));
        let text = format!(
            "decided after {decided:.0} ms, but the kernel took {took:.0} ms: RTNL held by others?"
        );
        findings.push(Finding { good, text });
    }
    findings
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

/// What is wrong with a stream.
fn ended(flow: &FlowEnd) -> Option<Finding> {
    let name = flow.name;
    let text = match &flow.broken {
        Some(reason) => format!("{name} is broken: {reason}"),
        None if !flow.alive => format!("{name} has not come back"),
        None if flow.is_tcp && flow.all_lost() > 0 => {
            format!("{name}: {} messages have no answer", flow.all_lost())
        }
        None => return None,
    };
    Some(Finding { good: false, text })
}

fn connections(flows: &[FlowEnd]) -> Finding {
    let tcp: Vec<&FlowEnd> = flows.iter().filter(|flow| flow.is_tcp).collect();
    let whole = tcp.iter().filter(|flow| flow.is_whole()).count();
    let messages: u64 = tcp.iter().map(|flow| flow.sent).sum();
    let all = tcp.len();
    let text = if whole == all {
        format!("{all} of {all} TCP connections unbroken, {messages} messages, all answered")
    } else {
        format!("{whole} of {all} TCP connections unbroken")
    };
    Finding { good: whole == all, text }
}

/// Datagrams that are sent into a dead path are lost: told, and no fault.
fn datagrams(flows: &[FlowEnd]) -> Finding {
    let udp = || flows.iter().filter(|flow| !flow.is_tcp);
    let sent: u64 = udp().map(|flow| flow.sent).sum();
    let lost = [0, 1].map(|part| udp().map(|flow| flow.lost[part]).sum::<u64>());
    let text =
        format!("UDP: {} of {sent} datagrams lost by the cut, {} by the return", lost[0], lost[1]);
    Finding { good: true, text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::Echo;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn flow(is_tcp: bool) -> FlowEnd {
        FlowEnd { name: "flow", is_tcp, sent: 100, alive: true, ..FlowEnd::default() }
    }

    fn is_good(took: Duration, flows: Vec<FlowEnd>) -> bool {
        let moves = vec![Move { address: "192.0.2.50", decided: MS(80), stood: took }];
        judge(&Figures { fdt: MS(100), moves, flows }).iter().all(|finding| finding.good)
    }

    #[test]
    fn the_move_has_to_come_within_the_detection_time_and_the_tolerance() {
        assert!(is_good(MS(84), vec![flow(true)]));
        assert!(is_good(MS(110), vec![flow(true)]));
        assert!(!is_good(MS(111), vec![flow(true)]));
    }

    #[test]
    fn a_late_move_is_told_apart_from_a_late_verdict() {
        let it =
            |decided, stood| Move { address: "192.0.2.50", decided: MS(decided), stood: MS(stood) };
        assert_eq!(moved(&it(80, 84), MS(100)).len(), 1);
        assert_eq!(moved(&it(480, 484), MS(100)).len(), 1);
        let told = moved(&it(80, 484), MS(100));
        assert!(
            told[1].text.contains("after 80 ms") && told[1].text.contains("404 ms"),
            "{told:?}"
        );
    }

    #[test]
    fn a_connection_that_broke_or_fell_silent_is_a_failure() {
        let reset = Some("read: reset".to_owned());
        assert!(!is_good(MS(80), vec![FlowEnd { broken: reset, ..flow(true) }]));
        assert!(!is_good(MS(80), vec![FlowEnd { lost: [0, 1], ..flow(true) }]));
        assert!(!is_good(MS(80), vec![FlowEnd { alive: false, ..flow(true) }]));
        assert!(!is_good(MS(80), vec![FlowEnd { alive: false, ..flow(false) }]));
    }

    #[test]
    fn lost_datagrams_are_none() {
        let lost = FlowEnd { lost: [43, 0], ..flow(false) };
        assert!(is_good(MS(80), vec![flow(true), lost]));
    }

    #[test]
    fn losses_are_told_apart_by_the_mending() {
        let echo = |sequence, sent| Echo { sequence, sent, answered: sent + 1 };
        // 1 and 2 are lost before 40, and 5 after.
        let echoes = vec![echo(0, 0), echo(3, 30), echo(4, 40), echo(6, 60)];
        let report = Report { sent: 7, echoes, ..Report::default() };
        let end = FlowEnd::of("flow", false, &report, 40);
        assert_eq!((end.lost, end.alive), ([2, 1], true));
        let end = FlowEnd::of("flow", false, &report, 61);
        assert_eq!((end.lost, end.alive), ([3, 0], false));
    }
}
