//! The kernel program as tests see it: the object file, loaded, its maps mapped, frames sent
//! through it by BPF_PROG_TEST_RUN. Deliberately apart from the daemon's own loader.

use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result, bail};
use aya::maps::{Map, MapData, PerCpuArray};
use aya::programs::xdp::XdpMode;
use aya::programs::{SchedClassifier, TcAttachType, Xdp};
use aya::{Ebpf, TestRun, TestRunOptions};
use mpathd_common::abi::{self, Redirect, Slot};

/// The object under test: `MPATHD_OBJECT`, which `cargo xtask` sets, else the one in the checkout's own
/// target folder, where `cargo xtask build` puts it.
pub fn read() -> Result<Vec<u8>> {
    let path = match std::env::var_os("MPATHD_OBJECT") {
        Some(path) => PathBuf::from(path),
        None => crate::checkout().join("target/ebpf/mpathd.bpf.o"),
    };
    std::fs::read(&path)
        .with_context(|| format!("no kernel object at {}: run `cargo xtask test`", path.display()))
}

/// Where a frame enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Xdp,
    Tcx,
}

/// What the program did with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Consumed,
    Passed,
}

impl Hook {
    pub const BOTH: [Self; 2] = [Self::Xdp, Self::Tcx];

    fn verdict(self, code: u32) -> Result<Verdict> {
        // linux/bpf.h: XDP_DROP 1, XDP_PASS 2. linux/pkt_cls.h: TC_ACT_SHOT 2, TC_ACT_UNSPEC -1.
        Ok(match (self, code) {
            (Self::Xdp, 1) | (Self::Tcx, 2) => Verdict::Consumed,
            (Self::Xdp, 2) | (Self::Tcx, u32::MAX) => Verdict::Passed,
            _ => bail!("{self:?} gave the verdict {code}"),
        })
    }
}

/// The loaded object; nothing is attached.
pub struct Program {
    ebpf: Ebpf,
    pub slots: Mapping<Slot<AtomicU64>>,
    pub tx: Mapping<AtomicU64>,
    pub rx: Mapping<AtomicU64>,
    pub outcomes: Counts,
    pub rtt: Counts,
    pub skips: Counts,
    pub redirects: Mapping<Redirect<AtomicU64>>,
}

impl Program {
    pub fn load(object: &[u8]) -> Result<Self> {
        let mut ebpf = Ebpf::load(object).context("object refused")?;
        let xdp: &mut Xdp =
            ebpf.program_mut(abi::programs::XDP).context("no XDP program")?.try_into()?;
        xdp.load().context("verifier on XDP")?;
        let tcx: &mut SchedClassifier =
            ebpf.program_mut(abi::programs::TCX).context("no tc program")?.try_into()?;
        tcx.load().context("verifier on tcx")?;
        let egress: &mut SchedClassifier =
            ebpf.program_mut(abi::programs::EGRESS).context("no egress program")?.try_into()?;
        egress.load().context("verifier on egress")?;
        Ok(Self {
            slots: Mapping::new(&ebpf, abi::maps::SLOTS, abi::SLOTS)?,
            tx: Mapping::new(&ebpf, abi::maps::TX, abi::SLOTS * abi::RING)?,
            rx: Mapping::new(&ebpf, abi::maps::RX, abi::SLOTS * abi::RING)?,
            outcomes: Counts::new(&ebpf, abi::maps::OUTCOMES, abi::SLOTS * abi::OUTCOME_ROW)?,
            rtt: Counts::new(&ebpf, abi::maps::RTT, abi::SLOTS * abi::RTT_ROW)?,
            skips: Counts::new(&ebpf, abi::maps::SKIPS, abi::SKIP_ROW)?,
            redirects: Mapping::new(&ebpf, abi::maps::REDIRECTS, abi::REDIRECTS)?,
            ebpf,
        })
    }

    /// Sends one frame through the egress program, as if the loopback (ifindex 1) was given it to send. The
    /// frame as it leaves by another NIC; `None`: by that one.
    pub fn leave(&self, frame: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut left = vec![0; frame.len()];
        let (code, _) = self.leave_again(frame, &mut left, 1)?;
        // linux/pkt_cls.h: TC_ACT_REDIRECT 7, TC_ACT_UNSPEC -1.
        match code {
            7 => Ok(Some(left)),
            u32::MAX if left == frame => Ok(None),
            _ => bail!("egress gave the verdict {code} for {left:x?}"),
        }
    }

    /// The same `count` times; gives the last verdict's code and the kernel's mean time in ns.
    pub fn leave_again(&self, frame: &[u8], left: &mut [u8], count: u32) -> Result<(u32, u128)> {
        let program = self.ebpf.program(abi::programs::EGRESS).context("no egress program")?;
        let program: &SchedClassifier = program.try_into()?;
        let (data_in, data_out) = (Some(frame), Some(left));
        let options = TestRunOptions { data_in, data_out, repeat: count, ..TestRunOptions::new() };
        let result = program.test_run(options).context("test run through egress")?;
        Ok((result.return_value, result.duration.as_nanos()))
    }

