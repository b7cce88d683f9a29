//! The journal's native protocol (systemd.io, "Native Journal Protocol"): one datagram a record,
//! `NAME=value` lines, or name, length and bytes where the value has a newline.

use std::io;
use std::os::unix::net::UnixDatagram;

use mpathd_core::message::Severity;
use serde_json::Value;

use super::Record;

const SOCKET: &str = "/run/systemd/journal/socket";

#[derive(Debug)]
pub struct Journal(UnixDatagram);

impl Journal {
    /// # Errors
    /// Where no journal listens.
    pub fn open() -> io::Result<Self> {
        Self::connect(SOCKET)
    }

    fn connect(path: &str) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        // A journal that hangs costs lines, not the watchdog's patience.
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    pub(super) fn write(&self, record: &Record) -> io::Result<()> {
        let datagram = encode(record);
        match self.0.send(&datagram) {
            Ok(_) => Ok(()),
            // A restarted journal has a new socket behind the name.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Err(_) => {
                self.0.connect(SOCKET)?;
                self.0.send(&datagram).map(drop)
            }
        }
    }
}

fn encode(record: &Record) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    put(&mut out, "PRIORITY", priority(record.severity));
    put(&mut out, "SYSLOG_IDENTIFIER", "mpathd");
    put(&mut out, "MESSAGE", &record.text);
    for (name, value) in &record.fields {
        match value {
            Value::String(text) => put(&mut out, name, text),
            other => put(&mut out, name, &other.to_string()),
        }
    }
    out
}

fn put(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value.as_bytes());
    out.push(b'\n');
}

/// syslog(3).
fn priority(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "2",
        Severity::Error => "3",
        Severity::Warning => "4",
        Severity::Notice => "5",
        Severity::Info => "6",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpathd_core::time::Instant;

    #[test]
    fn a_record_is_one_datagram() {
        let dir = super::super::super::sample::dir("journal");
        let path = dir.join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let record = Record {
            at: Instant(0),
            severity: Severity::Critical,
            text: "two\nlines".to_owned(),
            detail: None,
            fields: vec![("MPATHD_GROUP", "ipmp0".into()), ("MPATHD_SEQ", 7.into())],
        };
        Journal::connect(path.to_str().unwrap()).unwrap().write(&record).unwrap();
        let mut buffer = [0; 512];
        let length = journal.recv(&mut buffer).unwrap();
        assert_eq!(
            &buffer[..length],
            b"PRIORITY=2\nSYSLOG_IDENTIFIER=mpathd\nMESSAGE\n\x09\0\0\0\0\0\0\0two\nlines\n\
              MPATHD_GROUP=ipmp0\nMPATHD_SEQ=7\n"
        );
    }
}
