//! Where a record goes, and in which form.

use std::env;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mpathd_core::message::Severity;
use mpathd_core::time::Instant;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;
use serde_json::{Map, Value};

use super::Record;
use super::journal::Journal;

/// `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err(format!("{text}: neither text nor json")),
        }
    }
}

pub enum Sink {
    Journal(Journal),
    /// `<time> <severity> <text>`.
    Text(Box<dyn Write>),
    /// One object a line.
    Json(Box<dyn Write>),
}

impl Sink {
    /// The format asked for, on stderr; else the journal where stderr leads there, else text.
    pub fn open(format: Option<Format>) -> Self {
        match format {
            Some(Format::Json) => Sink::Json(Box::new(Unwaited(io::stderr()))),
            Some(Format::Text) => Sink::Text(Box::new(Unwaited(io::stderr()))),
            None if stderr_is_journal() => match Journal::open() {
                Ok(journal) => Sink::Journal(journal),
                Err(_) => Sink::Text(Box::new(Unwaited(io::stderr()))),
            },
            None => Sink::Text(Box::new(Unwaited(io::stderr()))),
        }
    }

    pub(super) fn write(&mut self, record: &Record) -> io::Result<()> {
        match self {
            Sink::Journal(journal) => journal.write(record),
            Sink::Text(out) => out.write_all(text(record).as_bytes()),
            Sink::Json(out) => out.write_all(json(record).as_bytes()),
        }
    }
}

/// Writes only where that does not block: a pipe that nobody reads, or a stopped terminal, costs lines, not
/// the watchdog's patience. The descriptor is shared with other programs, so it is not made non-blocking.
struct Unwaited<W>(W);

impl<W: Write + AsFd> Write for Unwaited<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A pipe that is writable has room for PIPE_BUF bytes (pipe(7)).
        let bytes = &bytes[..bytes.len().min(libc::PIPE_BUF)];
        let mut ready = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut ready, PollTimeout::ZERO) {
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            Ok(_) => self.0.write(bytes),
            Err(error) => Err(error.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// JOURNAL_STREAM holds device and inode of the journal's stream (systemd.exec(5)); a shell that
/// has redirected stderr inherits the variable, but not the file.
fn stderr_is_journal() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else { return false };
    let Ok(stat) = fstat(io::stderr()) else { return false };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

/// syslog(3)'s words.
pub(in crate::slow) fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "crit",
        Severity::Error => "err",
        Severity::Warning => "warning",
        Severity::Notice => "notice",
        Severity::Info => "info",
    }
}

fn text(record: &Record) -> String {
    let head = format!("{} {}", time(record.at), word(record.severity));
    let mut line = format!("{head} {}\n", record.text);
    if let Some(detail) = &record.detail {
        line.push_str(&format!("{head} {detail}\n"));
    }
    line
}

fn json(record: &Record) -> String {
    let mut object = Map::new();
    object.insert("time".to_owned(), time(record.at).into());
    object.insert("severity".to_owned(), word(record.severity).into());
    object.insert("message".to_owned(), record.text.as_str().into());
    for (name, value) in &record.fields {
        object.insert(name.to_ascii_lowercase(), value.clone());
    }
    format!("{}\n", Value::Object(object))
}

/// UTC, RFC 3339, of a moment on the monotonic clock.
pub(in crate::slow) fn time(at: Instant) -> String {
    let age = super::super::now().since(at);
    let wall = SystemTime::now().checked_sub(age).unwrap_or(UNIX_EPOCH);
    rfc3339(wall.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// UTC, with milliseconds.
pub fn rfc3339(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let mut text = String::with_capacity(24);
    let written = write!(
        text,
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since_epoch.subsec_millis()
    );
    debug_assert!(written.is_ok(), "a String takes everything");
    text
}

/// Gregorian date of a day since 1970-01-01, counted in years that begin in March, so that the leap
/// day comes last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since 0000-03-01
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_pipe_that_nobody_reads_blocks_nobody() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut out = Unwaited(writer);
        let line = [b'x'; 1000];
        let (sent, result) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let written = (0..1000).take_while(|_| out.write_all(&line).is_ok()).count();
            sent.send(written).unwrap();
            out
        });
        let written = result.recv_timeout(Duration::from_secs(10)).expect("the write blocks");
        assert!(written > 0 && written < 1000, "{written} lines");
        let mut out = thread.join().unwrap();
        reader.read_exact(&mut vec![0; written * 1000]).unwrap();
        out.write_all(&line).unwrap();
    }

    #[test]
    fn dates_at_their_edges() {
        let at = |seconds| rfc3339(Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_709_251_199), "2024-02-29T23:59:59.000Z");
        assert_eq!(at(1_735_689_599), "2024-12-31T23:59:59.000Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.000Z");
    }
}
