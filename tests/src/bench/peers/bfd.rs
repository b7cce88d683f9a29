//! The BFD daemons of Debian 12, as each wants to be told and tells: configuration, command line, log.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::wire::ADDRESSES;

/// As many silent intervals are a failure.
pub(super) const MULTIPLIER: u32 = 3;
/// The priority that mpathd gives itself.
pub(super) const REAL_TIME: &str = "51";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bfd {
    Frr,
    Bird,
    Keepalived,
}

/// A daemon and how it is scheduled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) bfd: Bfd,
    pub(super) real_time: bool,
}

/// Each as it comes, and at its best.
pub(super) const SETTINGS: [Setting; 6] = [
    Setting { bfd: Bfd::Frr, real_time: false },
    Setting { bfd: Bfd::Frr, real_time: true },
    Setting { bfd: Bfd::Bird, real_time: false },
    Setting { bfd: Bfd::Bird, real_time: true },
    Setting { bfd: Bfd::Keepalived, real_time: false },
    Setting { bfd: Bfd::Keepalived, real_time: true },
];

/// What this process was told about the daemons' place, by `cargo xtask bench`.
pub(super) fn told(variable: &str) -> PathBuf {
    std::env::var_os(variable).map(PathBuf::from).unwrap_or_else(|| {
        panic!(
            "no BFD daemon to compare with ({variable} is not set): run `cargo xtask bench peers`"
        )
    })
}

impl Bfd {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Frr => "FRR",
            Self::Bird => "BIRD",
            Self::Keepalived => "keepalived",
        }
    }

    fn program(self) -> PathBuf {
        told("MPATHD_PEERS_DIR").join(match self {
            Self::Frr => "usr/lib/frr/bfdd",
            Self::Bird => "usr/sbin/bird",
            Self::Keepalived => "usr/sbin/keepalived",
        })
    }

    /// What it says of itself, in one line.
    pub(super) fn version(self) -> String {
        let output = with_libraries(Command::new(self.program()).arg("--version")).output();
        let output = output.unwrap_or_else(|error| panic!("cannot run {}: {error}", self.name()));
        // BIRD and keepalived say it on standard error.
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        let number = said.split_whitespace().find(|it| it.contains(|c: char| c.is_ascii_digit()));
        let number = number.unwrap_or_default().trim_start_matches('v');
        format!("{} {number}", self.name())
    }

    /// The interval at which a failure is found within `budget`; none if it refuses one so short.
    pub(super) fn interval(self, budget: Duration) -> Option<Duration> {
        /// bfdd takes whole milliseconds, 10 to 60 000.
        const FRR_LEAST: Duration = Duration::from_millis(10);
        let interval = budget / MULTIPLIER;
        match self {
            Self::Frr if interval < FRR_LEAST => None,
            // All alike where that is possible.
            _ if interval >= FRR_LEAST => Some(Duration::from_millis(round_ms(interval))),
            _ => Some(interval),
        }
    }

    /// Whether a line of its log says that the session is up now, or is not.
    pub(super) fn state(self, line: &str) -> Option<bool> {
        let state = match self {
            // `state-change: [mhop:no peer:...] down -> up`, `... up -> down reason:control-expired`
            Self::Frr => line.contains("state-change: ").then(|| line.split(" -> ").nth(1))?,
            // `bfd1: Session to 192.0.2.2 changed state from Init to Up`
            Self::Bird => line.split_once(" changed state from ")?.1.split(" to ").nth(1),
            // `(peer) Entering Down state (Local diagnostic - ...)`
            Self::Keepalived => line.split(") Entering ").nth(1),
        }?;
        let word = state.split_whitespace().next()?;
        Some(word.eq_ignore_ascii_case("up"))
    }
}

/// The nearest whole millisecond.
fn round_ms(interval: Duration) -> u64 {
    (interval + Duration::from_micros(500)).as_millis().try_into().expect("a short interval")
}

impl Setting {
    pub(super) fn name(self) -> String {
        let more = if self.real_time { ", real-time" } else { "" };
        format!("{}{more}", self.bfd.name())
    }

    /// Written into `folder`, which is this end's own.
    pub(super) fn configure(self, folder: &Path, end: usize, interval: Duration) {
        let (own, peer) = (ADDRESSES[end], ADDRESSES[1 - end]);
        let text = match self.bfd {
            Bfd::Frr => frr(own, peer, interval),
            Bfd::Bird => bird(own, peer, interval),
            Bfd::Keepalived => keepalived(own, peer, interval, self.real_time),
        };
        // keepalived believes the files of one that was killed.
        std::fs::remove_dir_all(folder).unwrap_or_default();
        std::fs::create_dir_all(folder).expect("/run is the lab's own");
        std::fs::write(folder.join("conf"), text).expect("/run is the lab's own");
        if self.bfd == Bfd::Frr {
            users(folder);
        }
    }

    /// To be run in the end's network namespace; it stays in the foreground and logs to its standard streams.
    pub(super) fn command(self, folder: &Path) -> Command {
        let at = folder.display();
        let options = match self.bfd {
            Bfd::Frr => format!(
                "-u root -g root -P 0 --log stdout --vty_socket {at} --bfdctl {at}/ctl -i {at}/pid -f {at}/conf"
            ),
            Bfd::Bird => format!("-f -c {at}/conf -s {at}/ctl"),
            Bfd::Keepalived => format!(
                "--dont-fork --log-console --no-syslog --log-detail --use-file={at}/conf --pid={at}/pid \
                 --bfd_pid={at}/bfd_pid"
            ),
        };
        let mut words = Vec::new();
        // keepalived has a setting of its own for that.
        if self.real_time && self.bfd != Bfd::Keepalived {
            words.extend(["chrt", "--fifo", REAL_TIME].map(str::to_owned));
        }
        if self.bfd == Bfd::Frr {
            words.extend(as_if_installed(folder));
        }
        words.push(self.bfd.program().display().to_string());
        words.extend(options.split(' ').map(str::to_owned));
        let mut command = Command::new(&words[0]);
        with_libraries(command.args(&words[1..]));
        command
    }
}

