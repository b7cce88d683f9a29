//! From frame to verdict: parse, match, count. Shared by both entry points.

use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns};
use mpathd_common::abi::{Outcome, Skip, Word};
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

/// Enters the frame into the maps if it answers a probe, and counts it in any case.
#[inline(always)]
pub(crate) fn handle(frame: &Frame, ifindex: u32) -> Verdict {
    // SAFETY: takes no argument and has no condition.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if let Some(frames) = Maps.frames(cpu) {
        frames.increment();
    }
    judge(frame, ifindex, cpu).unwrap_or_else(|skip| {
        if let Some(count) = Maps.skip(skip) {
            count.increment();
        }
        Verdict::Pass
    })
}

#[inline(always)]
fn judge(frame: &Frame, ifindex: u32, cpu: u32) -> Result<Verdict, Skip> {
    let reply = parse(frame)?;
    // SAFETY: takes no argument and has no condition. The same clock as CLOCK_MONOTONIC.
    let found = match_reply(&Maps, &reply, ifindex, || unsafe { bpf_ktime_get_ns() })?;
    if found.outcome == Outcome::Reply
        && let Some(served_by) = Maps.served_by(reply.slot)
    {
        served_by.set(u64::from(cpu) + 1);
    }
    Ok(if found.consume { Verdict::Consume } else { Verdict::Pass })
}
