//! The maps of `mpathd_common::abi` and how the kernel side reads and writes their words.

use core::cell::UnsafeCell;

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::{Array, PerCpuArray};
use aya_ebpf::macros::btf_map;
use mpathd_common::abi::{
    OUTCOME_ROW, REDIRECTS as REDIRECT_ROWS, RING, RTT_ROW, Redirect, SKIP_ROW,
    SLOTS as SLOT_COUNT, Skip, Slot, Word, skip_key,
};
use mpathd_common::matching::Tables;

/// A word that user space reads or writes at the same time. A volatile access of an aligned u64 is
/// one instruction; plain stores were emitted in reverse order (LLVM 22).
#[repr(transparent)]
pub(crate) struct Shared(UnsafeCell<u64>);

impl Word for Shared {
    #[inline(always)]
    fn get(&self) -> u64 {
        // SAFETY: the cell is a valid, aligned u64 in a map value; concurrent writers write whole
        // words.
        unsafe { self.0.get().read_volatile() }
    }

    #[inline(always)]
    fn set(&self, value: u64) {
        // SAFETY: as in `get`.
        unsafe { self.0.get().write_volatile(value) }
    }
}

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;

/// Words that user space maps.
type Words<const ENTRIES: usize> = Array<Shared, ENTRIES, MMAPABLE>;

/// Words of which each CPU has its own. Our hooks run in softirq, which does not interrupt itself, so
/// a CPU adds to them without an atomic instruction.
type Counts<const ENTRIES: usize> = PerCpuArray<Shared, ENTRIES>;

#[btf_map(name = "MPATHD_SLOTS")]
static SLOTS: Array<Slot<Shared>, { SLOT_COUNT as usize }, MMAPABLE> = Array::new();
#[btf_map(name = "MPATHD_TX")]
static TX: Words<{ (SLOT_COUNT * RING) as usize }> = Array::new();
#[btf_map(name = "MPATHD_RX")]
static RX: Words<{ (SLOT_COUNT * RING) as usize }> = Array::new();
#[btf_map(name = "MPATHD_OUTCOMES")]
static OUTCOMES: Counts<{ (SLOT_COUNT * OUTCOME_ROW) as usize }> = PerCpuArray::new();
#[btf_map(name = "MPATHD_RTT")]
static RTT: Counts<{ (SLOT_COUNT * RTT_ROW) as usize }> = PerCpuArray::new();
#[btf_map(name = "MPATHD_SKIPS")]
static SKIPS: Counts<{ SKIP_ROW as usize }> = PerCpuArray::new();
#[btf_map(name = "MPATHD_REDIRECTS")]
static REDIRECTS: Array<Redirect<Shared>, { REDIRECT_ROWS as usize }, MMAPABLE> = Array::new();

#[inline(always)]
pub(crate) fn redirect(key: u32) -> Option<&'static Redirect<Shared>> {
    REDIRECTS.get(key)
}

/// The maps, as matching sees them.
pub(crate) struct Maps;

impl Tables for Maps {
    type Word = Shared;

    #[inline(always)]
    fn slot(&self, slot: u32) -> Option<&Slot<Shared>> {
        SLOTS.get(slot)
    }

    #[inline(always)]
    fn tx(&self, key: u32) -> Option<&Shared> {
        TX.get(key)
    }

    #[inline(always)]
    fn rx(&self, key: u32) -> Option<&Shared> {
        RX.get(key)
    }

    #[inline(always)]
    fn outcome(&self, key: u32) -> Option<&Shared> {
        OUTCOMES.get(key)
    }

    #[inline(always)]
    fn rtt(&self, key: u32) -> Option<&Shared> {
        RTT.get(key)
    }
}

impl Maps {
    #[inline(always)]
    pub(crate) fn skip(&self, skip: Skip) -> Option<&Shared> {
        SKIPS.get(skip_key(skip))
    }
}