/// As its package's installation would have left things: users, and a place for files. For this process alone.
fn as_if_installed(folder: &Path) -> Vec<String> {
    let at = folder.display();
    let script = format!(
        "mount --bind {at}/passwd /etc/passwd && mount --bind {at}/group /etc/group && \
         mount -t tmpfs tmpfs /var/tmp && exec \"$@\""
    );
    ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
}

/// bfdd does not start without the groups that its package makes.
fn users(folder: &Path) {
    for (file, more) in [
        ("passwd", "frr:x:990:990::/:/usr/sbin/nologin\n"),
        ("group", "frr:x:990:\nfrrvty:x:991:root,frr\n"),
    ] {
        let old = std::fs::read_to_string(Path::new("/etc").join(file)).unwrap_or_default();
        std::fs::write(folder.join(file), old + more).expect("/run is the lab's own");
    }
}

fn with_libraries(command: &mut Command) -> &mut Command {
    // UTC and English: their stamps and words are read.
    command
        .env("LD_LIBRARY_PATH", told("MPATHD_PEERS_LIBRARIES"))
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
}

/// Without `interface`, which would have to come from zebra; the session is a single hop all the same.
fn frr(own: &str, peer: &str, interval: Duration) -> String {
    let ms = round_ms(interval);
    format!(
        "log timestamp precision 6\n\
         debug bfd peer\n\
         bfd\n\
         \x20peer {peer} local-address {own}\n\
         \x20 detect-multiplier {MULTIPLIER}\n\
         \x20 receive-interval {ms}\n\
         \x20 transmit-interval {ms}\n\
         \x20exit\n\
         exit\n"
    )
}

fn bird(own: &str, peer: &str, interval: Duration) -> String {
    let us = interval.as_micros();
    format!(
        "log stderr all;\n\
         timeformat log iso long us;\n\
         router id {own};\n\
         protocol device {{ }}\n\
         protocol bfd {{\n\
         \x20 debug {{ events, states }};\n\
         \x20 interface \"eth0\" {{ min rx interval {us} us; min tx interval {us} us; multiplier {MULTIPLIER}; }};\n\
         \x20 neighbor {peer} dev \"eth0\" local {own};\n\
         }}\n"
    )
}

fn keepalived(own: &str, peer: &str, interval: Duration, real_time: bool) -> String {
    let ms = interval.as_micros() as f64 / 1e3;
    let priority = if real_time { format!("bfd_rt_priority {REAL_TIME}\n") } else { String::new() };
    format!(
        "global_defs {{\n\
         router_id mpathd\n\
         {priority}\
         }}\n\
         bfd_instance peer {{\n\
         neighbor_ip {peer}\n\
         source_ip {own}\n\
         min_rx {ms}\n\
         min_tx {ms}\n\
         multiplier {MULTIPLIER}\n\
         }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_log_tells_the_new_state() {
        let down = "2026/11/28 00:13:42.260373 BFD: [SEY1D-NT8EQ] state-change: [mhop:no peer:192.0.2.2 \
                    local:192.0.2.1 vrf:default] up -> down reason:control-expired";
        assert_eq!(Bfd::Frr.state(down), Some(false));
        let up =
            "BFD: state-change: [mhop:no peer:192.0.2.2 local:192.0.2.1 vrf:default] init -> up";
        assert_eq!(Bfd::Frr.state(up), Some(true));
        assert_eq!(Bfd::Frr.state("session-new: mhop:no peer:192.0.2.2"), None);
        let bird = "<TRACE> bfd1: Session to 192.0.2.2 changed state from Up to Down";
        assert_eq!(Bfd::Bird.state(bird), Some(false));
        assert_eq!(
            Bfd::Bird.state("bfd1: Session to 192.0.2.2 changed state from Init to Up"),
            Some(true)
        );
        assert_eq!(Bfd::Bird.state("bfd1: State changed to up"), None);
        let keepalived =
            "(peer) Entering Down state (Local diagnostic - Control Detection Time Expired)";
        assert_eq!(Bfd::Keepalived.state(keepalived), Some(false));
        assert_eq!(Bfd::Keepalived.state("(peer) Entering Up state"), Some(true));
        assert_eq!(Bfd::Keepalived.state("(peer) Starting poll sequence"), None);
    }

    #[test]
    fn the_interval_is_a_third_of_the_budget_as_far_as_it_is_taken() {
        let of = |bfd: Bfd, ms| bfd.interval(Duration::from_millis(ms));
        assert_eq!(of(Bfd::Frr, 10), None);
        assert_eq!(of(Bfd::Frr, 30), Some(Duration::from_millis(10)));
        assert_eq!(of(Bfd::Bird, 10), Some(Duration::from_millis(10) / 3));
        for bfd in [Bfd::Frr, Bfd::Bird, Bfd::Keepalived] {
            assert_eq!(of(bfd, 50), Some(Duration::from_millis(17)));
        }
    }
}
