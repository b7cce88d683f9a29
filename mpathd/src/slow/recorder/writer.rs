//! A thread of its own for the file: a disk that hangs costs lines, which are counted, never the
//! daemon's time.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};

/// Lines under way; at 200 bytes each, under 1 MB.
const LINES: usize = 4096;

pub(super) struct Writer {
    /// `None` once finished.
    lines: Option<SyncSender<String>>,
    thread: Option<JoinHandle<()>>,
    lost: u64,
}

impl Writer {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = File::create(path)?;
        let (lines, receiver) = sync_channel(LINES);
        let thread = thread::Builder::new().name("recorder".to_owned()).spawn(move || {
            // A full disk ends the recording; the sender then finds nobody there.
            match write_all(&receiver, &mut BufWriter::new(file)) {
                Ok(()) | Err(_) => {}
            }
        })?;
        Ok(Self { lines: Some(lines), thread: Some(thread), lost: 0 })
    }

    pub(super) fn line(&mut self, mut line: String) {
        line.push('\n');
        if self.lines.as_ref().is_none_or(|lines| lines.try_send(line).is_err()) {
            self.lost += 1;
        }
    }

    /// Lines lost since the last question.
    pub(super) fn lost(&mut self) -> Option<u64> {
        let lost = std::mem::take(&mut self.lost);
        (lost > 0).then_some(lost)
    }

    /// Waits for the file.
    pub(super) fn finish(&mut self) {
        drop(self.lines.take());
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has been reported by itself.
            match thread.join() {
                Ok(()) | Err(_) => {}
            }
        }
    }
}

/// Flushes whenever there is nothing more to write, so that a killed daemon leaves its last lines.
fn write_all(lines: &Receiver<String>, out: &mut impl Write) -> io::Result<()> {
    loop {
        let line = match lines.try_recv() {
            Ok(line) => line,
            Err(TryRecvError::Disconnected) => return out.flush(),
            Err(TryRecvError::Empty) => {
                out.flush()?;
                let Ok(line) = lines.recv() else { return Ok(()) };
                line
            }
        };
        out.write_all(line.as_bytes())?;
    }
}
