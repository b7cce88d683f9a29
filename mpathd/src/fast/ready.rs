//! Which descriptors have something to be heard, at a cost that grows with those that have, not with
//! the NICs: with 128 of them a read of each socket in each turn was most of what the thread did.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use mpathd_core::config::MAX_SEATS;
use mpathd_core::ids::Ifindex;

use crate::messages::Channel;

/// Queue, links, and four sockets of each NIC at most.
const MOST: usize = 2 + 4 * MAX_SEATS;

/// Who is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The queue from the other threads.
    Queue,
    /// Notices of links.
    Links,
    /// Frames, or the error of a link that went down.
    Receive(Ifindex),
    /// Transmit stamps.
    Stamps(Ifindex),
}

pub(super) struct Ready {
    epoll: OwnedFd,
    /// Its storage is made once.
    events: Vec<libc::epoll_event>,
}

impl Ready {
    /// # Errors
    /// EMFILE, ENOMEM.
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: plain numbers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given it to us alone.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { epoll, events: Vec::with_capacity(MOST) })
    }

    /// Wakes for what comes in on `fd`.
    ///
    /// # Errors
    /// ENOSPC beyond fs.epoll.max_user_watches, ENOMEM.
    pub(super) fn watch(&self, fd: BorrowedFd<'_>, source: Source) -> io::Result<()> {
        self.add(fd, libc::EPOLLIN as u32, source)
    }

    /// # Errors
    /// As [`Ready::watch`]: the NIC is not heard then.
    pub(super) fn watch_channel(&self, channel: &Channel) -> io::Result<()> {
        let source = Source::Receive(channel.ifindex);
        for fd in channel.heard() {
            self.add(fd, libc::EPOLLIN as u32, source)?;
        }
        if channel.stamped {
            // An error queue needs no asking for.
            self.add(channel.send.as_fd(), 0, Source::Stamps(channel.ifindex))?;
        }
        Ok(())
    }

    /// Before the channel is given away: its descriptors may live on.
    pub(super) fn forget_channel(&self, channel: &Channel) {
        for fd in channel.heard().chain([channel.send.as_fd()]) {
            // ENOENT: it was not watched.
            // SAFETY: plain numbers; the event is not read.
            unsafe {
                libc::epoll_ctl(
                    self.epoll.as_raw_fd(),
                    libc::EPOLL_CTL_DEL,
                    fd.as_raw_fd(),
                    std::ptr::null_mut(),
                );
            }
        }
    }

    fn add(&self, fd: BorrowedFd<'_>, events: u32, source: Source) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: source.number() };
        let (epoll, fd) = (self.epoll.as_raw_fd(), fd.as_raw_fd());
        // SAFETY: the event is ours for the call.
        let done = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Until somebody is ready, `limit` at most; exact to the hrtimer (Linux 5.11).
    pub(super) fn wait(&mut self, limit: Duration) {
        let limit = libc::timespec {
            tv_sec: limit.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(limit.subsec_nanos()),
        };
        self.ask(&limit);
    }

    /// Whoever is ready now. Who is not has brought nothing before this moment.
    pub(super) fn look(&mut self) {
        self.ask(&libc::timespec { tv_sec: 0, tv_nsec: 0 });
    }

    fn ask(&mut self, limit: &libc::timespec) {
        self.events.clear();
        // SAFETY: room for MOST events, which the kernel fills; the time is ours for the call; no
        // signal mask.
        let count = unsafe {
            libc::epoll_pwait2(
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                MOST as libc::c_int,
                limit,
                std::ptr::null(),
            )
        };
        // Interrupted: the next look tells.
        let count = usize::try_from(count).unwrap_or(0);
        // SAFETY: the kernel has written so many, MOST at most, which is the capacity.
        unsafe { self.events.set_len(count) };
    }

    pub(super) fn is(&self, source: Source) -> bool {
        self.sources().any(|ready| ready == source)
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = Source> + '_ {
        self.events.iter().map(|event| Source::from(event.u64))
    }
}

impl Source {
    fn number(self) -> u64 {
        match self {
            Self::Queue => 0,
            Self::Links => 1 << 32,
            Self::Receive(ifindex) => 2 << 32 | u64::from(ifindex.0),
            Self::Stamps(ifindex) => 3 << 32 | u64::from(ifindex.0),
        }
    }
}

impl From<u64> for Source {
    fn from(number: u64) -> Self {
        let ifindex = Ifindex(number as u32);
        match number >> 32 {
            1 => Self::Links,
            2 => Self::Receive(ifindex),
            3 => Self::Stamps(ifindex),
            _ => Self::Queue,
        }
    }
}

#[cfg(test)]
mod tests {
    use mpathd_common::abi::LOWER;

    use super::*;
    use crate::messages::Bypass;
    use mpathd_core::event::ReceiveMode;
    use mpathd_core::ids::IfName;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use nix::unistd::write;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::empty()).unwrap()
    }

    #[test]
    fn who_has_something_is_named_until_it_is_forgotten() {
        let mut ready = Ready::new().unwrap();
        let ((receive, far), (send, _other)) = (pair(), pair());
        let channel = Channel {
            ifindex: Ifindex(7),
            name: IfName::new("eth0").unwrap(),
            mode: ReceiveMode::Socket,
            mac: [0; 6],
            send,
            receive,
            behind: Vec::new(),
            bypass: Bypass::default(),
            stamped: true,
            receivers: Vec::new(),
            consume: false,
            lower: [0; LOWER],
            router: false,
        };
        ready.watch_channel(&channel).unwrap();
        ready.look();
        assert_eq!(ready.sources().count(), 0);
        write(&far, b"x").unwrap();
        ready.wait(Duration::from_secs(10));
        let all: Vec<_> = ready.sources().collect();
        assert_eq!(all, [Source::Receive(Ifindex(7))]);
        ready.forget_channel(&channel);
        ready.look();
        assert_eq!(ready.sources().count(), 0);
    }
}
