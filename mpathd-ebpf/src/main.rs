//! The kernel programs of mpathd: stamp and match ICMP echo replies and, where that is configured, have
//! a healthy NIC send what a dead one is given. They decide nothing; the daemon does, by the maps.
//!
//! Entry points only. [`cursor`] reads the packet, [`maps`] declares the maps, [`reply`] and [`egress`]
//! join them with what `mpathd-common` has to say to a frame. Whatever does not concern us goes on as if
//! these programs were not there.
//!
//! For any other target than BPF the crate is an empty program, so that commands over the whole
//! workspace pass.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod cursor;
#[cfg(target_arch = "bpf")]
mod egress;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod reply;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
mod entry {
    use aya_ebpf::EbpfContext;
    use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
    use aya_ebpf::macros::{classifier, xdp};
    use aya_ebpf::programs::{TcContext, XdpContext};
    use mpathd_common::abi::LAYOUT_MARK;

    use crate::cursor::Frame;
    use crate::egress;
    use crate::reply::{Verdict, handle, is_cut_short};

    /// Native or generic XDP on the member. With `frags` a driver may hand over frames that lie in several
    /// buffers, so XDP sets no limit to the MTU; all that is read lies in the first one.
    #[xdp(frags)]
    fn mpathd_xdp(ctx: XdpContext) -> u32 {
        receive(&ctx)
    }

    /// For kernels that refuse `frags`.
    #[xdp]
    fn mpathd_xdp_linear(ctx: XdpContext) -> u32 {
        receive(&ctx)
    }

    #[inline(always)]
    fn receive(ctx: &XdpContext) -> u32 {
        let frame = Frame::new(ctx.data(), ctx.data_end());
        match handle(&frame, ctx.ingress_ifindex() as u32) {
            Verdict::Consume => xdp_action::XDP_DROP,
            Verdict::Pass => xdp_action::XDP_PASS,
        }
    }

    /// tcx ingress, or clsact before Linux 6.6. `TC_ACT_UNSPEC` hands the frame to the next
    /// program, if there is one.
    #[classifier]
    fn mpathd_tcx(ctx: TcContext) -> i32 {
        // Drivers may leave all but the Ethernet header in pages, where a program can't read it.
        if is_cut_short(&Frame::new(ctx.data(), ctx.data_end())) {
            pull(&ctx);
        }
        // SAFETY: the kernel passes a valid __sk_buff, and `ifindex` is a field of it that every tc
        // program may read.
        let ifindex = unsafe { (*ctx.as_ptr().cast::<aya_ebpf::bindings::__sk_buff>()).ifindex };
        match handle(&Frame::new(ctx.data(), ctx.data_end()), ifindex) {
            Verdict::Consume => TC_ACT_SHOT,
            Verdict::Pass => TC_ACT_UNSPEC,
        }
    }

    /// tcx egress.
    #[classifier]
    fn mpathd_egress(ctx: TcContext) -> i32 {
        egress::handle(&ctx)
    }

    /// Longest reply of ours: Ethernet with one tag, IPv6, ICMPv6, payload.
    const REPLY_MAX: u32 = 86;

    fn pull(ctx: &TcContext) {
        // Fails only for want of memory; the frame then passes, counted as truncated.
        let _pulled = ctx.pull_data(ctx.len().min(REPLY_MAX));
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        // Not reached: the verifier takes no program with an endless loop, so a panic in any path
        // fails at load.
        loop {}
    }

    /// The helpers used are open to GPL-compatible programs only.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    /// Read by `mpathd_common::abi::layout_of`.
    #[unsafe(link_section = "mpathd_layout")]
    #[unsafe(no_mangle)]
    static MPATHD_LAYOUT: [u8; 20] = LAYOUT_MARK;
}
