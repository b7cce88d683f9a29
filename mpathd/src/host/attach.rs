//! The receive hook of each NIC: which kind it gets, adoption of what an earlier daemon left in
//! place, and its sockets. Nothing here is fatal: what can't be had lowers the mode and is said
//! (N13). Somebody else's XDP program is never touched. Nothing is detached at stop.

mod egress;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType};
use libc::EINVAL;
use mpathd_common::abi::{LOWER, programs};
use mpathd_core::config::Datapath;
use mpathd_core::event::ReceiveMode;
use mpathd_core::ids::Ifindex;
use mpathd_core::message::Severity;
use mpathd_core::time::Instant;

use super::bpf::{self, Bpf, LinkInfo, in_words};
use super::counters::Source;
use super::facts::{LinkFact, XdpSlot};
use super::netlink::Refused;
use super::outbox::{Fast, Slow};
use super::{pins, sockets};
use crate::descriptors;
use crate::fast::clock;
use crate::fast::priority::at_ease;
use crate::fast::slots::SlotMap;
use crate::messages::{ToFast, ToSlow};

/// More than loading the object takes: maps, programs, counters, pins; and attaching one NIC.
const DESCRIPTORS_TO_LOAD: usize = 32;
/// More than the links of both programs and the sockets of a NIC take.
const DESCRIPTORS_TO_ATTACH: usize = 12;

pub(super) struct Hooks {
    object: &'static [u8],
    bpffs: PathBuf,
    kernel: Kernel,
    attached: BTreeMap<Ifindex, Attached>,
    /// Modes in which nothing is received on a NIC although the hook is in place.
    deaf: BTreeMap<Ifindex, Vec<ReceiveMode>>,
    watch: watch::Watch,
    /// Devices below a NIC, see `SlotKey::lower`.
    lower: BTreeMap<Ifindex, [u32; LOWER]>,
    /// The rows of the egress program are the fast thread's.
    redirects: bool,
}

enum Kernel {
    Untried,
    Ready {
        bpf: Box<Bpf>,
        /// `None`: everything ends with this process.
        pins: Option<PathBuf>,
    },
    /// Probing through sockets only.
    Without,
}

struct Attached {
    mode: ReceiveMode,
    consume: bool,
    hook: Option<Hook>,
    egress: Option<Hook>,
    since: Instant,
    /// When other programs were found to run before ours in tcx.
    overtaken: Vec<Instant>,
}

/// What `Request::Attach` asks for.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) datapath: Datapath,
    pub(super) consume: bool,
    pub(super) bypassed: bool,
}

struct Hook {
    /// Keeps a link that is not pinned.
    _link: Link,
    /// Its id, as the kernel lists it on the device.
    program: u32,
}

enum Choice {
    /// The hook that is there is the best that can be had.
    Keep,
    New(ReceiveMode, Option<Hook>),
}

enum Link {
    Xdp { _link: XdpLink },
    Tcx { _link: SchedClassifierLink },
}

impl Hooks {
    pub(super) fn new(object: &'static [u8], bpffs: PathBuf) -> Self {
        Self {
            object,
            bpffs,
            kernel: Kernel::Untried,
            attached: BTreeMap::new(),
            deaf: BTreeMap::new(),
            watch: watch::Watch::default(),
            lower: BTreeMap::new(),
            redirects: false,
        }
    }

    /// On what a NIC is stacked; for the sockets that are opened from now on.
    pub(super) fn set_lower(&mut self, ifindex: Ifindex, lower: [u32; LOWER]) {
        self.lower.insert(ifindex, lower);
    }

