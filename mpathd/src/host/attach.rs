//! The receive hook of each NIC: which kind it gets, adoption of what an earlier daemon left in
//! place, and its sockets. Nothing here is fatal: what can't be had lowers the mode and is said
//! (N13). Somebody else's XDP program is never touched. Nothing is detached at stop.

mod egress;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType};
use libc::EINVAL;
use mpathd_common::abi::programs;
use mpathd_core::config::Datapath;
use mpathd_core::event::ReceiveMode;
use mpathd_core::ids::Ifindex;
use mpathd_core::message::Severity;

use super::bpf::{self, Bpf, LinkInfo, in_words};
use super::counters::Source;
use super::facts::LinkFact;
use super::netlink::Refused;
use super::outbox::{Fast, Slow};
use super::{pins, sockets};
use crate::fast::priority::at_ease;
use crate::fast::slots::SlotMap;
use crate::messages::{ToFast, ToSlow};

pub(super) struct Hooks {
    object: &'static [u8],
    bpffs: PathBuf,
    kernel: Kernel,
    attached: BTreeMap<Ifindex, Attached>,
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
    /// Keeps a link that is not pinned.
    _hook: Option<Link>,
    egress: Option<Link>,
}

enum Link {
    Xdp { _link: XdpLink },
    Tcx { _link: SchedClassifierLink },
}

impl Hooks {
    pub(super) fn new(object: &'static [u8], bpffs: PathBuf) -> Self {
        Self { object, bpffs, kernel: Kernel::Untried, attached: BTreeMap::new(), redirects: false }
    }

    /// Attaches the hook and hands over the sockets; a hook of the right kind that stands is left, and no
    /// other one is there: [`Hooks::detach_unwanted`].
    ///
    /// # Errors
    /// Where not even the sockets can be opened (EPERM without CAP_NET_RAW).
    pub(super) fn attach(
        &mut self,
        link: &LinkFact,
        datapath: Datapath,
        consume: bool,
        fast: &mut Fast,
        slow: &mut Slow,
    ) -> Result<ReceiveMode, Refused> {
        let ifindex = link.link.ifindex;
        self.load_once(fast, slow)?;
        if let Some(attached) = self.attached.get_mut(&ifindex)
            && wanted(link, datapath).contains(&attached.mode)
        {
            if attached.consume != consume {
                attached.consume = consume;
                let mode = attached.mode;
                self.open_channel(link, fast)?;
                return Ok(mode);
            }
            return Ok(attached.mode);
        }
        let (mode, hook) = self.choose(link, datapath, slow);
        self.attached.insert(ifindex, Attached { mode, consume, _hook: hook, egress: None });
        self.open_channel(link, fast).inspect_err(|_| self.detach(ifindex))?;
        Ok(mode)
    }

    /// Takes off a hook of a kind that is not wanted any more. `true`: the link is to be looked at anew.
    pub(super) fn detach_unwanted(&mut self, link: &LinkFact, datapath: Datapath) -> bool {
        let ifindex = link.link.ifindex;
        let unwanted = self
            .attached
            .get(&ifindex)
            .is_some_and(|it| !wanted(link, datapath).contains(&it.mode));
        if unwanted {
            self.detach(ifindex);
        }
        unwanted
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
            fast.push(ToFast::Channel(sockets::channel(link, *mode, *consume)?));
        }
        Ok(())
    }

    /// Also where the device has gone: a pin of what was attached to it blocks its name.
    pub(super) fn detach(&mut self, ifindex: Ifindex) {
        let Some(attached) = self.attached.remove(&ifindex) else { return };
        if let Kernel::Ready { pins: Some(pins), .. } = &self.kernel {
            unpin(&pins.join(pin_name(attached.mode, ifindex)));
            unpin(&pins.join(egress::pin_name(ifindex)));
        }
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
    fn choose(
        &mut self,
        link: &LinkFact,
        datapath: Datapath,
        slow: &mut Slow,
    ) -> (ReceiveMode, Option<Link>) {
        let Kernel::Ready { bpf, pins } = &mut self.kernel else {
            return (ReceiveMode::Socket, None);
        };
        let name = link.link.name;
        for mode in wanted(link, datapath) {
            let result = match mode {
                ReceiveMode::Xdp => xdp(bpf, pins.as_deref(), link, XdpMode::Driver),
                ReceiveMode::XdpGeneric => xdp(bpf, pins.as_deref(), link, XdpMode::Skb),
                ReceiveMode::Tcx => {
                    let pin =
                        pins.as_deref().map(|pins| pins.join(pin_name(mode, link.link.ifindex)));
                    bpf.tcx(programs::TCX).and_then(|it| tcx(it, TcAttachType::Ingress, pin, link))
                }
                ReceiveMode::Socket => break,
            };
            match result {
                Ok(hook) => return (mode, Some(hook)),
                Err(reason) => {
                    let severity =
                        if datapath == Datapath::Auto { Severity::Info } else { Severity::Error };
                    slow.log(severity, format!("{name}: no {}: {reason}", kind(mode)));
                }
            }
        }
        (ReceiveMode::Socket, None)
    }
}

/// The kinds to try, best first. Native XDP only on a device without a lower one (N14): on others it
/// is partial or missing.
fn wanted(link: &LinkFact, datapath: Datapath) -> Vec<ReceiveMode> {
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

fn xdp(bpf: &mut Bpf, pins: Option<&Path>, link: &LinkFact, mode: XdpMode) -> Result<Link, String> {
    let ifindex = link.link.ifindex;
    let native = mode == XdpMode::Driver;
    let kind = if native { ReceiveMode::Xdp } else { ReceiveMode::XdpGeneric };
    let pin = pins.map(|pins| pins.join(pin_name(kind, ifindex)));
    let slot = link.xdp;
    let program = bpf.xdp()?;
    let old = pin.as_deref().and_then(|path| {
        adoptable(path, ifindex, |info| info.program == slot.program && slot.native == native)
    });
    if let Some(old) = old {
        let old = XdpLink::try_from(old).map_err(|e| in_words(&e))?;
        let id = program.attach_to_link(old).map_err(|e| in_words(&e))?;
        let link = program.take_link(id).map_err(|e| in_words(&e))?;
        return Ok(Link::Xdp { _link: link });
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
    Ok(Link::Xdp { _link: XdpLink::try_from(fd).map_err(|e| in_words(&e))? })
}

fn tcx(
    program: &mut SchedClassifier,
    way: TcAttachType,
    pin: Option<PathBuf>,
    link: &LinkFact,
) -> Result<Link, String> {
    let ifindex = link.link.ifindex;
    let name = link.link.name;
    if let Some(old) = pin.as_deref().and_then(|path| adoptable(path, ifindex, |_| true)) {
        let old = SchedClassifierLink::try_from(old).map_err(|e| in_words(&e))?;
        let id = program.attach_to_link(old).map_err(|e| in_words(&e))?;
        let link = program.take_link(id).map_err(|e| in_words(&e))?;
        return Ok(Link::Tcx { _link: link });
    }
    // aya takes a name here, and names change hands.
    if nix::net::if_::if_nametoindex(name.as_str()) != Ok(ifindex.0) {
        return Err("the device has been renamed".to_owned());
    }
    let options = TcAttachOptions::TcxOrder(LinkOrder::default());
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
    Ok(Link::Tcx { _link: SchedClassifierLink::try_from(fd).map_err(|e| in_words(&e))? })
}
