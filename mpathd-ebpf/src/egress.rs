//! Sends what a dead NIC is given to send by a healthy one, as [`mpathd_common::redirect`] says.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{__sk_buff, TC_ACT_UNSPEC};
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_redirect};
use aya_ebpf::programs::TcContext;
use mpathd_common::abi::redirect_key;
use mpathd_common::redirect::{family, way};

use crate::cursor::Frame;
use crate::maps::redirect;

/// Offset of the source MAC in a frame.
const SOURCE_MAC: usize = 6;

#[inline(always)]
pub(crate) fn handle(ctx: &TcContext) -> i32 {
    leave(ctx).unwrap_or(TC_ACT_UNSPEC)
}

/// `None`: by the NIC that it was given to.
#[inline(always)]
fn leave(ctx: &TcContext) -> Option<i32> {
    let skb = ctx.as_ptr().cast::<__sk_buff>();
    // SAFETY: the kernel passes a valid __sk_buff, and every tc program may read these fields of it.
    let (ifindex, protocol, tagged) =
        unsafe { ((*skb).ifindex, (*skb).protocol, (*skb).vlan_present) };
    let family = family(u16::from_be(protocol as u16))?;
    let row = redirect(redirect_key(ifindex, family))?;
    // A tag that is not in the frame yet: it is of another LAN, from a device stacked on this one.
    if tagged != 0 {
        return None;
    }
    let frame = Frame::new(ctx.data(), ctx.data_end());
    // SAFETY: takes no argument and has no condition. The same clock as CLOCK_MONOTONIC.
    let now_ns = || unsafe { bpf_ktime_get_ns() };
    let way = way(&frame, family, row, |other| redirect(redirect_key(other, family)), now_ns)?;
    ctx.store(SOURCE_MAC, &way.mac, 0).ok()?;
    // SAFETY: takes numbers only; a NIC that is not there drops the frame.
    Some(unsafe { bpf_redirect(way.ifindex, 0) } as i32)
}
