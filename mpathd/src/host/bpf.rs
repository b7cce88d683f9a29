//! The BPF object in the kernel: loading, and what the kernel says of a link.

use std::error::Error;
use std::ffi::CString;
use std::fmt::Write as _;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya::maps::Map;
use aya::programs::{ProgramError, SchedClassifier, TcAttachType, Xdp};
use aya::{Ebpf, EbpfLoader};
use mpathd_common::abi::{LAYOUT, layout_of, maps, programs};
use mpathd_core::ids::Ifindex;

use super::counters::{CounterFds, Counters};
use crate::fast::priority::at_ease;
use crate::fast::redirects::RedirectMap;
use crate::fast::slots::{MapFds, SlotMap};

pub(super) struct Bpf {
    object: Ebpf,
    /// Maps of an earlier daemon were pinned, and taken over.
    pub(super) adopted: bool,
    /// The program for the XDP slot that this kernel takes, once it is loaded.
    xdp: Option<&'static str>,
}

impl Bpf {
    /// Creates the maps, or takes over those that are pinned in `pins`. The system's BTF is not read
    /// (85 ms): no program of ours needs it.
    ///
    /// # Errors
    /// In words: no object, an object of another layout, or what kernel or verifier say.
    pub(super) fn load(object: &[u8], pins: Option<&Path>) -> Result<Self, String> {
        match layout_of(object) {
            Some(LAYOUT) => {}
            None => return Err("this binary was built without the kernel program".to_owned()),
            Some(other) => {
                return Err(format!("the kernel program has layout {other}, not {LAYOUT}"));
            }
        }
        let mut loader = EbpfLoader::new();
        loader.btf(None);
        let adopted = pins.is_some_and(|pins| pins.join(maps::OUTCOMES).exists());
        if let Some(pins) = pins {
            for name in maps::ALL {
                loader.map_pin_path(name, pins.join(name));
            }
        }
        let object = loader.load(object).map_err(|error| in_words(&error))?;
        Ok(Self { object, adopted, xdp: None })
    }

    /// # Errors
    /// Where a map is missing or can't be mapped.
    pub(super) fn slots(&self) -> Result<SlotMap, String> {
        let fds =
            MapFds { slots: self.fd(maps::SLOTS)?, tx: self.fd(maps::TX)?, rx: self.fd(maps::RX)? };
        SlotMap::from_fds(&fds).map_err(|error| format!("mapping the slots failed: {error}"))
    }

    /// # Errors
    /// Where the map is missing or can't be mapped.
    pub(super) fn redirects(&self) -> Result<RedirectMap, String> {
        RedirectMap::from_fd(self.fd(maps::REDIRECTS)?)
            .map_err(|error| format!("mapping the redirects failed: {error}"))
    }

    /// # Errors
    /// Where a map is missing or the descriptors are used up.
    pub(super) fn counters(&self) -> Result<Counters, String> {
        let fds = CounterFds {
            outcomes: self.fd(maps::OUTCOMES)?,
            rtt: self.fd(maps::RTT)?,
            skips: self.fd(maps::SKIPS)?,
        };
        Counters::new(&fds).map_err(|error| in_words(&error))
    }

    fn fd(&self, name: &str) -> Result<BorrowedFd<'_>, String> {
        match self.object.map(name) {
            Some(Map::Array(data) | Map::PerCpuArray(data)) => Ok(data.fd().as_fd()),
            Some(_) | None => Err(missing(name)),
        }
    }

    /// The program for the XDP slot, loaded at first use.
    ///
    /// # Errors
    /// What the verifier says.
    pub(super) fn xdp(&mut self) -> Result<&mut Xdp, String> {
        let known = self.xdp;
        let name = known.unwrap_or_else(|| {
            let takes_frags = self.xdp_named(programs::XDP).is_ok();
            if takes_frags { programs::XDP } else { programs::XDP_LINEAR }
        });
        self.xdp = Some(name);
        self.xdp_named(name)
    }

    fn xdp_named(&mut self, name: &str) -> Result<&mut Xdp, String> {
        let program = self.object.program_mut(name).ok_or_else(|| missing(name))?;
        let program: &mut Xdp = program.try_into().map_err(|e: ProgramError| in_words(&e))?;
        loaded(at_ease(|| program.load())).map(|()| program)
    }

    /// A program for tcx, [`programs::TCX`] or [`programs::EGRESS`], loaded at first use.
    ///
    /// # Errors
    /// What the verifier says.
    pub(super) fn tcx(&mut self, name: &str) -> Result<&mut SchedClassifier, String> {
        let program = self.object.program_mut(name).ok_or_else(|| missing(name))?;
        let program: &mut SchedClassifier =
            program.try_into().map_err(|e: ProgramError| in_words(&e))?;
        loaded(at_ease(|| program.load())).map(|()| program)
    }
}