    /// Attaches the best hook that can be had, and hands over the sockets. A hook that is in place and the
    /// best stays. Otherwise the old one goes last: what comes in meanwhile is received by one of them or,
    /// where the kernel takes only one, by the sockets.
    ///
    /// # Errors
    /// Where not even the sockets can be opened (EPERM without CAP_NET_RAW), and EMFILE where descriptors are
    /// used up: then nothing is tried, for it would fail as if the kernel could not do it.
    pub(super) fn attach(
        &mut self,
        link: &LinkFact,
        wanted: Wanted,
        fast: &mut Fast,
        slow: &mut Slow,
    ) -> Result<ReceiveMode, Refused> {
        let mut link = *link;
        let ifindex = link.link.ifindex;
        let untried = matches!(self.kernel, Kernel::Untried);
        descriptors::available(if untried { DESCRIPTORS_TO_LOAD } else { DESCRIPTORS_TO_ATTACH })?;
        self.load_once(fast, slow)?;
        self.look_again(&mut link, wanted.bypassed, slow);
        let (mode, hook) = match self.choose(&mut link, wanted.datapath, slow) {
            Choice::New(mode, hook) => (mode, hook),
            Choice::Keep => {
                let Some(attached) = self.attached.get_mut(&ifindex) else {
                    return Err(Refused::errno(libc::ENODEV));
                };
                let mode = attached.mode;
                if core::mem::replace(&mut attached.consume, wanted.consume) != wanted.consume
                    || wanted.bypassed
                {
                    self.open_channel(&link, fast)?;
                }
                return Ok(mode);
            }
        };
        let since = clock::now();
        let mut new = Attached {
            mode,
            consume: wanted.consume,
            hook,
            egress: None,
            since,
            overtaken: Vec::new(),
        };
        let mut old = self.attached.remove(&ifindex);
        if let Some(old) = &mut old {
            new.egress = old.egress.take();
            new.overtaken = core::mem::take(&mut old.overtaken);
        }
        self.attached.insert(ifindex, new);
        self.open_channel(&link, fast).inspect_err(|_| self.detach(ifindex))?;
        if let Some(old) = old.filter(|old| old.hook.is_some()) {
            self.unpin_hook(old.mode, ifindex);
        }
        Ok(mode)
    }

    pub(super) fn is_attached(&self, ifindex: Ifindex) -> bool {
        self.attached.contains_key(&ifindex)
    }

    /// Hands over new sockets.
    ///
    /// # Errors
    /// As [`Hooks::attach`].
    pub(super) fn open_channel(&self, link: &LinkFact, fast: &mut Fast) -> Result<(), Refused> {
        if let Some(Attached { mode, consume, .. }) = self.attached.get(&link.link.ifindex) {
            let lower = self.lower.get(&link.link.ifindex).copied().unwrap_or_default();
            fast.push(ToFast::Channel(sockets::channel(link, lower, *mode, *consume)?));
        }
        Ok(())
    }

    /// Also where the device has gone: a pin of what was attached to it blocks its name.
    pub(super) fn detach(&mut self, ifindex: Ifindex) {
        self.deaf.remove(&ifindex);
        self.lower.remove(&ifindex);
        let Some(attached) = self.attached.remove(&ifindex) else { return };
        self.unpin_hook(attached.mode, ifindex);
        if let Kernel::Ready { pins: Some(pins), .. } = &self.kernel {
            unpin(&pins.join(egress::pin_name(ifindex)));
        }
    }

    /// Nothing is attached by this pin when it returns; what is not pinned ends with its descriptor.
    fn unpin_hook(&self, mode: ReceiveMode, ifindex: Ifindex) {
        if let Kernel::Ready { pins: Some(pins), .. } = &self.kernel {
            let pin = pins.join(pin_name(mode, ifindex));
            match bpf::detach_pinned(&pin) {
                // It may never have been pinned, or hold nothing any more.
                Ok(()) | Err(_) => unpin(&pin),
            }
        }
    }

    /// Takes the hook off, and its pin.
    fn drop_hook(&mut self, ifindex: Ifindex) {
        let Some(attached) = self.attached.get_mut(&ifindex) else { return };
        let mode = attached.mode;
        attached.hook = None;
        self.unpin_hook(mode, ifindex);
    }

    /// Whether replies go further than the hook: it stays, and the sockets of the next channel know.
    pub(super) fn consume_as(&mut self, ifindex: Ifindex, consume: bool) {
        if let Some(attached) = self.attached.get_mut(&ifindex) {
            attached.consume = consume;
        }
    }

