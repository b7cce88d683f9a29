//! From frame to verdict: parse, match, count. Shared by both entry points.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use mpathd_common::abi::{Skip, Word};
use mpathd_common::matching::match_reply;
use mpathd_common::wire::parse;

use crate::cursor::Frame;
use crate::maps::Maps;

/// What happens to the frame.
pub(crate) enum Verdict {
    Consume,
    Pass,
}

/// Whether the readable part of a frame ends before it is clear what it is.
#[inline(always)]
pub(crate) fn is_cut_short(frame: &Frame) -> bool {
    matches!(parse(frame), Err(Skip::Truncated))
}

/// Enters the frame into the maps if it answers a probe, else the reason why it is passed on.
#[inline(always)]
pub(crate) fn handle(frame: &Frame, ifindex: u32) -> Verdict {
    judge(frame, ifindex).unwrap_or_else(|skip| {
        if let Some(count) = Maps.skip(skip) {
            count.increment();
        }
        Verdict::Pass
    })
}

#[inline(always)]
fn judge(frame: &Frame, ifindex: u32) -> Result<Verdict, Skip> {
    let reply = parse(frame)?;
    // SAFETY: takes no argument and has no condition. The same clock as CLOCK_MONOTONIC.
    let found = match_reply(&Maps, &reply, ifindex, || unsafe { bpf_ktime_get_ns() })?;
    Ok(if found.consume { Verdict::Consume } else { Verdict::Pass })
}
