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
    lines: SyncSender<String>,
    thread: JoinHandle<io::Result<()>>,
    lost: u64,
}

impl Writer {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = File::create(path)?;
        let (lines, receiver) = sync_channel(LINES);
        let thread = thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || write_all(&receiver, &mut BufWriter::new(file)))?;
        Ok(Self { lines, thread, lost: 0 })
    }

    pub(super) fn line(&mut self, mut line: String) {
        line.push('\n');
        if self.lines.try_send(line).is_err() {
            self.lost += 1;
        }
    }

    /// Lines lost since the last question.
    pub(super) fn lost(&mut self) -> Option<u64> {
        let lost = std::mem::take(&mut self.lost);
        (lost > 0).then_some(lost)
    }

    /// The thread has ended by itself: the disk is full, or gone.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the file.
    ///
    /// # Errors
    /// What ended the thread.
    pub(super) fn finish(self) -> io::Result<()> {
        drop(self.lines);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("its thread has panicked")))
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
