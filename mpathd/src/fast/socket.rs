//! The two system calls of the probe sockets, without allocation: frames out in one call, frames in
//! with their kernel stamp. Knows nothing of probes.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::frames::Frame;

/// Frames that one call may take.
pub(super) const BATCH: usize = 16;
/// Bytes of a received frame that are looked at: what we wait for is shorter.
pub(super) const RECEIVED_MAX: usize = 256;
/// Control messages: the stamp and, from the error queue, what it is about.
const CONTROL: usize = 256;

/// Sends `frames` without waiting; `each` hears of every frame in order whether it was taken.
pub(super) fn send(
    fd: BorrowedFd<'_>,
    frames: &[Frame],
    mut each: impl FnMut(usize, Result<(), Errno>),
) {
    let count = frames.len().min(BATCH);
    let mut iovecs = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
    for (iovec, frame) in iovecs.iter_mut().zip(&frames[..count]) {
        let bytes = frame.as_slice();
        iovec.iov_base = bytes.as_ptr().cast_mut().cast();
        iovec.iov_len = bytes.len();
    }
    // SAFETY: all zero is a valid mmsghdr: no name, no data, no control.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    for (header, iovec) in headers.iter_mut().zip(&mut iovecs[..count]) {
        header.msg_hdr.msg_iov = iovec;
        header.msg_hdr.msg_iovlen = 1;
    }
    let mut next = 0;
    let mut down_before = false;
    while next < count {
        let rest = &mut headers[next..count];
        // SAFETY: every header points to one iovec, that to a frame; both outlive the call, and
        // the kernel only reads the frames.
        let sent = unsafe {
            libc::sendmmsg(fd.as_raw_fd(), rest.as_mut_ptr(), rest.len() as u32, libc::MSG_DONTWAIT)
        };
        if let Ok(sent @ 1..) = usize::try_from(sent) {
            (next..next + sent).for_each(|i| each(i, Ok(())));
            next += sent;
            continue;
        }
        match Errno::last() {
            Errno::EINTR => {}
            // A link that went down leaves this error on the socket, and it may be up again.
            Errno::ENETDOWN if !down_before => down_before = true,
            errno => {
                each(next, Err(errno));
                next += 1;
            }
        }
    }
}

/// A frame from a receive socket, or one of ours from an error queue.
pub(super) struct Received<'a> {
    pub frame: &'a [u8],
    /// The kernel's stamp, CLOCK_REALTIME: arrival, or for an own frame its handing to the driver.
    pub stamp: Option<libc::timespec>,
    /// It was sent to us, or to a group or all, and not by us.
    pub for_us: bool,
}

/// Room for one frame and its control messages.
pub(super) struct Buffer {
    frame: [u8; RECEIVED_MAX],
    control: Control,
}

/// Control messages begin with a `cmsghdr`.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

impl Buffer {
    pub(super) const fn new() -> Self {
        Self { frame: [0; RECEIVED_MAX], control: Control([0; CONTROL]) }
    }

    /// The next frame of the socket.
    ///
    /// # Errors
    /// EAGAIN: none is there. ENETDOWN: the link went down; the error is then gone from the socket.
    pub(super) fn receive(&mut self, fd: BorrowedFd<'_>) -> Result<Received<'_>, Errno> {
        self.read(fd, 0)
    }

    /// The next frame that was stamped on its way out.
    ///
    /// # Errors
    /// EAGAIN: none is there.
    pub(super) fn receive_stamped(&mut self, fd: BorrowedFd<'_>) -> Result<Received<'_>, Errno> {
        self.read(fd, libc::MSG_ERRQUEUE)
    }

    fn read(&mut self, fd: BorrowedFd<'_>, flags: libc::c_int) -> Result<Received<'_>, Errno> {
        let mut iovec =
            libc::iovec { iov_base: self.frame.as_mut_ptr().cast(), iov_len: self.frame.len() };
        // SAFETY: all zero is a valid address and a valid header.
        let (mut from, mut header): (libc::sockaddr_ll, libc::msghdr) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        header.msg_name = (&raw mut from).cast();
        header.msg_namelen = size_of_val(&from) as u32;
        header.msg_iov = &mut iovec;
        header.msg_iovlen = 1;
        header.msg_control = self.control.0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL;
        let flags = flags | libc::MSG_DONTWAIT;
        // SAFETY: the header points to buffers that are ours for the call, with their lengths.
        let len = unsafe { libc::recvmsg(fd.as_raw_fd(), &mut header, flags) };
        let len = usize::try_from(len).map_err(|_| Errno::last())?;
        let for_us = matches!(
            from.sll_pkttype,
            libc::PACKET_HOST | libc::PACKET_BROADCAST | libc::PACKET_MULTICAST
        );
        Ok(Received { stamp: stamp(&header), frame: &self.frame[..len], for_us })
    }
}

/// The stamp among the control messages: SCM_TIMESTAMPNS, or the first (software) one of
/// SCM_TIMESTAMPING. Both begin with a timespec.
fn stamp(header: &libc::msghdr) -> Option<libc::timespec> {
    // SAFETY: the kernel has filled the control buffer of this header and set its length; the
    // macros stay within it, and both kinds hold at least one timespec, maybe unaligned.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(control) = message.as_ref() {
            let stamped = [libc::SCM_TIMESTAMPNS, libc::SCM_TIMESTAMPING];
            if control.cmsg_level == libc::SOL_SOCKET && stamped.contains(&control.cmsg_type) {
                let time = libc::CMSG_DATA(message).cast::<libc::timespec>().read_unaligned();
                return (time.tv_sec != 0).then_some(time);
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    None
}
