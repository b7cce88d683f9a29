//! Dumps the addresses of a namespace again and again: whether somebody who looks would ever miss one.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};

use crate::netns::NetNs;

/// Looks until `finish`.
#[derive(Debug)]
pub struct Presence {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Presence {
    pub fn start(namespace: &NetNs, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let addresses: Vec<IpAddr> = addresses.into_iter().collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = namespace.spawn("presence", move || {
            let mut socket = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_ROUTE)
                .expect("a netlink socket can be opened");
            socket.bind_auto().expect("it can be bound");
            let mut dumps = 0;
            while !stopped.load(Ordering::Relaxed) {
                dumps += 1;
                for address in missing(&addresses, &dump(&socket)) {
                    // A dump goes from device to device: an address that moves meanwhile to one that was passed
                    // already is not in it. It is in the next one.
                    let again = missing(&[address], &dump(&socket));
                    assert!(again.is_empty(), "{address} is on no device in two dumps in a row");
                }
            }
            dumps
        });
        Self { stop, thread }
    }

    /// How many dumps there were; all addresses were in all of them.
    ///
    /// # Panics
    /// If one was missing.
    pub fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(dumps) => dumps,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn missing(wanted: &[IpAddr], there: &[IpAddr]) -> Vec<IpAddr> {
    wanted.iter().filter(|it| !there.contains(it)).copied().collect()
}

/// All addresses that the kernel lists, of all devices and both families.
fn dump(socket: &netlink_sys::Socket) -> Vec<IpAddr> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let inner = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(inner));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0).expect("the kernel takes the request");
    let mut found = Vec::new();
    loop {
        let (answer, _) = socket.recv_from_full().expect("the kernel answers");
        let mut rest = answer.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest);
            let message = message.expect("the answer can be read");
            let length = usize::try_from(message.header.length).expect("32 bits");
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            match message.payload {
                NetlinkPayload::Done(_) => return found,
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(it)) => {
                    found.extend(it.attributes.iter().filter_map(|attribute| match attribute {
                        AddressAttribute::Address(ip) | AddressAttribute::Local(ip) => Some(*ip),
                        _ => None,
                    }));
                }
                other => panic!("not an address: {other:?}"),
            }
        }
    }
}
