//! The slots: where the fast thread writes what it sent and the hook what it received.

/// The mapped maps of the BPF object.
pub struct SlotMap {}
