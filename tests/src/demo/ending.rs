//! How the demo ends before its end: the lab's functions panic where something fails, and people get one clear
//! line instead. The namespaces, and all that is in them, end with this process.

use std::panic::PanicHookInfo;
use std::sync::{Arc, OnceLock};

use crate::Daemon;

/// The daemon whose log is shown if something fails.
static DAEMON: OnceLock<Arc<Daemon>> = OnceLock::new();
/// Lines of its log that are shown.
const LINES: usize = 12;

/// From now on a panic ends the process with one line and exit code 1.
pub fn install() {
    std::panic::set_hook(Box::new(|info| {
        fail(&in_one_line(text(info)));
    }));
}

/// Shows the end of this daemon's log too.
pub fn with_log_of(daemon: &Arc<Daemon>) {
    DAEMON.get_or_init(|| Arc::clone(daemon));
}

/// Ends the process with exit code 1 and this line.
pub fn fail(line: &str) -> ! {
    eprintln!("demo: {line}");
    if let Some(daemon) = DAEMON.get() {
        let log = daemon.log();
        eprintln!("demo: the last lines of mpathd's log:");
        let last = log.iter().skip(log.len().saturating_sub(LINES));
        last.for_each(|line| eprintln!("  {}", line.text));
    }
    std::process::exit(1)
}

fn text<'a>(info: &'a PanicHookInfo<'_>) -> &'a str {
    info.payload_as_str().unwrap_or("an error without words")
}

/// The first line says what failed, the last two why: batches and logs stand in between.
fn in_one_line(text: &str) -> String {
    // `wait_for` adds the state that it saw last, for tests.
    let text = text.split_once("; last seen:").map_or(text, |(what, _)| what);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match &lines[..] {
        [] => "an error without words".to_owned(),
        [first, rest @ ..] => {
            let why = &rest[rest.len().saturating_sub(2)..];
            [&[*first], why].concat().join("; ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::in_one_line;

    #[test]
    fn one_line_says_what_failed_and_why() {
        let waited = "no READY=1 within 15s; last seen: (\n    [],\n)";
        assert_eq!(in_one_line(waited), "no READY=1 within 15s");
        let batch = "ip -batch\nlink add a\nlink add b\n: exit status: 1\nError: Unknown type.\nCommand failed -:1\n";
        assert_eq!(in_one_line(batch), "ip -batch; Error: Unknown type.; Command failed -:1");
        assert_eq!(in_one_line("cannot run ip"), "cannot run ip");
    }
}