    /// Only these have hooks from now on, whoever has attached the others: an earlier daemon may have
    /// had other members.
    pub(super) fn keep(&mut self, links: &BTreeSet<Ifindex>) {
        let others: Vec<_> = self.attached.keys().filter(|i| !links.contains(i)).copied().collect();
        others.into_iter().for_each(|ifindex| self.detach(ifindex));
        if let Some(pins) = pins::present(&self.bpffs) {
            unpin_where(&pins, |info| !links.contains(&info.ifindex));
        }
    }

    /// The slots come before the first channel that uses them, and so do the counts.
    fn load_once(&mut self, fast: &mut Fast, slow: &mut Slow) -> Result<(), Refused> {
        if !matches!(self.kernel, Kernel::Untried) {
            return Ok(());
        }
        let pins = pins::directory(&self.bpffs)
            .inspect_err(|reason| {
                slow.log(
                    Severity::Warning,
                    format!(
                        "nothing is pinned ({reason}): while mpathd restarts, replies are not \
                         received and the hooks are attached anew; mount a BPF file system \
                         (`mount -t bpf bpf /sys/fs/bpf`) or name one with --bpffs"
                    ),
                );
            })
            .ok();
        let loaded = at_ease(|| Bpf::load(self.object, pins.as_deref()))
            .and_then(|bpf| bpf.slots().map(|slots| (bpf, slots)));
        let (kernel, own, adopted) = match loaded {
            Ok((bpf, slots)) => {
                let adopted = bpf.adopted;
                let counters = bpf.counters().inspect_err(|reason| {
                    slow.log(Severity::Warning, format!("the kernel's counts are lost: {reason}"));
                });
                pins.iter().for_each(|pins| clear_defunct(pins));
                self.kernel = Kernel::Ready { bpf: Box::new(bpf), pins };
                (counters.ok(), slots, adopted)
            }
            Err(reason) => {
                slow.log(
                    Severity::Warning,
                    format!("no kernel program ({reason}): replies are received through sockets"),
                );
                self.kernel = Kernel::Without;
                (None, SlotMap::plain()?, false)
            }
        };
        slow.push(ToSlow::Counters(Box::new(Source { kernel, own: own.clone(), adopted })));
        fast.push(ToFast::Slots(own));
        Ok(())
    }

    /// The best kind that can be had.
    fn choose(&mut self, link: &mut LinkFact, datapath: Datapath, slow: &mut Slow) -> Choice {
        let (name, ifindex) = (link.link.name, link.link.ifindex);
        let old = self.attached.get(&ifindex);
        let is_there = |it: &&Attached| it.hook.is_some() || it.mode == ReceiveMode::Socket;
        let old = old.filter(is_there).map(|it| it.mode);
        if !matches!(self.kernel, Kernel::Ready { .. }) {
            let is_socket = old == Some(ReceiveMode::Socket);
            return if is_socket { Choice::Keep } else { Choice::New(ReceiveMode::Socket, None) };
        }
        let deaf = self.deaf.get(&ifindex).cloned().unwrap_or_default();
        for mode in kinds(link, datapath).into_iter().filter(|mode| !deaf.contains(mode)) {
            if old == Some(mode) && self.attached.get(&ifindex).is_some_and(|it| is_there(&it)) {
                return Choice::Keep;
            }
            // The kernel takes native or generic XDP, not both.
            let is_xdp = |mode| matches!(mode, ReceiveMode::Xdp | ReceiveMode::XdpGeneric);
            if is_xdp(mode) && old.is_some_and(is_xdp) && self.holds_xdp(ifindex) {
                self.drop_hook(ifindex);
                link.xdp = XdpSlot::default();
            }
            match self.try_kind(mode, link) {
                Ok(hook) => return Choice::New(mode, hook),
                Err(reason) => {
                    let severity =
                        if datapath == Datapath::Auto { Severity::Info } else { Severity::Error };
                    slow.log(severity, format!("{name}: no {}: {reason}", kind(mode)));
                }
            }
        }
        Choice::New(ReceiveMode::Socket, None)
    }

