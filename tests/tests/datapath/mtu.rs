//! Native XDP sets no limit to the MTU: frames may lie in several buffers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use mpathd_tests::observe::link;
use mpathd_tests::owner::wait_held;
use mpathd_tests::watch::AddressWatch;
use mpathd_tests::{Lab, isolated};

use super::{LIMIT, NATIVE, detects_a_cut, receive, running};

const MTU: &str = "9000";
const BYTES: usize = 4 << 20;
const PORT: u16 = 7009;

/// All ends of the cables and the switch.
fn raise(lab: &Lab) {
    let set = |device: &str| format!("link set {device} mtu {MTU}\n");
    lab.host().ip(&["eth0", "eth1"].map(set).concat());
    lab.lan().ip(&["sw0", "sw1", "p1", "p2", "p3", "pc", "br0"].map(set).concat());
    (1..=3).for_each(|n| lab.target(n).ip(&set("eth0")));
    lab.client().ip(&set("eth0"));
}

/// As a client sends to a data address: frames of the whole MTU, and every byte arrives.
fn jumbo_frames_pass(lab: &Lab) {
    let listener = lab.host().run(|| TcpListener::bind(("192.0.2.50", PORT)));
    let listener = listener.expect("the address is on the host");
    let received = std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("a client");
            stream.set_read_timeout(Some(LIMIT)).expect("a time");
            let mut all = Vec::new();
            stream.read_to_end(&mut all).expect("the stream ends");
            all.len()
        });
        lab.client().run(|| {
            let mut stream = TcpStream::connect(("192.0.2.50", PORT)).expect("a server");
            stream.set_write_timeout(Some(LIMIT)).expect("a time");
            stream.write_all(&vec![7; BYTES]).expect("it is taken");
        });
        server.join().expect("the server does not panic")
    });
    assert_eq!(received, BYTES);
}

#[test]
fn the_mtu_can_be_raised_while_native_xdp_is_attached() {
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = running(&lab, "datapath = \"xdp\"");
        wait_held(lab.host(), "192.0.2.50", "eth0", LIMIT);
        let addresses = AddressWatch::start(lab.host());
        raise(&lab);
        jumbo_frames_pass(&lab);
        for nic in ["eth0", "eth1"] {
            assert_eq!(receive(&daemon, nic), "xdp");
            assert_eq!(link(lab.host(), nic).xdp.map(|it| it.mode), Some(NATIVE));
        }
        assert_eq!(addresses.events(), [], "{}", daemon.log_text());
        detects_a_cut(&lab, &daemon);
        jumbo_frames_pass(&lab);
    });
}

#[test]
fn native_xdp_is_attached_where_the_mtu_is_large_already() {
    isolated(|| {
        let lab = Lab::builder().build();
        raise(&lab);
        let daemon = running(&lab, "");
        for nic in ["eth0", "eth1"] {
            assert_eq!(receive(&daemon, nic), "xdp", "{}", daemon.log_text());
        }
        wait_held(lab.host(), "192.0.2.50", "eth0", LIMIT);
        jumbo_frames_pass(&lab);
        detects_a_cut(&lab, &daemon);
    });
}
