//! Netlink as the host thread speaks it: blocking requests and strict dumps with their own
//! sequence check and the kernel's extended text, and the notice socket with its overruns. A
//! request runs inside `sendmsg` and may wait there for RTNL, which is why no other thread of the
//! daemon makes one (A 1.2).

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR,
    NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};

/// Longest datagram the kernel makes of a dump is 32 KiB; a notice of a link with many virtual
/// functions may be longer.
const DATAGRAM: usize = 128 * 1024;
const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSGERR_ATTR_MSG: u16 = 1;
pub(super) const RTM_NEWADDR: u16 = 20;
pub(super) const RTM_NEWROUTE: u16 = 24;
/// A dump that the tables changed under is taken again so often.
const DUMP_TRIES: usize = 4;
/// Requests in one datagram: their answers must fit the receive buffer, some 270 by default, or those
/// beyond are dropped unsaid.
const BATCH: usize = 64;
/// To be called at each datagram that is read without waiting for it. A real-time thread that never
/// sleeps is ended by RLIMIT_RTTIME, and a table may have a million routes.
pub(super) fn breathe(datagram: u32) {
    const EVERY: u32 = 128;
    if datagram.is_multiple_of(EVERY) {
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// What the kernel said to a request that it did not carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Positive errno.
    pub errno: i32,
    /// The kernel's own words (NETLINK_EXT_ACK), where it has some.
    pub text: Option<String>,
}

impl Refused {
    pub fn errno(errno: i32) -> Self {
        Self { errno, text: None }
    }

    pub fn with(errno: i32, text: impl Into<String>) -> Self {
        Self { errno, text: Some(text.into()) }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = io::Error::from_raw_os_error(self.errno);
        match &self.text {
            Some(text) => write!(f, "{error}: {text}"),
            None => write!(f, "{error}"),
        }
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::errno(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl From<nix::errno::Errno> for Refused {
    fn from(errno: nix::errno::Errno) -> Self {
        Self::errno(errno as i32)
    }
}

/// A request and its flags, those that all have aside.
pub(super) type Asked = (RouteNetlinkMessage, u16);

/// The request socket.
pub struct Requests {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Requests {
    /// # Errors
    /// Where no netlink socket is to be had.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        socket.set_netlink_get_strict_chk(true)?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// Sends one request and waits for its answer.
    ///
    /// # Errors
    /// The kernel's errno and text.
    pub fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<(), Refused> {
        let (kind, body) = body_of(message);
        self.request_raw(kind, flags, &body)
    }

    /// As [`Requests::request`], for message types that packet-route does not know.
    ///
    /// # Errors
    /// The kernel's errno and text.
    pub fn request_raw(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<(), Refused> {
        let sequence = self.send(kind, NLM_F_REQUEST | NLM_F_ACK | flags, body)?;
        loop {
            self.receive()?;
            for message in Messages(&self.buffer) {
                if message.sequence == sequence && message.kind == NLMSG_ERROR {
                    return message.verdict();
                }
            }
        }
    }

    /// Sends several requests in as few datagrams as may be, each of which the kernel carries out in one
    /// go; the answer to each.
    pub(super) fn each(&mut self, asked: Vec<Asked>) -> Vec<Result<(), Refused>> {
        let asked = asked.into_iter().map(|(message, flags)| {
            let (kind, body) = body_of(message);
            (kind, flags, body)
        });
        self.each_raw(asked.collect())
    }

    /// As [`Requests::each`], for message types that packet-route does not know: type, flags, body.
    pub(super) fn each_raw(&mut self, asked: Vec<(u16, u16, Vec<u8>)>) -> Vec<Result<(), Refused>> {
        let mut answers = Vec::with_capacity(asked.len());
        for batch in asked.chunks(BATCH) {
            let before = answers.len();
            if let Err(refused) = self.batch(batch, &mut answers) {
                answers.resize(before + batch.len(), Err(refused));
            }
        }
        answers
    }

    fn batch(
        &mut self,
        batch: &[(u16, u16, Vec<u8>)],
        answers: &mut Vec<Result<(), Refused>>,
    ) -> Result<(), Refused> {
        let first = self.sequence.wrapping_add(1);
        let mut datagram = Vec::new();
        for (kind, flags, body) in batch {
            self.sequence = self.sequence.wrapping_add(1);
            datagram.extend(frame(*kind, NLM_F_REQUEST | NLM_F_ACK | *flags, self.sequence, body));
            datagram.resize(aligned(datagram.len()), 0);
        }
        self.socket.send(&datagram, 0)?;
        let mut answered = 0;
        while answered < batch.len() {
            self.receive()?;
            for message in Messages(&self.buffer) {
                let number = message.sequence.wrapping_sub(first) as usize;
                if message.kind == NLMSG_ERROR && number == answered {
                    answers.push(message.verdict());
                    answered += 1;
                }
            }
        }
        Ok(())
    }

    /// Asks for one object; the answer is given to `take` as it stands.
    ///
    /// # Errors
    /// The kernel's errno and text.
    pub fn get(
        &mut self,
        message: RouteNetlinkMessage,
        mut take: impl FnMut(&Message),
    ) -> Result<(), Refused> {
        let (kind, body) = body_of(message);
        let sequence = self.send(kind, NLM_F_REQUEST | NLM_F_ACK, &body)?;
        loop {
            self.receive()?;
            for message in Messages(&self.buffer) {
                match message.kind {
                    _ if message.sequence != sequence => {}
                    NLMSG_ERROR => return message.verdict(),
                    _ => take(&message),
                }
            }
        }
    }

    /// Dumps a table; `take` is given each message. When the table changes meanwhile, the dump is
    /// taken anew, so `take` must bear repetitions.
    ///
    /// # Errors
    /// The kernel's errno and text.
    pub fn dump(
        &mut self,
        message: RouteNetlinkMessage,
        take: impl FnMut(&Message),
    ) -> Result<(), Refused> {
        let (kind, body) = body_of(message);
        self.dump_raw(kind, &body, take)
    }

    /// As [`Requests::dump`], for message types that packet-route does not know.
    ///
    /// # Errors
    /// The kernel's errno and text.
    pub fn dump_raw(
        &mut self,
        kind: u16,
        body: &[u8],
        mut take: impl FnMut(&Message),
    ) -> Result<(), Refused> {
        for _ in 0..DUMP_TRIES {
            if self.dump_once(kind, body, &mut take)? == Dump::Whole {
                break;
            }
        }
        Ok(())
    }

    fn dump_once(
        &mut self,
        kind: u16,
        body: &[u8],
        take: &mut impl FnMut(&Message),
    ) -> Result<Dump, Refused> {
        let sequence = self.send(kind, NLM_F_REQUEST | NLM_F_DUMP, body)?;
        let mut dump = Dump::Whole;
        for datagram in 1u32.. {
            self.receive()?;
            breathe(datagram);
            for message in Messages(&self.buffer) {
                if message.sequence != sequence {
                    continue;
                }
                if message.flags & NLM_F_DUMP_INTR != 0 {
                    dump = Dump::Interrupted;
                }
                match message.kind {
                    NLMSG_DONE | NLMSG_ERROR => return message.verdict().map(|()| dump),
                    _ => take(&message),
                }
            }
        }
        Ok(dump)
    }

    fn send(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<u32, Refused> {
        self.sequence = self.sequence.wrapping_add(1);
        let datagram = frame(kind, flags, self.sequence, body);
        self.socket.send(&datagram, 0)?;
        Ok(self.sequence)
    }

    fn receive(&mut self) -> Result<(), Refused> {
        self.buffer.clear();
        loop {
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dump {
    Whole,
    Interrupted,
}

/// The socket that notices come in on, non-blocking.
pub struct Notices {
    socket: Socket,
    buffer: Vec<u8>,
}

/// What reading the notices came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// One datagram was given to the reader.
    Some,
    /// Nothing is waiting.
    Empty,
    /// Notices were lost: only a dump tells how things stand.
    Overrun,
}

impl Notices {
    /// Joins `groups` (RTNLGRP numbers) with a receive buffer of `size` bytes.
    ///
    /// # Errors
    /// Where no netlink socket is to be had.
    pub fn open(groups: &[u32], size: usize) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        // Without CAP_NET_ADMIN the buffer is limited by net.core.rmem_max.
        if setsockopt(&Fd(&socket), sockopt::RcvBufForce, &size).is_err() {
            socket.set_rx_buf_sz(i32::try_from(size).unwrap_or(i32::MAX))?;
        }
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        for group in groups {
            socket.add_membership(*group)?;
        }
        Ok(Self { socket, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// Reads one datagram and gives its messages to `take`, which answers `false` for one that
    /// does not decode: that is a lost notice (A 1.4).
    pub fn read(&mut self, mut take: impl FnMut(&Message) -> bool) -> Read {
        self.buffer.clear();
        match self.socket.recv(&mut self.buffer, libc::MSG_TRUNC) {
            Ok(length) if length > self.buffer.len() => Read::Overrun,
            Ok(_) => {
                let mut whole = true;
                for message in Messages(&self.buffer) {
                    whole &= take(&message);
                }
                if whole { Read::Some } else { Read::Overrun }
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => Read::Empty,
                Some(libc::EINTR) => Read::Some,
                _ => Read::Overrun,
            },
        }
    }
}

impl AsFd for Notices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        borrow(&self.socket)
    }
}

/// netlink-sys' socket knows only the raw descriptor.
struct Fd<'a>(&'a Socket);

impl AsFd for Fd<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        borrow(self.0)
    }
}

fn borrow(socket: &Socket) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open as long as the socket lives, and the borrow ends before.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}

/// One message of a datagram.
pub struct Message<'a> {
    pub kind: u16,
    flags: u16,
    sequence: u32,
    /// With its header.
    pub whole: &'a [u8],
    pub body: &'a [u8],
}

impl Message<'_> {
    /// # Errors
    /// Where packet-route does not understand it.
    pub fn decode(&self) -> Result<RouteNetlinkMessage, DecodeError> {
        match NetlinkMessage::<RouteNetlinkMessage>::deserialize(self.whole)?.payload {
            NetlinkPayload::InnerMessage(message) => Ok(message),
            _ => Err(DecodeError::from("not an rtnetlink message")),
        }
    }

    /// Reads NLMSG_ERROR or NLMSG_DONE: an errno, for the first the request's header (and the
    /// request, unless it was capped), then attributes.
    fn verdict(&self) -> Result<(), Refused> {
        let code = self.body.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        if code == 0 {
            return Ok(());
        }
        let request = match self.kind {
            NLMSG_DONE => 0,
            _ if self.flags & NLM_F_CAPPED != 0 => HEADER,
            _ => self.body.get(4..8).and_then(|b| b.first_chunk()).map_or(HEADER, |length| {
                aligned(usize::try_from(u32::from_ne_bytes(*length)).unwrap_or(HEADER))
            }),
        };
        let text = (self.flags & NLM_F_ACK_TLVS != 0)
            .then(|| self.body.get(4 + request..))
            .flatten()
            .and_then(text_of);
        Err(Refused { errno: code.unsigned_abs().cast_signed(), text })
    }
}

fn text_of(body: &[u8]) -> Option<String> {
    attributes(body)
        .find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)
        .map(|(_, text)| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
}

/// Type, without the flags "nested" and "network byte order", and value of each attribute; ends at
/// the first that is cut short.
pub fn attributes(mut body: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [l0, l1, k0, k1] = *body.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = body.get(4..length)?;
        body = body.get(aligned(length)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]) & 0x3fff, value))
    })
}