    fn holds_xdp(&self, ifindex: Ifindex) -> bool {
        self.attached.get(&ifindex).is_some_and(|it| it.hook.is_some())
    }

    fn try_kind(&mut self, mode: ReceiveMode, link: &LinkFact) -> Result<Option<Hook>, String> {
        let Kernel::Ready { bpf, pins } = &mut self.kernel else { return Ok(None) };
        let pins = pins.as_deref();
        match mode {
            ReceiveMode::Xdp => xdp(bpf, pins, link, XdpMode::Driver).map(Some),
            ReceiveMode::XdpGeneric => xdp(bpf, pins, link, XdpMode::Skb).map(Some),
            ReceiveMode::Tcx => {
                let pin = pins.map(|pins| pins.join(pin_name(mode, link.link.ifindex)));
                let program = bpf.tcx(programs::TCX)?;
                tcx(program, TcAttachType::Ingress, pin, link).map(Some)
            }
            ReceiveMode::Socket => Ok(None),
        }
    }
}

/// The kinds to try, best first. Native XDP only on a device without a lower one (N14): on others it
/// is partial or missing.
fn kinds(link: &LinkFact, datapath: Datapath) -> Vec<ReceiveMode> {
    use ReceiveMode::{Socket, Tcx, Xdp, XdpGeneric};
    match datapath {
        Datapath::Auto if link.lower => vec![Tcx, XdpGeneric, Socket],
        Datapath::Auto => vec![Xdp, Tcx, XdpGeneric, Socket],
        Datapath::Xdp => vec![Xdp, Socket],
        Datapath::XdpGeneric => vec![XdpGeneric, Socket],
        Datapath::Tcx => vec![Tcx, Socket],
        Datapath::Socket => vec![Socket],
    }
}

fn kind(mode: ReceiveMode) -> &'static str {
    match mode {
        ReceiveMode::Xdp => "native XDP",
        ReceiveMode::XdpGeneric => "generic XDP",
        ReceiveMode::Tcx => "tcx ingress",
        ReceiveMode::Socket => "socket",
    }
}

fn pin_name(mode: ReceiveMode, ifindex: Ifindex) -> String {
    let kind = match mode {
        ReceiveMode::Xdp => "xdp",
        ReceiveMode::XdpGeneric => "xdp-generic",
        ReceiveMode::Tcx => "tcx",
        ReceiveMode::Socket => "socket",
    };
    format!("{kind}-{}", ifindex.0)
}

fn unpin(path: &Path) {
    match fs::remove_file(path) {
        // It may never have been pinned.
        Ok(()) | Err(_) => {}
    }
}

/// Unlinks links whose device has gone: they hold nothing, but block their name (N25).
fn clear_defunct(pins: &Path) {
    unpin_where(pins, |info| info.ifindex == Ifindex(0));
}

/// Looks at links only; maps are pinned beside them.
fn unpin_where(pins: &Path, useless: impl Fn(LinkInfo) -> bool) {
    let Ok(entries) = fs::read_dir(pins) else { return };
    let is_link = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        ["xdp-", "tcx-", egress::PIN].iter().any(|kind| name.starts_with(kind))
    };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()).filter(is_link) {
        if bpf::link_info(&path).is_ok_and(&useless) {
            unpin(&path);
        }
    }
}

/// A link that an earlier daemon pinned and that is still on this device, so it can be given our
/// program without a moment of deafness. `in_place`: whether the device shows that program.
fn adoptable(
    path: &Path,
    ifindex: Ifindex,
    in_place: impl FnOnce(LinkInfo) -> bool,
) -> Option<FdLink> {
    let info = bpf::link_info(path).ok()?;
    if info.ifindex != ifindex || !in_place(info) {
        unpin(path);
        return None;
    }
    PinnedLink::from_pin(path).ok().map(FdLink::from)
}

