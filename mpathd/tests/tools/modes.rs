//! The modes of `ipmpstat` against the samples of behaviour file 7.3 to 7.7.

use mpathd::cli::daemon::Snapshot;
use mpathd::cli::ipmpstat::args::Mode;
use mpathd::cli::ipmpstat::rows;
use mpathd::cli::names::Names;

use crate::ipmpstat::{shown, shown_by};
use crate::sample::{Blind, ifname, view};

/// Behaviours 141, 142.
#[test]
fn groups() {
    let expected = "\
GROUP       GROUPNAME   STATE     FDT       INTERFACES
itops0      itops0      ok        0.10s     net0 net1
acctg1      acctg1      failed    --        [hme0 hme1]
field2      field2      degraded  20.00s    fops0 fops3 (fops2) [fops1]
";
    assert_eq!(shown("-g"), expected);
    let more = "itops0:104.00ms:10000.00ms:yes\nacctg1::10000.00ms:yes\n\
                field2:20000.00ms:10000.00ms:yes\n";
    assert_eq!(shown("-gPo group,achieved,requested,failback"), more);
}

#[test]
fn an_fdt_of_milliseconds_is_not_rounded() {
    for (ms, text) in [(5, "0.005s"), (10, "0.01s"), (13, "0.013s"), (104, "0.10s")] {
        let mut view = view();
        view.groups[0].fdt = Some(std::time::Duration::from_millis(ms));
        let snapshot = Snapshot { view, ..Snapshot::default() };
        let groups = rows(Mode::Groups, &snapshot, &Names::numeric());
        assert_eq!(groups.last().unwrap()[3], text);
    }
}

/// Behaviours 152, 154.
#[test]
fn interfaces() {
    let expected = "\
INTERFACE   ACTIVE  GROUP       FLAGS     LINK      PROBE     STATE
net0        yes     itops0      -------   up        ok        ok
net1        yes     itops0      -------   up        ok        ok
hme0        no      acctg1      -----d-   unknown   disabled  offline
hme1        no      acctg1      ------h   up        unknown   unknown
fops0       yes     field2      -------   up        ok        ok
fops3       yes     field2      -------   up        ok        ok
fops2       no      field2      is-----   up        ok        ok
fops1       no      field2      -------   down      failed    failed
";
    assert_eq!(shown("-i"), expected);
    let more = "net0:xdp-generic::::\nnet1:xdp-generic::::\nhme0:xdp-generic:offline:::\nhme1:::::\n\
                fops0:xdp-generic::::\nfops3:xdp-generic::inet6::\nfops2:xdp-generic::::\n\
                fops1:xdp-generic:link::60s:fops0\n";
    assert_eq!(shown("-iPo interface,receive,reason,degraded,damped,redirect"), more);
}

#[test]
fn interfaces_that_nothing_watches() {
    assert!(
        shown_by::<Blind>("-iPo interface,unwatched").starts_with("net0:inet\\:no-reply\nnet1:\n")
    );
}

/// Behaviours 143, 144, 153.
#[test]
fn addresses() {
    let expected = "\
ADDRESS                   STATE  GROUP       INBOUND     OUTBOUND
192.168.10.10             up     itops0      net0        net0 net1
2001:db8::10              up     itops0      net1        net0 net1
192.168.99.10             up     itops0      net1        net1
192.0.0.100               up     acctg1      --          --
128.0.0.102               down   field2      --          --
";
    assert_eq!(shown("-an"), expected);
    let escaped = "192.168.10.10:net0\n2001\\:db8\\:\\:10:net1\n192.168.99.10:net1\n\
                   192.0.0.100:\n128.0.0.102:\n";
    assert_eq!(shown("-P -o address,inbound -an"), escaped);
    assert!(shown("-P -o address -an").contains("\n2001:db8::10\n"));
    assert_eq!(shown("-aPo wanted"), "\nnet0\n\n\n\n");
}

