//! Holds RTNL, the kernel's lock for network configuration, exactly as long as wanted and without using a CPU: an
//! ethtool request writes its answer while it has the lock, and the page it writes to is given to it only
//! afterwards (userfaultfd(2)). All else that holds RTNL burns CPU time too, or lasts as long as it likes.

use std::io::Error;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

// linux/userfaultfd.h, linux/ethtool.h, linux/sockios.h
const UFFD_API: u64 = 0xaa;
const MODE_MISSING: u64 = 1;
const ETHTOOL_GLINK: u32 = 0x0a;
const SIOCETHTOOL: libc::c_ulong = 0x8946;
const PAGE: usize = 4096;
/// For the request to come as far as the answer, with others at RTNL.
const LIMIT_MS: u16 = 5000;

#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Range {
    start: u64,
    length: u64,
    mode: u64,
    result: u64,
}

nix::ioctl_readwrite!(agree, 0xaa, 0x3f, Api);
nix::ioctl_readwrite!(register, 0xaa, 0x00, Range);
nix::ioctl_readwrite!(fill_with_zeros, 0xaa, 0x04, Range);

/// Does `work`, which must not need RTNL, while RTNL is held.
///
/// # Panics
/// Without CAP_SYS_PTRACE, and where the kernel has no userfaultfd.
pub fn while_held<R>(work: impl FnOnce() -> R) -> R {
    // The request's first word, which is read before the lock is taken, is the last of the page that is there;
    // the word of the answer is the first of the one that is not.
    let pages = Pages::new();
    let page = Range { start: (pages.0 + PAGE) as u64, length: PAGE as u64, mode: 0, result: 0 };
    let faults = withhold(Range { mode: MODE_MISSING, ..page });
    let request = pages.0 + PAGE - size_of::<u32>();
    // SAFETY: these four bytes are within the first page, aligned, and nobody else's.
    unsafe { (request as *mut u32).write(ETHTOOL_GLINK) };
    std::thread::scope(|scope| {
        let given_back = GiveBack { faults: &faults, page };
        let asked = scope.spawn(move || ask(request));
        let mut ready = [PollFd::new(faults.as_fd(), PollFlags::POLLIN)];
        let told = poll(&mut ready, PollTimeout::from(LIMIT_MS));
        assert_eq!(told, Ok(1), "the request has not come to the missing page");
        let result = work();
        drop(given_back);
        asked.join().expect("it does not panic").expect("loopback has a link");
        result
    })
}

/// Fills the page when dropped, whatever happens: the whole machine waits for it.
struct GiveBack<'a> {
    faults: &'a OwnedFd,
    page: Range,
}

impl Drop for GiveBack<'_> {
    fn drop(&mut self) {
        // SAFETY: the descriptor is a userfaultfd and the structure is the one that it wants.
        let filled = unsafe { fill_with_zeros(self.faults.as_raw_fd(), &raw mut self.page) };
        filled.expect("the page is missing, and is ours");
    }
}

/// The descriptor that tells when somebody touches the page, and has it filled.
fn withhold(mut page: Range) -> OwnedFd {
    // SAFETY: the call makes a descriptor and touches no memory.
    let faults = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
    let number = i32::try_from(faults).expect("a descriptor");
    assert!(number >= 0, "userfaultfd: {}", Error::last_os_error());
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    let faults = unsafe { OwnedFd::from_raw_fd(number) };
    let mut api = Api { api: UFFD_API, features: 0, ioctls: 0 };
    // SAFETY: the descriptor is a userfaultfd and the structures are the ones that it wants.
    unsafe {
        agree(number, &raw mut api).expect("the kernel speaks this version");
        register(number, &raw mut page).expect("the page is mapped");
    }
    faults
}

/// Whether loopback has a link, by ethtool: the answer is written under RTNL.
fn ask(request: usize) -> std::io::Result<()> {
    #[repr(C)]
    struct Ifreq {
        name: [u8; libc::IFNAMSIZ],
        data: usize,
        rest: [u8; 16],
    }
    let mut name = [0; libc::IFNAMSIZ];
    name[..2].copy_from_slice(b"lo");
    let mut ifreq = Ifreq { name, data: request, rest: [0; 16] };
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    // SAFETY: the structure has the size and form of struct ifreq; its pointer leads to eight mapped bytes.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut ifreq) };
    if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

/// Two fresh pages: their address.
struct Pages(usize);

impl Pages {
    fn new() -> Self {
        // SAFETY: a new private mapping of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                2 * PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(start, libc::MAP_FAILED, "{}", Error::last_os_error());
        Self(start as usize)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; whoever was given its address has ended.
        let result = unsafe { libc::munmap(self.0 as *mut libc::c_void, 2 * PAGE) };
        assert_eq!(result, 0, "munmap");
    }
}
