//! What a hostile host does.

use std::any::Any;

use crate::flood::Flood;
use crate::lab::Lab;
use crate::load::{Containers, Hogs, Stress};

const HOGS: usize = 16;
/// The priority of the daemon's host thread; one more has the thread that probes.
const REAL_TIME: u32 = 50;
const CONTAINERS: usize = 4;
/// Frames a second into each NIC; what the machine makes of it is told.
const UDP: u64 = 150_000;
const LOOK_ALIKES: u64 = 500_000;
/// The NICs that are flooded, and then cut: the first one of each group.
pub(super) const NICS: [usize; 2] = [0, 2];
/// Their test addresses.
const ADDRESSES: [[u8; 4]; 2] = [[192, 0, 2, 10], [198, 18, 0, 12]];

pub(super) struct Load {
    pub(super) name: &'static str,
    /// It ends when what this gives is dropped.
    pub(super) start: fn(&Lab) -> Box<dyn Any>,
}

pub(super) const LOADS: &[Load] = &[
    Load { name: "16 CPU hogs", start: |_| Box::new(Hogs::start(HOGS)) },
    Load { name: "SCHED_FIFO 50 hogs", start: |_| Box::new(Hogs::of_real_time(REAL_TIME)) },
    Load { name: "UDP flood", start: |lab| Box::new(udp(lab)) },
    Load { name: "fork, memory", start: |_| Box::new(Stress::start(FORK_AND_MEMORY)) },
    Load { name: "netns churn", start: |_| Box::new(Containers::start(CONTAINERS)) },
    Load { name: "look-alikes", start: |lab| Box::new(look_alikes(lab)) },
];

const FORK_AND_MEMORY: &[&str] = &["--fork", "4", "--vm", "2", "--vm-bytes", "1g"];

fn udp(lab: &Lab) -> [Flood; 2] {
    [0, 1].map(|group| {
        let nic = NICS[group];
        Flood::of_udp(lab.lan(), &format!("sw{nic}"), mac(nic), lab.host(), ADDRESSES[group], UDP)
    })
}

fn look_alikes(lab: &Lab) -> [Flood; 2] {
    NICS.map(|nic| Flood::of_look_alikes(lab.lan(), &format!("sw{nic}"), mac(nic), LOOK_ALIKES))
}

/// As `lab::nic_mac`.
fn mac(nic: usize) -> [u8; 6] {
    [2, 0, 0, 0, 0, u8::try_from(nic).expect("few NICs")]
}
