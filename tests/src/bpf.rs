//! BPF programs of our own bytecode, for the lab: they need no toolchain and work on every supported kernel.

use std::ffi::CString;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Where programs are pinned for `tc` and `ip`; the BPF file system is the lab's own.
pub(crate) const PINS: &str = "/sys/fs/bpf/lab";

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_PIN: libc::c_long = 6;
pub(crate) const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_TCX_INGRESS: u32 = 46;
pub(crate) const XDP_PASS: u32 = 2;

/// Loads an XDP program and pins it, for `ip link set dev IF xdp pinned PATH`.
///
/// # Errors
/// Without CAP_BPF and CAP_NET_ADMIN; what the verifier refuses.
pub(crate) fn pinned_xdp(name: &str, program: &[u64]) -> Result<String> {
    let path = format!("{PINS}/{name}");
    std::fs::create_dir_all(PINS)?;
    pin(&load(BPF_PROG_TYPE_XDP, program)?, &path)?;
    Ok(path)
}

/// Somebody else's XDP program, which lets every frame go on; its path.
///
/// # Errors
/// Without CAP_BPF and CAP_NET_ADMIN.
pub fn foreign_xdp() -> Result<String> {
    let pass = [instruction(0xb7, 0, 0, 0, XDP_PASS), instruction(0x95, 0, 0, 0, 0)];
    pinned_xdp("pass", &pass)
}

/// Detaches what a BPF link at this path holds on a device, as `bpftool link detach` does.
///
/// # Errors
/// ENOENT where nothing is pinned there; ENOLINK where it holds nothing any more.
pub fn detach_link(pin: &str) -> Result<()> {
    #[repr(C)]
    struct Get {
        path: u64,
        object: u32,
        flags: u32,
    }
    const BPF_OBJ_GET: libc::c_long = 7;
    const BPF_LINK_DETACH: libc::c_long = 34;
    let text = CString::new(pin)?;
    let get = Get { path: text.as_ptr().addr() as u64, object: 0, flags: 0 };
    let link = descriptor(bpf(BPF_OBJ_GET, &get)?)?;
    bpf(BPF_LINK_DETACH, &link.as_raw_fd().cast_unsigned())?;
    Ok(())
}

/// A tcx program of another owner, which ends the chain with TC_ACT_OK, as Cilium's do. It is attached before
/// all others, to ingress of a device of the calling thread's namespace, until the descriptor is closed.
///
/// # Errors
/// Without CAP_BPF and CAP_NET_ADMIN; before Linux 6.6.
pub fn tcx_ok_first(device: &str) -> Result<OwnedFd> {
    #[repr(C)]
    struct Create {
        program: u32,
        ifindex: u32,
        side: u32,
        flags: u32,
        relative: u64,
        revision: u64,
    }
    const BPF_LINK_CREATE: libc::c_long = 28;
    const BPF_F_BEFORE: u32 = 1 << 3;
    const TC_ACT_OK: u32 = 0;
    let ok = [instruction(0xb7, 0, 0, 0, TC_ACT_OK), instruction(0x95, 0, 0, 0, 0)];
    let program = load(BPF_PROG_TYPE_SCHED_CLS, &ok)?;
    descriptor(bpf(
        BPF_LINK_CREATE,
        &Create {
            program: program.as_raw_fd().cast_unsigned(),
            ifindex: nix::net::if_::if_nametoindex(device)?,
            side: BPF_TCX_INGRESS,
            flags: BPF_F_BEFORE,
            relative: 0,
            revision: 0,
        },
    )?)
}

/// Ids of the programs in the chain of tcx ingress of a device, in their order.
///
/// # Errors
/// ENODEV where the device is gone; EINVAL before Linux 6.6.
pub fn tcx_ingress(device: &str) -> Result<Vec<u32>> {
    #[repr(C)]
    struct Query {
        ifindex: u32,
        side: u32,
        query_flags: u32,
        attach_flags: u32,
        ids: u64,
        count: u32,
        padding: u32,
        rest: [u64; 4],
    }
    const BPF_PROG_QUERY: libc::c_long = 16;
    let mut ids = [0_u32; 64];
    let query = std::cell::UnsafeCell::new(Query {
        ifindex: nix::net::if_::if_nametoindex(device)?,
        side: BPF_TCX_INGRESS,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr().expose_provenance() as u64,
        count: 64,
        padding: 0,
        rest: [0; 4],
    });
    bpf(BPF_PROG_QUERY, &query)?;
    Ok(ids.into_iter().take_while(|id| *id != 0).collect())
}

pub(crate) fn load(kind: u32, program: &[u64]) -> Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        kind: u32,
        instructions: u32,
        code: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
    }
    descriptor(bpf(
        BPF_PROG_LOAD,
        &Attributes {
            kind,
            instructions: u32::try_from(program.len()).expect("a few instructions"),
            code: program.as_ptr().addr() as u64,
            license: c"GPL".as_ptr().addr() as u64,
            log_level: 0,
            log_size: 0,
            log: 0,
        },
    )?)
}

pub(crate) fn pin(object: &OwnedFd, path: &str) -> Result<()> {
    #[repr(C)]
    struct Attributes {
        path: u64,
        object: u32,
        flags: u32,
    }
    let text = CString::new(path)?;
    let path = text.as_ptr().addr() as u64;
    bpf(BPF_OBJ_PIN, &Attributes { path, object: object.as_raw_fd().cast_unsigned(), flags: 0 })?;
    Ok(())
}

/// `struct bpf_insn` on a little-endian machine.
pub(crate) fn instruction(code: u8, to: u8, from: u8, offset: u16, immediate: u32) -> u64 {
    u64::from(code)
        | u64::from(to | from << 4) << 8
        | u64::from(offset) << 16
        | u64::from(immediate) << 32
}

pub(crate) fn bpf<A>(command: libc::c_long, attributes: &A) -> Result<libc::c_long> {
    // SAFETY: the attributes are those of the command (each caller's struct begins as the kernel's union does),
    // and what they point to lives until the call returns.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<A>())
    };
    if result < 0 { Err(Error::last_os_error()) } else { Ok(result) }
}

pub(crate) fn descriptor(result: libc::c_long) -> Result<OwnedFd> {
    let number = RawFd::try_from(result).map_err(Error::other)?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
