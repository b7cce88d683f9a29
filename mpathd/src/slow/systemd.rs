//! What systemd is told: READY, STOPPING, a line of status, and that the fast loop turns.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use mpathd_core::ids::Family;
use mpathd_core::time::Instant;
use mpathd_core::view::{GroupState, InterfaceState, View};
use sd_notify::NotifyState;

/// READY comes then at the latest, with what is missing (contract, READY).
pub(super) const READY_WITHIN: Duration = Duration::from_secs(5);

/// `false`: not to be reached now.
type Send = dyn FnMut(&[NotifyState<'_>]) -> bool;

pub(super) struct Systemd {
    send: Box<Send>,
    ready: bool,
    status: String,
    /// Between two pings; half of WatchdogSec (sd_watchdog_enabled(3)).
    ping: Option<Duration>,
    pinged: Option<Instant>,
}

impl Systemd {
    /// Whom the environment names; nobody, when systemd is not there.
    pub(super) fn from_env() -> Self {
        let manager = Manager::from_env();
        let send = move |states: &[NotifyState<'_>]| {
            manager.as_ref().is_none_or(|manager| manager.tell(states))
        };
        Self::new(Box::new(send), sd_notify::watchdog_enabled())
    }

    fn new(send: Box<Send>, watchdog: Option<Duration>) -> Self {
        let ping = watchdog.map(|limit| limit / 2);
        Self { send, ready: false, status: String::new(), ping, pinged: None }
    }

    /// A new picture, `None` when there is none yet, so long after the start.
    pub(super) fn update(&mut self, view: Option<&View>, running: Duration) {
        let settled = view.is_some_and(|view| view.settled);
        if !self.ready && !settled && running < READY_WITHIN {
            return;
        }
        let status = match view {
            None => "the engine has not started".to_owned(),
            Some(view) if view.settled => summary(view),
            Some(view) => missing(view),
        };
        // What could not be told is told by the next picture.
        if !self.ready {
            self.ready = (self.send)(&[NotifyState::Ready, NotifyState::Status(&status)]);
        } else if self.status == status || !(self.send)(&[NotifyState::Status(&status)]) {
            return;
        }
        self.status = status;
    }

    /// The fast loop has come round. Nothing else pings: a daemon that doesn't probe is to be
    /// restarted, however well its other threads are.
    pub(super) fn alive(&mut self, now: Instant) {
        let Some(ping) = self.ping else { return };
        if self.pinged.is_none_or(|last| now.since(last) >= ping)
            && (self.send)(&[NotifyState::Watchdog])
        {
            self.pinged = Some(now);
        }
    }

    pub(super) fn stopping(&mut self) {
        (self.send)(&[NotifyState::Stopping]);
    }
}

/// The service manager's socket. Ours never blocks, as that of the crate does: a manager that is
/// stopped would silence log, control socket and state file too.
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Manager {
    fn from_env() -> Option<Self> {
        let name = std::env::var_os("NOTIFY_SOCKET")?;
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name).ok()?,
            None => SocketAddr::from_pathname(&name).ok()?,
        };
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(Self { socket, address })
    }

    fn tell(&self, states: &[NotifyState<'_>]) -> bool {
        let lines: String = states.iter().map(|state| format!("{state}\n")).collect();
        self.socket.send_to_addr(lines.as_bytes(), &self.address).is_ok()
    }
}

/// `ipmp0 degraded (eth0 failed); ipmp1 ok`; and what waits.
fn summary(view: &View) -> String {
    let groups = groups(view);
    match view.waiting_route {
        Some(route) => format!("{groups}; {route}"),
        None => groups,
    }
}

fn groups(view: &View) -> String {
    if view.groups.is_empty() {
        return "no groups configured".to_owned();
    }
    let groups = view.groups.iter().map(|group| {
        let state = match group.state {
            GroupState::Ok => "ok",
            GroupState::Degraded => "degraded",
            GroupState::Failed => "failed",
        };
        let members = view.interfaces.iter().filter(|row| row.group == group.name);
        let troubles: Vec<_> = members
            .filter_map(|row| match (row.ifindex, row.state) {
                (None, _) => Some(format!("{} absent", row.name)),
                (_, InterfaceState::Failed) => Some(format!("{} failed", row.name)),
                (_, InterfaceState::Offline) => Some(format!("{} offline", row.name)),
                (_, InterfaceState::Ok | InterfaceState::Unknown) => {
                    let down = Family::ALL.into_iter().filter(|f| row.degraded[*f as usize]);
                    let down: Vec<_> = down.map(|family| format!(" {family}")).collect();
                    (!down.is_empty()).then(|| format!("{}{} failed", row.name, down.concat()))
                }
            })
            .collect();
        let name = match group.name.as_str() {
            "" => "interfaces outside of groups",
            name => name,
        };
        match troubles.is_empty() {
            true => format!("{name} {state}"),
            false => format!("{name} {state} ({})", troubles.join(", ")),
        }
    });
    groups.collect::<Vec<_>>().join("; ")
}

/// What stands between us and READY.
pub(super) fn missing(view: &View) -> String {
    let addresses = view.addresses.iter().filter(|row| !row.up || row.wanted.is_some());
    let waiting: Vec<_> = addresses.map(|row| row.address.address.to_string()).collect();
    match waiting.is_empty() {
        true => format!("routes are not complete; {}", summary(view)),
        false => format!("not placed: {}; {}", waiting.join(", "), summary(view)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    type Told = Rc<RefCell<Vec<String>>>;

    fn systemd(watchdog: Option<Duration>) -> (Systemd, Told) {
        let told = Told::default();
        let paper = Rc::clone(&told);
        let send = move |states: &[NotifyState<'_>]| {
            paper.borrow_mut().extend(states.iter().map(ToString::to_string));
            true
        };
        (Systemd::new(Box::new(send), watchdog), told)
    }

    #[test]
    fn ready_when_settled() {
        let (mut systemd, told) = systemd(None);
        let mut view = sample::view();
        view.settled = false;
        systemd.update(Some(&view), Duration::from_secs(1));
        assert!(told.borrow().is_empty());
        systemd.update(Some(&sample::view()), Duration::from_secs(2));
        systemd.update(Some(&sample::view()), Duration::from_secs(3));
        let told: Vec<_> = told.borrow().iter().map(|line| line.trim().to_owned()).collect();
        assert_eq!(told, ["READY=1", "STATUS=ipmp0 degraded (eth0 failed)"]);
    }

    #[test]
    fn a_family_that_is_down_is_named() {
        let mut view = sample::view();
        view.interfaces[1].degraded = [false, true];
        assert_eq!(summary(&view), "ipmp0 degraded (eth0 failed, eth1 inet6 failed)");
    }

    #[test]
    fn a_manager_that_does_not_listen_is_told_later() {
        let dir = sample::dir("notify");
        let socket = dir.join("socket");
        let listener = UnixDatagram::bind(&socket).unwrap();
        let manager = Manager {
            socket: UnixDatagram::unbound().unwrap(),
            address: SocketAddr::from_pathname(&socket).unwrap(),
        };
        manager.socket.set_nonblocking(true).unwrap();
        let mut told = 0;
        while manager.tell(&[NotifyState::Status("ok")]) {
            told += 1;
            assert!(told < 100_000, "the queue of a socket is bounded");
        }
        let mut line = [0; 64];
        let len = listener.recv(&mut line).unwrap();
        assert_eq!(&line[..len], b"STATUS=ok\n");
        assert!(manager.tell(&[NotifyState::Ready]));
    }

    #[test]
    fn ready_after_five_seconds_says_what_is_missing() {
        let (mut systemd, told) = systemd(None);
        let mut view = sample::view();
        view.settled = false;
        view.addresses[0].up = false;
        systemd.update(Some(&view), READY_WITHIN);
        assert_eq!(told.borrow().len(), 2);
        assert!(told.borrow()[1].contains("STATUS=not placed: 192.0.2.50; ipmp0 degraded"));
    }

    #[test]
    fn only_a_turning_loop_feeds_the_watchdog() {
        let (mut systemd, told) = systemd(Some(Duration::from_secs(10)));
        systemd.update(Some(&sample::view()), Duration::ZERO);
        let before = told.borrow().len();
        for second in 0..11 {
            systemd.alive(Instant(second * 1_000_000_000));
        }
        assert_eq!(told.borrow().len() - before, 3, "at 0, 5 and 10 s");
    }
}