/// The messages of a datagram; ends at the first that is cut short.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let header = NetlinkBuffer::new_checked(self.0).ok()?;
        let length = usize::try_from(header.length()).ok()?;
        let (kind, flags, sequence) =
            (header.message_type(), header.flags(), header.sequence_number());
        let whole = self.0.get(..length)?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Some(Message { kind, flags, sequence, whole, body: whole.get(HEADER..)? })
    }
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// Type and body of a message, its header aside.
fn body_of(message: RouteNetlinkMessage) -> (u16, Vec<u8>) {
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    (message.header.message_type, bytes.split_off(HEADER))
}

pub(super) fn frame(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut datagram = Vec::with_capacity(HEADER + body.len());
    datagram.extend(length.to_ne_bytes());
    datagram.extend(kind.to_ne_bytes());
    datagram.extend(flags.to_ne_bytes());
    datagram.extend(sequence.to_ne_bytes());
    datagram.extend(0u32.to_ne_bytes());
    datagram.extend(body);
    datagram
}

/// Appends one attribute, padded to four bytes.
pub fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(aligned(body.len()), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_carry_errno_and_text_capped_or_not() {
        let request = frame(24, 5, 7, &[1, 2, 3, 4, 5, 6, 7, 8]);
        for capped in [true, false] {
            let mut body = (-17i32).to_ne_bytes().to_vec();
            body.extend(if capped { &request[..HEADER] } else { &request[..] });
            attribute(&mut body, NLMSGERR_ATTR_MSG, b"it is there\0");
            let flags = NLM_F_ACK_TLVS | if capped { NLM_F_CAPPED } else { 0 };
            let datagram = frame(NLMSG_ERROR, flags, 7, &body);
            let message = Messages(&datagram).next().unwrap();
            assert_eq!(message.verdict(), Err(Refused::with(17, "it is there")));
        }
    }

    #[test]
    fn a_datagram_is_cut_into_messages() {
        let mut datagram = frame(20, 0, 1, &[1, 2, 3]);
        datagram.push(0);
        datagram.extend(frame(21, 0, 2, &[]));
        datagram.extend([40, 0, 0, 0, 1, 0]);
        let seen: Vec<_> = Messages(&datagram).map(|m| (m.kind, m.body.len())).collect();
        assert_eq!(seen, [(20, 3), (21, 0)]);
    }
}
