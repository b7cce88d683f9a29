//! The lab: network namespaces with a host, a switch, targets, a client and a far network, and the means to
//! break it exactly and to watch it from outside. Used by all root tests, the demo and the benchmarks.
//!
//! Nothing here runs code of the product: what it does is seen through `ip -j`, rtnetlink notices, a capture
//! on the switch, and the streams of its clients.

pub mod bench;
pub mod bpf;
pub mod capture;
pub mod clock;
pub mod config;
pub mod cuts;
pub mod daemon;
pub mod delays;
pub mod demo;
pub mod figures;
pub mod flood;
pub mod inject;
pub mod isolate;
pub mod lab;
pub mod link_watch;
pub mod load;
pub mod netns;
pub mod object;
pub mod observe;
pub mod owner;
pub mod ping;
pub mod presence;
pub mod reflector;
mod reply_socket;
pub mod rtnl;
pub mod told;
pub mod traffic;
pub mod valve;
pub mod wait;
pub mod watch;

/// The checkout that the tests belong to: as cargo names it to what it runs, for the path that this was
/// compiled with may be another checkout's, where a target folder was copied or is shared.
pub fn checkout() -> std::path::PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR");
    let package = package.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    std::path::Path::new(&package).parent().expect("a crate of the workspace").to_owned()
}

pub use clock::Nanos;
pub use config::Config;
pub use daemon::Daemon;
pub use isolate::{isolated, isolated_beside_kernel_threads};
pub use lab::Lab;
pub use netns::NetNs;
pub use wait::wait_for;