fn loaded(result: Result<(), ProgramError>) -> Result<(), String> {
    match result {
        Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(()),
        Err(error) => Err(in_words(&error)),
    }
}

fn missing(name: &str) -> String {
    format!("the kernel program has no {name}")
}

/// An error with its causes; the verifier's protocol is cut to its end.
pub(super) fn in_words(error: &dyn Error) -> String {
    const LONGEST: usize = 600;
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            match write!(text, ": {words}") {
                Ok(()) | Err(_) => {}
            }
        }
        cause = error.source();
    }
    match text.char_indices().rev().nth(LONGEST) {
        Some((at, _)) => format!("... {}", &text[at..]),
        None => text,
    }
}

/// What the kernel says of a pinned link. aya gives the program's id only, not the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkInfo {
    pub(super) program: u32,
    /// 0: the device has gone, the link holds nothing.
    pub(super) ifindex: Ifindex,
}

/// # Errors
/// ENOENT where nothing is pinned at `path`.
pub(super) fn link_info(path: &Path) -> io::Result<LinkInfo> {
    const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
    let fd = pinned(path)?;
    let mut info = RawLinkInfo::default();
    let mut ask = ObjInfo {
        fd: fd.as_raw_fd().cast_unsigned(),
        length: size_of::<RawLinkInfo>() as u32,
        info: &raw mut info as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut ask)?;
    Ok(LinkInfo { program: info.program, ifindex: Ifindex(info.ifindex) })
}

/// Ids of the programs on one side of a device, in the order in which tcx runs them.
///
/// # Errors
/// EINVAL where the kernel has no tcx (before Linux 6.6); ENODEV where the device is gone.
pub(super) fn tcx_programs(ifindex: Ifindex, side: TcAttachType) -> io::Result<Vec<u32>> {
    const BPF_PROG_QUERY: libc::c_long = 16;
    const BPF_TCX_INGRESS: u32 = 46;
    const BPF_TCX_EGRESS: u32 = 47;
    /// The most that tcx takes (BPF_MPROG_MAX).
    const MOST: usize = 64;
    let mut ids = [0_u32; MOST];
    let mut ask = ProgQuery {
        ifindex: ifindex.0,
        side: if side == TcAttachType::Egress { BPF_TCX_EGRESS } else { BPF_TCX_INGRESS },
        query_flags: 0,
        attach_flags: 0,
        programs: ids.as_mut_ptr() as u64,
        count: MOST as u32,
        padding: 0,
        rest: [0; 4],
    };
    bpf(BPF_PROG_QUERY, &mut ask)?;
    // No program has id 0.
    Ok(ids.into_iter().take_while(|id| *id != 0).collect())
}

fn pinned(path: &Path) -> io::Result<OwnedFd> {
    const BPF_OBJ_GET: libc::c_long = 7;
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut get = ObjGet { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    let fd = bpf(BPF_OBJ_GET, &mut get)?;
    // SAFETY: a descriptor that the kernel just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes what a pinned link holds off its device before it returns. Removing the pin does so some time
/// later, and the place is taken until then (EEXIST).
///
/// # Errors
/// ENOENT where nothing is pinned at `path`; ENOLINK where it holds nothing any more.
pub(super) fn detach_pinned(path: &Path) -> io::Result<()> {
    const BPF_LINK_DETACH: libc::c_long = 34;
    let link = pinned(path)?;
    bpf(BPF_LINK_DETACH, &mut link.as_raw_fd().cast_unsigned())?;
    Ok(())
}

/// The parts of `union bpf_attr` that are used here (linux/bpf.h).
#[repr(C)]
struct ObjGet {
    path: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
struct ProgQuery {
    ifindex: u32,
    side: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    padding: u32,
    /// Arrays that are not asked for, and the revision.
    rest: [u64; 4],
}

#[repr(C)]
struct ObjInfo {
    fd: u32,
    length: u32,
    info: u64,
}

/// The beginning of `struct bpf_link_info`; XDP and tcx links have the device first in the union.
#[repr(C)]
#[derive(Default)]
struct RawLinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    ifindex: u32,
    attach_type: u32,
}

fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: `attributes` is a prefix of union bpf_attr of the size given, and what it points to
    // outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