    /// Attaches to an interface of the calling thread's namespace until `self` is dropped.
    pub fn attach(&mut self, hook: Hook, interface: &str, mode: XdpMode) -> Result<()> {
        match hook {
            Hook::Xdp => {
                let program =
                    self.ebpf.program_mut(abi::programs::XDP).context("no XDP program")?;
                <&mut Xdp>::try_from(program)?.attach(interface, mode)?;
            }
            Hook::Tcx => {
                let program = self.ebpf.program_mut(abi::programs::TCX).context("no tc program")?;
                let program: &mut SchedClassifier = program.try_into()?;
                program.attach(interface, TcAttachType::Ingress)?;
            }
        }
        Ok(())
    }

    /// Sends one frame through a hook, as if it came in on the loopback of this namespace (ifindex
    /// 1).
    pub fn run(&self, hook: Hook, frame: &[u8]) -> Result<Verdict> {
        let (code, _) = self.repeat(hook, frame, 1)?;
        hook.verdict(code)
    }

    /// The same `count` times; gives the last verdict's code and the kernel's mean time in ns.
    pub fn repeat(&self, hook: Hook, frame: &[u8], count: u32) -> Result<(u32, u128)> {
        let options =
            TestRunOptions { data_in: Some(frame), repeat: count, ..TestRunOptions::new() };
        let result = match hook {
            Hook::Xdp => {
                let program: &Xdp =
                    self.ebpf.program(abi::programs::XDP).context("no XDP program")?.try_into()?;
                program.test_run(options)
            }
            Hook::Tcx => {
                let program = self.ebpf.program(abi::programs::TCX).context("no tc program")?;
                let program: &SchedClassifier = program.try_into()?;
                program.test_run(options)
            }
        }
        .with_context(|| format!("test run of {} bytes through {hook:?}", frame.len()))?;
        Ok((result.return_value, result.duration.as_nanos()))
    }
}

/// An array map of which each CPU has its own.
pub struct Counts {
    map: PerCpuArray<MapData, u64>,
    fd: OwnedFd,
    name: &'static str,
}

impl Counts {
    fn new(ebpf: &Ebpf, name: &'static str, entries: u32) -> Result<Self> {
        let Some(Map::PerCpuArray(data)) = ebpf.map(name) else {
            bail!("no per-CPU array {name} in the object")
        };
        let fd = data.fd().as_fd().try_clone_to_owned()?;
        let own = Map::from_map_data(MapData::from_fd(fd.try_clone()?)?)?;
        let map: PerCpuArray<MapData, u64> = own.try_into()?;
        if map.len() != entries {
            bail!("{name} has {} entries, not {entries}", map.len());
        }
        Ok(Self { map, fd, name })
    }

    /// The count of each possible CPU.
    pub fn by_cpu(&self, key: u32) -> Vec<u64> {
        let values = self.map.get(&key, 0);
        values.unwrap_or_else(|error| panic!("{} key {key}: {error}", self.name)).to_vec()
    }

    /// The count of all CPUs together.
    pub fn at(&self, key: u32) -> u64 {
        self.by_cpu(key).iter().sum()
    }

    /// A descriptor of the map.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// An array map in our address space.
pub struct Mapping<T> {
    start: *const T,
    entries: usize,
    owned: PhantomData<T>,
}

impl<T> Mapping<T> {
    fn new(ebpf: &Ebpf, name: &str, entries: u32) -> Result<Self> {
        let Some(Map::Array(map)) = ebpf.map(name) else { bail!("no array {name} in the object") };
        let found = map.info()?.max_entries();
        if found != entries {
            bail!("{name} has {found} entries, not {entries}");
        }
        let length = entries as usize * size_of::<T>();
        let fd = map.fd().as_fd().as_raw_fd();
        // SAFETY: a new mapping at an address of the kernel's choice; nothing else is touched.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error())
                .with_context(|| format!("mapping {length} bytes of {name}"));
        }
        Ok(Self { start: start.cast(), entries: entries as usize, owned: PhantomData })
    }

    pub fn at(&self, key: u32) -> &T {
        assert!((key as usize) < self.entries, "key {key} of {}", self.entries);
        // SAFETY: within the mapping, which lives as long as self; T is made of atomics, so the
        // kernel may write too.
        unsafe { &*self.start.add(key as usize) }
    }
}

impl<T> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, and no reference into it outlives self.
        let result =
            unsafe { libc::munmap(self.start.cast_mut().cast(), self.entries * size_of::<T>()) };
        assert_eq!(result, 0, "munmap");
    }
}
