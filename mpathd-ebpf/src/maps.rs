//! The maps of `mpathd_common::abi` and how the kernel side reads and writes their words.

use core::cell::UnsafeCell;
use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::btf_map;
use mpathd_common::abi::{
    CPUS, OUTCOME_ROW, RING, RTT_ROW, SKIP_ROW, SLOTS as SLOT_COUNT, Slot, Word,
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

    #[inline(always)]
    fn add(&self, n: u64) {
        // SAFETY: as in `get`. Compiles to `lock *(u64 *)(r) += n`.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(self.0.get(), n) };
    }
}

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;

/// Words that user space maps.
type Words<const ENTRIES: usize> = Array<Shared, ENTRIES, MMAPABLE>;

#[btf_map(name = "MPATHD_SLOTS")]
static SLOTS: Array<Slot<Shared>, { SLOT_COUNT as usize }, MMAPABLE> = Array::new();
#[btf_map(name = "MPATHD_TX")]
static TX: Words<{ (SLOT_COUNT * RING) as usize }> = Array::new();
#[btf_map(name = "MPATHD_RX")]
static RX: Words<{ (SLOT_COUNT * RING) as usize }> = Array::new();
#[btf_map(name = "MPATHD_OUTCOMES")]
static OUTCOMES: Words<{ (SLOT_COUNT * OUTCOME_ROW) as usize }> = Array::new();
#[btf_map(name = "MPATHD_RTT")]
static RTT: Words<{ (SLOT_COUNT * RTT_ROW) as usize }> = Array::new();
#[btf_map(name = "MPATHD_SKIPS")]
static SKIPS: Words<{ (CPUS * SKIP_ROW) as usize }> = Array::new();

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
    /// A count in this CPU's row of `MPATHD_SKIPS`.
    #[inline(always)]
    pub(crate) fn skip(&self, key: u32) -> Option<&Shared> {
        SKIPS.get(key)
    }
}
