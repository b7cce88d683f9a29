//! What happened, on one axis of time: a row for the probes of each family, a row for what each client heard.

use std::time::Duration;

use super::instruments::Probe;
use super::paper::{Ink, Paper};
use crate::clock::{Nanos, nanos};
use crate::traffic::Report;

/// Time that one character stands for, in ms.
const CELL: i64 = 5;
/// Where the axis begins, in ms before the event.
const BEFORE: i64 = 50;
const LABEL: usize = 14;
/// Wider is no clearer.
const CELLS_AT_MOST: usize = 85;

/// An axis around the moment `at`.
#[derive(Clone, Copy, Debug)]
pub struct Strip {
    at: Nanos,
    cells: usize,
}

type Cell = (Ink, char);

impl Strip {
    pub fn new(paper: &Paper, at: Nanos) -> Self {
        Self { at, cells: cells(paper) }
    }

    /// How long after the event the axis ends.
    pub fn window(paper: &Paper) -> Duration {
        let ms = i64::try_from(cells(paper)).expect("few") * CELL - BEFORE;
        Duration::from_millis(ms.unsigned_abs())
    }

    /// What the signs mean, figures every 50 ms, and a line with ticks; `limit` is marked with an F.
    pub fn axis(&self, paper: &Paper, limit: Option<Duration>) {
        let of_limit = if limit.is_some() { "  F FDT" } else { "" };
        let signs =
            format!("  Probes ● answered × lost  V verdict{of_limit}   Clients █ hear · silence");
        paper.line(&paper.ink(Ink::Faint, &signs));
        let mut figures = vec![' '; self.cells + 4];
        let mut ticks: Vec<Cell> = vec![(Ink::Faint, '─'); self.cells];
        for ms in (-BEFORE..).step_by(50) {
            let Some(cell) = self.cell(ms * 1_000_000) else { break };
            let text = if ms > 0 { format!("+{ms}") } else { ms.to_string() };
            for (offset, character) in text.chars().enumerate() {
                figures[cell + offset] = character;
            }
            ticks[cell] = if ms == 0 { (Ink::Deed, '┼') } else { (Ink::Faint, '┴') };
        }
        if let Some(cell) = limit.and_then(|limit| self.cell(nanos(limit).cast_signed())) {
            ticks[cell] = (Ink::Deed, 'F');
        }
        let figures: String = figures.into_iter().collect();
        paper.line(&format!("{:LABEL$}{}", "  ms", figures));
        paper.line(&format!("{:LABEL$}{}", "", paint(paper, &ticks)));
    }

    /// ● answered, × unanswered; V in the first free place from the verdict on.
    pub fn probes(&self, paper: &Paper, label: &str, probes: &[Probe], verdict: Nanos) {
        let mut row = vec![(Ink::Plain, ' '); self.cells];
        for probe in probes {
            if let Some(cell) = self.cell_of(probe.at) {
                row[cell] = match probe.answered {
                    true => (Ink::Good, '●'),
                    false if probe.at < verdict => (Ink::Bad, '×'),
                    // It has been judged; what comes now is evidence for nothing.
                    false => (Ink::Faint, '×'),
                };
            }
        }
        if let Some(from) = self.cell_of(verdict)
            && let Some(free) = row[from..].iter_mut().find(|cell| cell.1 == ' ')
        {
            *free = (Ink::Deed, 'V');
        }
        self.row(paper, label, &row);
    }

    /// █ while answers come, · while none do.
    pub fn stream(&self, paper: &Paper, label: &str, report: &Report) {
        let answers = report.echoes.iter().map(|echo| echo.answered).chain([report.until]);
        let mut row = vec![(Ink::Good, '█'); self.cells];
        let mut last = report.begun;
        for answer in answers {
            // Less than two characters is the pace of the stream, not a silence.
            if answer.saturating_sub(last) >= 2 * nanos(Duration::from_millis(CELL.unsigned_abs()))
            {
                self.silence(&mut row, last, answer);
            }
            last = answer;
        }
        self.row(paper, label, &row);
    }

    /// Marks the characters that lie wholly between two answers.
    fn silence(&self, row: &mut [Cell], from: Nanos, to: Nanos) {
        for (index, cell) in row.iter_mut().enumerate() {
            let begin = (i64::try_from(index).expect("few") * CELL - BEFORE) * 1_000_000;
            let begin = self.at.saturating_add_signed(begin);
            let end = begin + CELL.unsigned_abs() * 1_000_000;
            if begin >= from && end <= to {
                *cell = (Ink::Bad, '·');
            }
        }
    }

    fn row(&self, paper: &Paper, label: &str, row: &[Cell]) {
        paper.line(&format!("  {label:0$}{1}", LABEL - 2, paint(paper, row)));
    }

    fn cell_of(&self, at: Nanos) -> Option<usize> {
        self.cell(at.wrapping_sub(self.at).cast_signed())
    }

    /// The character for so many ns after the event.
    fn cell(&self, after: i64) -> Option<usize> {
        let cell = (after + BEFORE * 1_000_000).div_euclid(CELL * 1_000_000);
        usize::try_from(cell).ok().filter(|cell| *cell < self.cells)
    }
}

fn cells(paper: &Paper) -> usize {
    (paper.width() - LABEL - 2).min(CELLS_AT_MOST)
}

/// One colour change for each run of equal ones.
fn paint(paper: &Paper, row: &[Cell]) -> String {
    let runs = row.chunk_by(|left, right| left.0 == right.0);
    runs.map(|run| paper.ink(run[0].0, &run.iter().map(|cell| cell.1).collect::<String>()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::Echo;

    const MS: Nanos = 1_000_000;

    #[test]
    fn a_silence_fills_the_characters_that_lie_in_it() {
        let strip = Strip { at: 100 * MS, cells: 20 };
        let answers = [50, 60, 88, 96, 100];
        let echo = |at: &Nanos| Echo { sequence: 0, sent: at * MS, answered: at * MS };
        let mut row = vec![(Ink::Good, '█'); 20];
        for pair in answers.map(|at| echo(&at).answered).windows(2) {
            strip.silence(&mut row, pair[0], pair[1]);
        }
        let drawn: String = row.iter().map(|cell| cell.1).collect();
        // 50 to 60 holds two characters of 5 ms, 60 to 88 five, 88 to 96 one, 96 to 100 none.
        assert_eq!(drawn, "·······█·███████████");
    }

    #[test]
    fn moments_outside_have_no_character() {
        let strip = Strip { at: 100 * MS, cells: 20 };
        let cells = [49, 50, 99, 100, 149, 150].map(|at| strip.cell_of(at * MS));
        assert_eq!(cells, [None, Some(0), Some(9), Some(10), Some(19), None]);
    }
}
