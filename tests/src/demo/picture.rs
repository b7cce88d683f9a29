//! The network in lines, and the tables of figures.

use serde_json::Value;

use super::instruments::{FAMILIES, Moved, Repaired};
use super::paper::{Ink, Paper};
use super::scene::{Scene, TARGETS};
use crate::clock::{Nanos, ms_between};

/// The lab. What is written here is what `lab` builds and `scene` configures.
pub fn network(paper: &Paper) {
    for row in [
        "   host                        switch      192.0.2.0/24 and 2001:db8::/64",
        "  ┌────────────────┐          ┌────────┐",
        "  │                │          │     p1 ├──── t1      .1    ::1    router ── far",
        "  │  mpathd   eth0 ├──────────┤ sw0 p2 ├──── t2      .2    ::2",
        "  │                │          │     p3 ├──── t3      .3    ::3",
        "  │           eth1 ├──────────┤ sw1 pc ├──── client  .100  ::100",
        "  └────────────────┘          └────────┘",
        "   data addresses .50 .51 ::50   test addresses eth0 .11 ::11, eth1 .12 ::12",
    ] {
        paper.line(row);
    }
}

/// Round trips in ms, a row for each path.
pub fn round_trips(paper: &Paper, scene: &Scene) {
    let (targets, interfaces) = (scene.json("-t"), scene.json("-i"));
    let rows = |of: &Value, name: &str| of[name].as_array().cloned().unwrap_or_default();
    let (targets, interfaces) = (rows(&targets, "targets"), rows(&interfaces, "interfaces"));
    let head = "  Round trips in ms          t1        t2        t3      replies received by";
    paper.line(&paper.ink(Ink::Faint, head));
    for nic in ["eth0", "eth1"] {
        let mode = interfaces.iter().find(|it| it["name"] == nic).map(|it| &it["receive"]);
        let mode = mode.and_then(Value::as_str).unwrap_or("?");
        for (family, name) in [("inet", FAMILIES[0]), ("inet6", FAMILIES[1])] {
            let path = targets.iter().filter(|it| it["interface"] == nic && it["family"] == family);
            let times = path.map(|it| match it["srtt_ns"].as_f64() {
                Some(ns) => format!("{:>10.3}", ns / 1e6),
                None => format!("{:>10}", "?"),
            });
            paper
                .line(&format!("  {nic}  {name}        {}      {mode}", times.collect::<String>()));
        }
    }
}

/// A row of the table: what happened, and when it did in each family.
fn row(paper: &Paper, ink: Ink, what: &str, when: [String; 2]) {
    let text = format!("  {what:<46}{:>14}{:>14}", when[0], when[1]);
    paper.line(&paper.ink(ink, &text));
}

fn after(from: Nanos, to: Option<Nanos>) -> String {
    to.map_or_else(|| "none".to_owned(), |to| format!("{:+.1}", ms_between(from, to)))
}

/// The log gives whole ms, rounded down.
fn after_whole(from: Nanos, to: Nanos) -> String {
    format!("{:+.0}  ", ms_between(from, to).floor())
}

fn head(paper: &Paper, what: &str, columns: [&str; 2]) {
    row(paper, Ink::Faint, what, columns.map(str::to_owned));
}

/// The failover of both families, in ms after the cut.
pub fn failover(paper: &Paper, cut: Nanos, nic: usize, moved: &[Moved; 2], carrier: bool) {
    let (from, to) = (format!("eth{nic}"), format!("eth{}", 1 - nic));
    let each = |of: &dyn Fn(&Moved) -> Option<Nanos>| {
        [&moved[0], &moved[1]].map(|family| after(cut, of(family)))
    };
    let both = |text: &str| [text.to_owned(), text.to_owned()];
    head(paper, "ms after the cut", [moved[0].address, moved[1].address]);
    let line = |ink, what: &str, when| row(paper, ink, what, when);
    line(Ink::Plain, &format!("last probe reply on {from}"), each(&|it| it.last_reply));
    line(Ink::Deed, &format!("CUT: switch port sw{nic} passes nothing"), both("0.0"));
    let carrier = if carrier { "up" } else { "down" };
    line(Ink::Plain, &format!("carrier of {from} after it"), both(carrier));
    line(Ink::Plain, "first probe that stays unanswered", each(&Moved::first_unanswered));
    let lost = [0, 1].map(|it| moved[it].unanswered().to_string());
    line(Ink::Plain, &format!("probes to each of {TARGETS} targets, none answered"), lost);
    let verdicts = [0, 1].map(|it| after_whole(cut, moved[it].verdict));
    line(Ink::Bad, &format!("VERDICT: {from} failed (log of mpathd)"), verdicts);
    line(Ink::Good, &format!("address added to {to} (kernel)"), each(&|it| Some(it.added)));
    line(Ink::Plain, "announcement on the client's wire", each(&|it| Some(it.announced)));
    line(
        Ink::Plain,
        &format!("address deleted from {from} (kernel)"),
        each(&|it| Some(it.deleted)),
    );
    line(Ink::Good, "first answer to the client", each(&|it| it.answered));
}

/// The repair and the return of an address, in ms after the mending.
pub fn repair(paper: &Paper, mend: Nanos, nic: usize, repaired: &Repaired) {
    let home = format!("eth{nic}");
    let returned = &repaired.returned;
    let own = usize::from(returned.address.contains(':'));
    let one = |at: Nanos| {
        let mut cells = [String::new(), String::new()];
        cells[own] = after(mend, Some(at));
        cells
    };
    head(paper, "ms after the mending", FAMILIES);
    let line = |ink, what: &str, when| row(paper, ink, what, when);
    line(
        Ink::Deed,
        &format!("MENDED: port sw{nic} passes frames again"),
        ["0.0", "0.0"].map(str::to_owned),
    );
    let replies = repaired.first_reply.map(|at| after(mend, at));
    line(Ink::Plain, &format!("first probe reply on {home}"), replies);
    let verdicts = repaired.verdict.map(|at| after_whole(mend, at));
    line(Ink::Good, &format!("VERDICT: {home} repaired (log of mpathd)"), verdicts);
    let address = returned.address;
    line(Ink::Good, &format!("{address} added to {home} (kernel)"), one(returned.added));
    line(Ink::Plain, "announcement on the client's wire", one(returned.announced));
    line(
        Ink::Plain,
        &format!("{address} deleted from eth{} (kernel)", 1 - nic),
        one(returned.deleted),
    );
}