#[test]
fn a_dead_family_leaves_by_no_degraded_member() {
    let mut view = view();
    let net0 = view.interfaces.iter_mut().find(|i| i.name == ifname("net0")).unwrap();
    net0.degraded = [false, true];
    let rows = rows(Mode::Addresses, &Snapshot { view, ..Snapshot::default() }, &Names::numeric());
    assert_eq!((rows[0][4].as_str(), rows[1][4].as_str()), ("net0 net1", "net1"));
}

#[test]
fn targets() {
    let expected = "\
INTERFACE   MODE      TESTADDR            TARGETS
net0        pinned    192.168.10.30       192.168.10.1 192.168.10.3
net1        routes    192.168.10.31       --
net1        multicast fe80::31            fe80::1
hme0        disabled  --                  --
hme1        disabled  --                  --
fops0       disabled  --                  --
fops3       disabled  --                  --
fops2       disabled  --                  --
fops1       disabled  --                  --
";
    assert_eq!(shown("-tn"), expected);
    let more = "net0:192.168.10.9:1666.67ms:3:inet\nnet1:192.168.10.1:1666.67ms:3:inet\n";
    assert!(shown("-tnPo interface,silent,interval,missed,family").starts_with(more));
}

#[test]
fn lateness() {
    let expected = "\
DELAY          COUNT      P50        P99        P99.9      MAX         AGE
wake-up        3000       0.13ms     0.13ms     1.50ms     1.50ms      2s
request        2          2.00ms     2.00ms     2.00ms     2.00ms      2s
cpu-wait/s     4          0.30ms     0.30ms     0.30ms     0.30ms      2s
steal/s        4          0.00ms     40.00ms    40.00ms    40.00ms     2s
interrupts/s   --         --         --         --         --          --
rounds-missed  3          --         --         --         --          --
";
    assert_eq!(shown("-l"), expected);
    let parseable = shown("-lPo delay,max");
    assert!(parseable.starts_with("wake-up:1.50ms\nrequest:2.00ms\n"), "{parseable}");
}

/// Behaviour 149.
#[test]
fn probes() {
    let expected = "\
TIME      INTERFACE   PROBE  NETRTT    RTT       RTTAVG    TARGET
0.11s     net0        589    0.51ms    0.76ms    0.76ms    192.168.10.1
0.11s     net0        590    --        --        0.76ms    192.168.10.1
-0.10s    net0        65535  --        --        --        192.168.10.1
";
    assert_eq!(shown("-pn"), expected);
    let all = shown("-p -o all");
    assert!(all.lines().all(|line| line.ends_with("RTTDEV") || line.ends_with("0.04ms")), "{all}");
}

#[test]
fn events() {
    let expected = "\
TIME                     GROUP       INTERFACE   EVENT               REASON
2026-11-28T03:14:15.926Z ipmp0       net0        interface-failed    probes
2026-11-28T03:14:15.926Z ipmp0       net0        interface-repaired  --
";
    assert_eq!(shown("-e --follow"), expected);
    assert_eq!(shown("-ePo seq,text"), "41:IP interface failure detected on net0 of group ipmp0\n");
    let all: serde_json::Value = serde_json::from_str(&shown("-e --json")).unwrap();
    assert_eq!(all["events"][0]["detail"], "probes: 3 of 3 targets silent");
    let followed = shown("-e --follow --json");
    let lines: Vec<serde_json::Value> =
        followed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|it| it["seq"].as_u64()).collect::<Vec<_>>(), [Some(41), Some(43)]);
    assert!(lines[1].get("reason").is_none());
}

#[test]
fn names_come_without_their_domain() {
    let names = Names::parse(
        "# a comment\n192.168.10.10 www.example.org www # ours\n192.168.10.10 second\n\
         2001:db8::10\tsix\nnonsense here\n192.168.99.10\n",
    );
    let rows = rows(Mode::Addresses, &Snapshot { view: view(), ..Snapshot::default() }, &names);
    let shown: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(shown, ["www", "six", "192.168.99.10", "192.0.0.100", "128.0.0.102"]);
}
