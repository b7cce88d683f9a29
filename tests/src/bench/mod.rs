//! The benchmark: one section for each question, each in namespaces of its own, its text, tables, plots and raw
//! data in `docs/performance.md` and beside it, with the conditions they were taken under.
//!
//! A new section is a module with `run(&Plan, &mut Report)` and a line in [`SECTIONS`].

mod blackout;
mod cost;
mod detection;
mod evidence;
mod fping;
mod leftover;
mod peers;
mod plan;
mod redirect;
pub mod report;
mod rtt;
mod scale;
mod steadiness;
mod threads;

pub use plan::Plan;
pub use report::Report;

/// A part of the benchmark that can be run, and is renewed, alone.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    pub name: &'static str,
    pub title: &'static str,
    /// Panics where it cannot go on: the page then says so, and shows what there was.
    run: fn(&Plan, &mut Report),
}

/// In the order of the page.
pub const SECTIONS: &[Section] = &[
    Section { name: "detection", title: "Detection", run: detection::run },
    Section { name: "blackout", title: "What clients notice", run: blackout::run },
    Section { name: "steadiness", title: "No failover without a failure", run: steadiness::run },
    Section { name: "redirect", title: "While RTNL is held", run: redirect::run },
    Section { name: "evidence", title: "Failures by chance", run: evidence::run },
    Section { name: "peers", title: "Side by side", run: peers::run },
    Section { name: "cost", title: "Cost", run: cost::run },
    Section { name: "scale", title: "Many NICs", run: scale::run },
    Section { name: "rtt", title: "True round-trip times", run: rtt::run },
];

impl Section {
    pub fn named(name: &str) -> Option<&'static Self> {
        SECTIONS.iter().find(|it| it.name == name)
    }

    /// Measures, prints, and renews this section's part of the page. Whether all claims were kept.
    pub fn measure(&self, plan: &Plan) -> bool {
        let mut report = Report::open(self, plan);
        (self.run)(plan, &mut report);
        report.close()
    }
}