fn xdp(bpf: &mut Bpf, pins: Option<&Path>, link: &LinkFact, mode: XdpMode) -> Result<Hook, String> {
    let ifindex = link.link.ifindex;
    let native = mode == XdpMode::Driver;
    let kind = if native { ReceiveMode::Xdp } else { ReceiveMode::XdpGeneric };
    let pin = pins.map(|pins| pins.join(pin_name(kind, ifindex)));
    let slot = link.xdp;
    let program = bpf.xdp()?;
    let own = program.info().map_err(|e| in_words(&e))?.id();
    let old = pin.as_deref().and_then(|path| {
        adoptable(path, ifindex, |info| info.program == slot.program && slot.native == native)
    });
    if let Some(old) = old {
        let old = XdpLink::try_from(old).map_err(|e| in_words(&e))?;
        let id = program.attach_to_link(old).map_err(|e| in_words(&e))?;
        let link = program.take_link(id).map_err(|e| in_words(&e))?;
        return Ok(Hook { _link: Link::Xdp { _link: link }, program: own });
    }
    if slot.program != 0 {
        return Err(format!(
            "the slot holds program {} of somebody else; it is left alone",
            slot.program
        ));
    }
    let id = program.attach_to_if_index(ifindex.0, mode).map_err(|e| in_words(&e))?;
    let attached = program.take_link(id).map_err(|e| in_words(&e))?;
    // Only a BPF link can be pinned and adopted. aya falls back to the older way, whose program would
    // outlive us without an owner; dropping what is no BPF link takes it off again.
    let fd = FdLink::try_from(attached).map_err(|_| "this kernel has no BPF links".to_owned())?;
    let fd = match pin {
        Some(path) => FdLink::from(fd.pin(path).map_err(|e| in_words(&e))?),
        None => fd,
    };
    let link = Link::Xdp { _link: XdpLink::try_from(fd).map_err(|e| in_words(&e))? };
    Ok(Hook { _link: link, program: own })
}

fn tcx(
    program: &mut SchedClassifier,
    way: TcAttachType,
    pin: Option<PathBuf>,
    link: &LinkFact,
) -> Result<Hook, String> {
    let ifindex = link.link.ifindex;
    let name = link.link.name;
    let own = program.info().map_err(|e| in_words(&e))?.id();
    // One that is not the first would be bypassed.
    let is_first = |info: LinkInfo| {
        let all = bpf::tcx_programs(ifindex, way);
        all.is_ok_and(|all| all.first() == Some(&info.program))
    };
    if let Some(old) = pin.as_deref().and_then(|path| adoptable(path, ifindex, is_first)) {
        let old = SchedClassifierLink::try_from(old).map_err(|e| in_words(&e))?;
        let id = program.attach_to_link(old).map_err(|e| in_words(&e))?;
        let link = program.take_link(id).map_err(|e| in_words(&e))?;
        return Ok(Hook { _link: Link::Tcx { _link: link }, program: own });
    }
    // Before all others: what a program lets pass with TC_ACT_OK no later one sees. aya takes a name
    // here, and names change hands.
    if nix::net::if_::if_nametoindex(name.as_str()) != Ok(ifindex.0) {
        return Err("the device has been renamed".to_owned());
    }
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id =
        program.attach_with_options(name.as_str(), way, options).map_err(|error| match &error {
            ProgramError::SyscallError(call) if call.io_error.raw_os_error() == Some(EINVAL) => {
                "this kernel has none (it came with Linux 6.6)".to_owned()
            }
            other => in_words(other),
        })?;
    let attached = program.take_link(id).map_err(|e| in_words(&e))?;
    let fd = FdLink::try_from(attached).map_err(|e| in_words(&e))?;
    let fd = match pin {
        Some(path) => FdLink::from(fd.pin(path).map_err(|e| in_words(&e))?),
        None => fd,
    };
    let link = Link::Tcx { _link: SchedClassifierLink::try_from(fd).map_err(|e| in_words(&e))? };
    Ok(Hook { _link: link, program: own })
}
