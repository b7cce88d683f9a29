//! What the demo is drawn on: a terminal with line-drawing characters and colours, a plain one, or a file.
//! Everything is written once, with Unicode, and brought down to ASCII here where that is all there is.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::time::Duration;

/// Narrower terminals wrap: the tables of `ipmpstat` need this much too.
const NARROW: usize = 80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    Plain,
    Strong,
    Faint,
    Good,
    Bad,
    /// What is done to the network, and when.
    Deed,
}

impl Ink {
    /// Parameters of SGR, ECMA-48 8.3.117.
    fn sgr(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Strong => "1",
            Self::Faint => "2",
            Self::Good => "1;32",
            Self::Bad => "1;31",
            Self::Deed => "1;33",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Paper {
    unicode: bool,
    colour: bool,
    /// Somebody reads along.
    live: bool,
    width: usize,
}

impl Paper {
    /// As standard output and the environment allow: ASCII in a file, with TERM=dumb and without a UTF-8
    /// locale; no colours there, nor with NO_COLOR.
    pub fn on_stdout() -> Self {
        let live = std::io::stdout().is_terminal();
        Self::with(live, |name| std::env::var_os(name), if live { columns() } else { None })
    }

    fn with(live: bool, env: impl Fn(&str) -> Option<OsString>, width: Option<usize>) -> Self {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let drawing = live && set("TERM").is_some_and(|term| term != "dumb");
        // locale(7): the first that is set counts.
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
        let locale = locale.to_string_lossy().to_uppercase();
        Self {
            unicode: drawing && (locale.contains("UTF-8") || locale.contains("UTF8")),
            // no-color.org
            colour: drawing && set("NO_COLOR").is_none(),
            live,
            width: width.unwrap_or(NARROW).max(NARROW),
        }
    }

    /// Columns, 80 at the least.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Time to read what stands there, if anybody does.
    pub fn pause(&self, time: Duration) {
        if self.live {
            std::thread::sleep(time);
        }
    }

    /// The text in this colour. To be measured and padded before, for the colour counts as characters.
    pub fn ink(&self, ink: Ink, text: &str) -> String {
        if self.colour && ink != Ink::Plain && !text.is_empty() {
            format!("\x1b[{}m{text}\x1b[0m", ink.sgr())
        } else {
            text.to_owned()
        }
    }

    pub fn line(&self, text: &str) {
        println!("{}", self.down(text).trim_end());
    }

    /// The head of a part.
    pub fn heading(&self, text: &str) {
        let rule = NARROW - 2 - text.chars().count() - 4;
        let (text, rule) = (self.ink(Ink::Strong, text), self.ink(Ink::Faint, &"─".repeat(rule)));
        println!();
        self.line(&format!("{} {text} {rule}", self.ink(Ink::Faint, "──")));
    }

    /// A command with what it said.
    pub fn command(&self, command: &str, said: &str) {
        self.line(&format!("  {}", self.ink(Ink::Strong, &format!("# {command}"))));
        for line in said.lines() {
            self.line(&format!("  {}", self.ink(state_ink(line), line)));
        }
    }

    /// Lines in a frame as wide as a narrow terminal.
    pub fn boxed(&self, ink: Ink, lines: &[(Ink, String)]) {
        let inside = NARROW - 4;
        let edge = |text: String| self.line(&self.ink(ink, &text));
        edge(format!("┌{}┐", "─".repeat(inside)));
        for (of_line, text) in lines {
            let text = self.ink(*of_line, &format!(" {text:<0$}", inside - 1));
            let side = self.ink(ink, "│");
            self.line(&format!("{side}{text}{side}"));
        }
        edge(format!("└{}┘", "─".repeat(inside)));
    }

    fn down(&self, text: &str) -> String {
        if self.unicode { text.to_owned() } else { text.chars().map(ascii).collect() }
    }
}

/// Rows of `ipmpstat` that are not as they should be.
fn state_ink(row: &str) -> Ink {
    let words: Vec<&str> = row.split_whitespace().collect();
    if words.contains(&"failed") {
        Ink::Bad
    } else if words.contains(&"degraded") {
        Ink::Deed
    } else {
        Ink::Plain
    }
}

fn ascii(character: char) -> char {
    match character {
        '─' | '━' => '-',
        '│' => '|',
        '┌' | '┐' | '└' | '┘' | '├' | '┤' | '┬' | '┴' | '┼' => '+',
        '█' => '#',
        '·' => '.',
        '●' => 'o',
        '×' => 'x',
        '▲' => '^',
        other => other,
    }
}

fn columns() -> Option<usize> {
    nix::ioctl_read_bad!(window_size, libc::TIOCGWINSZ, libc::winsize);
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the structure is the one that TIOCGWINSZ writes, and lives through the call.
    unsafe { window_size(libc::STDOUT_FILENO, &raw mut size) }.ok()?;
    // A terminal that does not know says 0.
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paper(live: bool, environment: &[(&str, &str)]) -> (bool, bool) {
        let env = |name: &str| {
            environment.iter().find(|(it, _)| *it == name).map(|(_, value)| value.into())
        };
        let paper = Paper::with(live, env, None);
        (paper.unicode, paper.colour)
    }

    #[test]
    fn unicode_and_colour_only_where_they_can_be_shown() {
        let full = [("TERM", "xterm"), ("LANG", "C.UTF-8")];
        assert_eq!(paper(true, &full), (true, true));
        assert_eq!(paper(false, &full), (false, false), "a file");
        assert_eq!(paper(true, &[full[0], ("LANG", "C")]), (false, true));
        assert_eq!(paper(true, &[full[0], full[1], ("LC_ALL", "POSIX")]), (false, true));
        assert_eq!(paper(true, &[("TERM", "dumb"), full[1]]), (false, false));
        assert_eq!(paper(true, &[full[0], full[1], ("NO_COLOR", "1")]), (true, false));
        assert_eq!(paper(true, &[full[0], full[1], ("NO_COLOR", "")]), (true, true));
    }

    #[test]
    fn all_that_is_drawn_has_an_ascii_form() {
        let drawn: String = "─│┌┐└┘├┤┬┴┼█·●×▲".chars().map(ascii).collect();
        assert!(drawn.is_ascii(), "{drawn}");
    }
}
