//! The control socket of a running slow thread, from outside: real sockets, real clients, and a
//! stand-in for the two other threads.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant as Clock};

use mpathd::config;
use mpathd::fast::{Heir, Note};
use mpathd::host;
use mpathd::messages::{Queues, ToFast, ToSlow};
use mpathd::shared::Shared;
use mpathd::slow::client::{self, Client, ClientError, Reloaded};
use mpathd::slow::log::{Log, Sink};
use mpathd::slow::{
    self, BindError, NotReloaded, Plan, Reload, RunError, Setup, lock, state, trial,
};
use mpathd_core::config::Config;
use mpathd_core::event::{Command, Event};
use mpathd_core::ids::{GroupName, IfName, Seq};
use mpathd_core::message::Message;
use mpathd_core::request::{CommandError, Notice, ProbeOutcome};
use mpathd_core::time::Instant;
use mpathd_core::view::{GroupState, GroupView};
use serde_json::{Value, json};

/// Of every wait.
const LIMIT: Duration = Duration::from_secs(20);

/// A daemon without engine and host: commands are answered by a rule, probes come when told.
struct Daemon {
    dir: PathBuf,
    queues: Queues,
    shared: Arc<Shared>,
    ended: Arc<AtomicBool>,
    engine: Option<JoinHandle<()>>,
    slow: Option<JoinHandle<Result<(), RunError>>>,
}

impl Daemon {
    fn start(test: &str) -> Self {
        Self::start_with(test, Script::default())
    }

    fn start_with(test: &str, script: Script) -> Self {
        let mut daemon = Self::launch(&fresh(test), test, script);
        wait("the socket", || client::connect(&daemon.dir).is_ok());
        let (queues, ended) = (daemon.queues.clone(), Arc::clone(&daemon.ended));
        daemon.engine = Some(thread::spawn(move || engine(&queues, &ended)));
        daemon
    }

    fn launch(dir: &Path, test: &str, mut script: Script) -> Self {
        let (queues, shared) = (Queues::new().unwrap(), Arc::new(Shared::new().unwrap()));
        let name = format!("mpathd-control-{test}-{}", std::process::id());
        let (for_slow, view, run_dir) = (queues.clone(), Arc::clone(&shared), dir.to_owned());
        let place = run_dir.clone();
        let listener = slow::listen(dir).unwrap();
        let slow = thread::spawn(move || {
            slow::run(Setup {
                queues: for_slow,
                shared: view,
                lock: lock::acquire_as(&run_dir, name.as_bytes()).unwrap(),
                listener,
                run_dir,
                log: Log::new(Sink::Text(Box::new(std::io::sink()))),
                state: state::State::default(),
                config: Config::default(),
                record: None,
                place: trial::Place::from_env(&place),
                note: None,
                not_started: Vec::new(),
                reload: &mut script,
            })
        });
        let (dir, ended) = (dir.to_owned(), Arc::default());
        Self { dir, queues, shared, ended, engine: None, slow: Some(slow) }
    }

    fn client(&self) -> Client {
        client::connect(&self.dir).unwrap()
    }

    fn raw(&self) -> UnixStream {
        let stream = UnixStream::connect(self.dir.join("mpathd.sock")).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// `false`: the queue is full.
    fn probe(&self, seq: u16) -> bool {
        let outcome = ProbeOutcome {
            interface: name("eth0"),
            target: IpAddr::from([192, 0, 2, 1]),
            seq: Seq(seq),
            sent: Instant(1000),
            received: seq.is_multiple_of(2).then_some(Instant(2000)),
            processed: Instant(3000),
            srtt: 1000,
            rttvar: 10,
        };
        self.queues.slow.push(ToSlow::Notice(Instant(3000), Notice::Probe(outcome))).is_ok()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let told = self.queues.slow.push(ToSlow::Stopped("test")).is_ok();
        let engine = self.engine.take().map(JoinHandle::join);
        let slow = self.slow.take().map(JoinHandle::join);
        if !thread::panicking() {
            assert!(told && engine.is_none_or(|ended| ended.is_ok()));
            assert!(slow.is_none_or(|ended| matches!(ended, Ok(Err(RunError::Died("test"))))));
            std::fs::remove_dir_all(&self.dir).unwrap();
        }
    }
}

type Outcome = Result<Vec<String>, NotReloaded>;

/// What reloads are to come to, one after the other.
#[derive(Clone, Default)]
struct Script {
    outcomes: Arc<Mutex<VecDeque<Outcome>>>,
    /// Engines that were made.
    heirs: Arc<AtomicUsize>,
}

impl Script {
    fn new(outcomes: impl IntoIterator<Item = Outcome>) -> Self {
        let outcomes = Mutex::new(outcomes.into_iter().collect());
        Self { outcomes: Arc::new(outcomes), ..Self::default() }
    }
}

impl Reload for Script {
    fn prepare(&mut self, _: &state::State) -> Result<Plan, NotReloaded> {
        let changes = self.outcomes.lock().unwrap().pop_front().expect("an unforeseen reload")?;
        let settings = config::parse(b"", Path::new("mpathd.toml")).unwrap();
        let (refused, taken, text) = (Vec::new(), Vec::new(), "tried".to_owned());
        Ok(Plan { changes, settings, refused, taken, text })
    }

    fn restore(&mut self, text: &str) -> Result<Plan, NotReloaded> {
        assert_eq!(text, "confirmed");
        self.prepare(&state::State::default())
    }

    fn in_force(&self) -> String {
        "confirmed".to_owned()
    }

    fn heir(&mut self, _: &Plan, state: &state::State) -> std::io::Result<Box<Heir>> {
        let revision = self.heirs.fetch_add(1, Ordering::Relaxed) as u32 + 1;
        let (config, text) = (Config::default(), String::new());
        let note = Note { config: config.clone(), text, seed: 1, revision };
        let shared = Shared::new()?;
        let settings = host::Settings::default();
        Ok(Heir::new(note, state.core.clone(), &config, 0, settings, 0, &shared))
    }

    fn handed_over(&mut self, _: config::Settings) {}
}

/// Refuses by name; whom it does not know it takes offline. Stops for the host thread too.
fn engine(queues: &Queues, ended: &AtomicBool) {
    while !ended.load(Ordering::Relaxed) {
        let command = match queues.fast.pop() {
            Some(ToFast::Event(Event::Command(command))) => command,
            Some(ToFast::Heir(heir)) => {
                let past = ToSlow::Past { heir, since: Some(Instant(1)) };
                assert!(queues.slow.push(past).is_ok());
                continue;
            }
            Some(ToFast::Stop) => {
                for name in ["host", "fast"] {
                    assert!(queues.slow.push(ToSlow::Stopped(name)).is_ok());
                }
                continue;
            }
            Some(_) | None => {
                thread::sleep(Duration::from_millis(1));
                continue;
            }
        };
        let answer = match command {
            Command::Offline { interface } if interface.as_str() == "last" => {
                Err(CommandError::NoRedundancy)
            }
            Command::Offline { .. } => Ok(()),
            Command::Online { .. } => Err(CommandError::NotOffline),
        };
        let interface = match command {
            Command::Offline { interface } | Command::Online { interface } => interface,
        };
        let at = if interface.as_str() == "late" { Instant(5) } else { Instant(0) };
        assert!(queues.slow.push(ToSlow::Notice(at, Notice::Reply(answer))).is_ok());
    }
}

fn fresh(test: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("mpathd-control-{test}-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    dir
}

fn name(text: &str) -> IfName {
    IfName::new(text).unwrap()
}

fn group() -> GroupView {
    GroupView {
        name: GroupName::new("ipmp0").unwrap(),
        state: GroupState::Degraded,
        fdt: Some(Duration::from_millis(100)),
        fdt_requested: Duration::from_millis(100),
        failback: true,
    }
}

fn wait(what: &str, until: impl Fn() -> bool) {
    let start = Clock::now();
    while !until() {
        assert!(start.elapsed() < LIMIT, "{what} has not come");
        thread::sleep(Duration::from_millis(5));
    }
}

fn call(stream: &mut UnixStream, call: &Value) -> Value {
    stream.write_all(format!("{call}\0").as_bytes()).unwrap();
    reply(stream)
}

fn reply(stream: &mut UnixStream) -> Value {
    let mut reply = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).unwrap() == 1 && byte[0] != 0 {
        reply.push(byte[0]);
    }
    serde_json::from_slice(&reply).unwrap()
}

/// Behaviour 158.
#[test]
fn an_answer_waits_for_the_picture_that_shows_what_was_done() {
    let daemon = Daemon::start("answer");
    let mut client = daemon.client();
    let asked = thread::spawn(move || client.offline(name("late")));
    thread::sleep(Duration::from_millis(100));
    assert!(daemon.shared.publish(|view| view.at = Instant(4)));
    thread::sleep(Duration::from_millis(100));
    assert!(!asked.is_finished());
    assert!(daemon.shared.publish(|view| view.at = Instant(5)));
    asked.join().unwrap().unwrap();
}

#[test]
fn the_picture_arrives_as_it_was_published() {
    let daemon = Daemon::start("snapshot");
    let group = group();
    assert!(daemon.shared.publish(|view| {
        view.at = Instant(1);
        view.settled = true;
        view.groups.push(group);
    }));
    let view = daemon.client().snapshot().unwrap().view;
    assert_eq!((view.settled, view.groups), (true, vec![group]));
    wait("the state file", || daemon.dir.join("state.json").exists());
}

#[test]
fn commands_are_answered_in_order_and_by_type() {
    let daemon = Daemon::start("commands");
    let mut client = daemon.client();
    client.offline(name("eth0")).unwrap();
    let refused = client.offline(name("last")).unwrap_err();
    assert_eq!(refused.to_string(), "no other functioning interfaces are in its IPMP group");
    let online = client.online(name("eth0"));
    assert!(matches!(online, Err(ClientError::Refused(CommandError::NotOffline))), "{online:?}");
    let offline = json!({
        "method": "org.mpathd.Control.Offline",
        "parameters": {"interface": "last"},
    });
    let reply = call(&mut daemon.raw(), &offline);
    assert_eq!(reply["error"], "org.mpathd.Control.NoRedundancy");
    assert_eq!(reply["parameters"]["interface"], "last");
}

#[test]
fn a_reload_that_fails_or_changes_nothing_stops_nobody() {
    let lines = ["m.toml:1:1: x: unknown key", "m.toml:2:1: y: unknown key"].map(str::to_owned);
    let script = Script::new([
        Err(NotReloaded::Configuration(lines.to_vec())),
        Err(NotReloaded::Refused("192.0.2.50 is on eth0 already".to_owned())),
        Ok(Vec::new()),
    ]);
    let daemon = Daemon::start_with("reload-refused", script.clone());
    let mut client = daemon.client();
    let bad = client.reload().unwrap_err();
    assert!(matches!(&bad, ClientError::BadConfiguration(told) if *told == lines), "{bad}");
    assert_eq!(bad.to_string(), lines.join("\n"));
    let note = || daemon.client().snapshot().unwrap().note;
    assert!(note().is_some_and(|note| note.contains(&lines[0])));
    let unfit = client.reload().unwrap_err();
    assert!(matches!(unfit, ClientError::NotReloaded(_)), "{unfit}");
    assert_eq!(unfit.to_string(), "192.0.2.50 is on eth0 already");
    let nothing = client.reload().unwrap();
    assert_eq!(nothing, Reloaded { changes: Vec::new(), missing: None });
    assert_eq!(note(), None, "the files are good again");
    client.offline(name("eth0")).unwrap();
    assert_eq!(script.heirs.load(Ordering::Relaxed), 0);
}

#[test]
fn a_reload_is_answered_when_all_stands_and_all_else_is_gone() {
    let change = "eth2 joins ipmp0".to_owned();
    let script = Script::new([Ok(vec![change.clone()]), Ok(Vec::new())]);
    let daemon = Daemon::start_with("reload", script.clone());
    let show = |revision, settled, tidied| {
        assert!(daemon.shared.publish(|view| {
            (view.at, view.groups) = (Instant(2), vec![group()]);
            (view.revision, view.settled, view.tidied) = (revision, settled, tidied);
        }));
    };
    // As the old engine left it, which is not the new one's word.
    show(0, true, true);
    let (mut first, mut second, mut third) = (daemon.client(), daemon.client(), daemon.client());
    let reload = thread::spawn(move || first.reload());
    wait("the heir", || script.heirs.load(Ordering::Relaxed) == 1);
    let again = thread::spawn(move || third.reload());
    for (settled, tidied) in [(false, false), (true, false), (false, true)] {
        show(1, settled, tidied);
        // Commands are answered all the while.
        second.offline(name("eth0")).unwrap();
        assert_eq!(daemon.client().snapshot().unwrap().view.settled, settled);
        assert!(!reload.is_finished() && !again.is_finished());
    }
    show(1, true, true);
    let reloaded = reload.join().unwrap().unwrap();
    assert_eq!(reloaded, Reloaded { changes: vec![change], missing: None });
    assert_eq!(again.join().unwrap().unwrap().changes, [""; 0], "one after the other");
}

#[test]
fn a_reload_that_does_not_settle_says_what_is_missing() {
    let script = Script::new([Ok(vec!["group ipmp0 added".to_owned()])]);
    let daemon = Daemon::start_with("reload-missing", script);
    let start = Clock::now();
    let reloaded = daemon.client().reload().unwrap();
    assert!(start.elapsed() >= Duration::from_secs(5), "it is given 5 s");
    assert_eq!(reloaded.missing.as_deref(), Some("the engine has not started"));
}

/// One behind the other; nobody waits for the end of a trial, and a reload is none.
#[test]
fn a_trial_ends_by_a_word_or_by_itself() {
    let change = |text: &str| Ok(vec![text.to_owned()]);
    let there_and_back = [change("+ a"), change("- a")];
    let script = Script::new([&there_and_back[..], &there_and_back, &[change("+ a")]].concat());
    let daemon = Daemon::start_with("trial", script.clone());
    let mut client = daemon.client();
    let stand = |revision| {
        let shared = &daemon.shared;
        wait("the heir", || script.heirs.load(Ordering::Relaxed) == revision as usize);
        assert!(shared.publish(|view| {
            (view.at, view.revision, view.settled, view.tidied) =
                (Instant(2), revision, true, true);
        }));
    };
    let record = daemon.dir.join("trial.json");
    let refused = |answer: Result<Reloaded, ClientError>| answer.unwrap_err().to_string();
    assert_eq!(refused(client.confirm()), "no configuration is on trial");
    assert_eq!(refused(client.revert()), "no configuration is on trial");

    let begin = |seconds, revision| {
        let mut client = daemon.client();
        let trial = thread::spawn(move || client.trial(Duration::from_secs(seconds)));
        stand(revision);
        assert_eq!(trial.join().unwrap().unwrap().changes, ["+ a"]);
        assert!(record.exists());
    };
    begin(600, 1);
    let note = daemon.client().snapshot().unwrap().note;
    let note = note.expect("it is on trial");
    assert!(note.starts_with("a configuration is on trial for 600 s, until 20"), "{note}");
    assert!(refused(client.reload()).starts_with("a configuration is on trial"));
    let mut other = daemon.client();
    let back = thread::spawn(move || other.revert());
    stand(2);
    assert_eq!(back.join().unwrap().unwrap().changes, ["- a"]);
    assert!(record.exists(), "the files still say what was tried");

    begin(1, 3);
    stand(4);
    wait("its end", || {
        let note = daemon.client().snapshot().unwrap().note;
        note.is_some_and(|note| note.contains("tried and not confirmed"))
    });
    begin(600, 5);
    assert_eq!(client.confirm().unwrap().changes, [""; 0]);
    assert!(!record.exists() && daemon.client().snapshot().unwrap().note.is_none());
}

#[test]
fn probes_are_told_while_somebody_reads() {
    let daemon = Daemon::start("probes");
    assert!(!daemon.shared.probes_wanted());
    let mut probes = daemon.client().probes().unwrap();
    wait("the subscription", || daemon.shared.probes_wanted());
    for seq in 1..=3 {
        assert!(daemon.probe(seq));
    }
    let records: Vec<_> = probes.by_ref().take(3).map(Result::unwrap).collect();
    assert_eq!(records.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((records[0].received_ns, records[1].received_ns), (None, Some(2000)));
    drop(probes);
    // No probe is sent now whose failed write would tell that the reader has gone.
    wait("the end of the subscription", || !daemon.shared.probes_wanted());
}

#[test]
fn events_are_kept_and_told_while_somebody_reads() {
    let daemon = Daemon::start("events");
    let happens = |message| {
        let notice = ToSlow::Notice(Instant(3000), Notice::Message(message));
        assert!(daemon.queues.slow.push(notice).is_ok());
    };
    let (interface, target) = (name("eth0"), IpAddr::from([192, 0, 2, 1]));
    let seen = |daemon: &Daemon| daemon.client().events().unwrap();
    happens(Message::FirstReply { interface, target, after: Duration::ZERO });
    happens(Message::LinkDown { interface });
    wait("the event", || !seen(&daemon).is_empty());
    let [down] = &seen(&daemon)[..] else { panic!("what tells of no change is no event") };
    assert_eq!((down.event.as_str(), down.interface.as_deref()), ("link-down", Some("eth0")));
    assert_eq!((down.severity.as_str(), down.seq), ("warning", 2), "as in the log");

    let mut followed = daemon.client().follow_events().unwrap();
    assert_eq!(followed.next().unwrap().unwrap(), *down);
    happens(Message::LinkUp { interface });
    let up = followed.next().unwrap().unwrap();
    assert_eq!((up.event.as_str(), up.seq), ("link-up", 3));

    (0..250).for_each(|_| happens(Message::LinkDown { interface }));
    wait("the last one", || seen(&daemon).last().unwrap().seq == 253);
    let kept = seen(&daemon);
    assert_eq!((kept.len(), kept[0].seq), (200, 54));
    let file = std::fs::read_to_string(daemon.dir.join("state.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    assert_eq!(file["events"].as_array().unwrap().len(), 200);
}

#[test]
fn one_probe_is_told_to_who_asks_for_one() {
    let daemon = Daemon::start("one-probe");
    let mut stream = daemon.raw();
    stream.write_all(b"{\"method\":\"org.mpathd.Control.Probes\"}\0").unwrap();
    wait("the subscription", || daemon.shared.probes_wanted());
    assert!(daemon.probe(7));
    assert_eq!(reply(&mut stream)["parameters"]["seq"], 7);
    wait("the end of the subscription", || !daemon.shared.probes_wanted());
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody_and_is_left() {
    let daemon = Daemon::start("stall");
    let mut stuck = daemon.raw();
    stuck.write_all(b"{\"method\":\"org.mpathd.Control.Probes\",\"more\":true}\0").unwrap();
    wait("the subscription", || daemon.shared.probes_wanted());
    // More than the socket's buffers hold, given to the daemon as it takes it.
    let start = Clock::now();
    for seq in 0..20_000 {
        while !daemon.probe(seq) {
            assert!(start.elapsed() < LIMIT);
            thread::yield_now();
        }
    }
    for _ in 0..20 {
        let asked = Clock::now();
        daemon.client().snapshot().unwrap();
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    }
    wait("the end of the stuck one", || !daemon.shared.probes_wanted());
    assert!(start.elapsed() >= Duration::from_secs(5), "it is given 5 s");
}

#[test]
fn a_message_over_64_kib_ends_its_connection_only() {
    let daemon = Daemon::start("too-long");
    let snapshot = json!({"method": "org.mpathd.Control.Snapshot"});
    let mut good = daemon.raw();
    let padding = " ".repeat(60_000);
    let long = format!("{{\"method\":\"org.mpathd.Control.Snapshot\"{padding}}}\0");
    good.write_all(long.as_bytes()).unwrap();
    assert!(reply(&mut good)["parameters"].is_object(), "60 kB are not too long");

    let mut bad = daemon.raw();
    let sent = bad.write_all(&[b' '; 70_000]);
    let mut rest = Vec::new();
    match (sent, bad.read_to_end(&mut rest)) {
        (Ok(()), Ok(_)) => assert!(rest.is_empty()),
        (Err(error), _) | (_, Err(error)) => assert!(
            matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
            "{error}"
        ),
    }
    assert!(call(&mut good, &snapshot)["parameters"].is_object());
}

#[test]
fn connections_are_limited_and_the_reason_is_told() {
    let daemon = Daemon::start("places");
    // 16 for the daemon's own user. What the start of the test has closed may still count.
    let mut clients = Vec::new();
    let start = Clock::now();
    while clients.len() < 16 {
        let mut client = daemon.client();
        match client.snapshot() {
            Ok(_) => clients.push(client),
            Err(error) => assert!(matches!(error, ClientError::TooManyConnections), "{error}"),
        }
        assert!(start.elapsed() < LIMIT);
    }
    let refused = daemon.client().snapshot();
    assert!(matches!(refused, Err(ClientError::TooManyConnections)), "{refused:?}");
    clients.pop();
    wait("the place that was left", || daemon.client().snapshot().is_ok());
}

#[test]
fn a_stock_client_finds_out_what_there_is() {
    let daemon = Daemon::start("introspection");
    let mut stream = daemon.raw();
    let info = call(&mut stream, &json!({"method": "org.varlink.service.GetInfo"}));
    let interfaces = info["parameters"]["interfaces"].as_array().unwrap();
    assert!(interfaces.contains(&"org.mpathd.Control".into()), "{info}");
    let describe = json!({
        "method": "org.varlink.service.GetInterfaceDescription",
        "parameters": {"interface": "org.mpathd.Control"},
    });
    let description = call(&mut stream, &describe);
    let description = description["parameters"]["description"].as_str().unwrap();
    for part in [
        "interface org.mpathd.Control",
        "method Snapshot() -> (",
        "method Probes() -> (",
        "method Offline(interface: string) -> ()",
        "method Online(interface: string) -> ()",
        "method Reload() -> (changes: []string, missing: ?string)",
        "error PermissionDenied (",
        "type Target (",
    ] {
        assert!(description.contains(part), "{part} is not in\n{description}");
    }
    let unknown = call(&mut stream, &json!({"method": "org.mpathd.Control.Reboot"}));
    assert_eq!(unknown["error"], "org.varlink.service.MethodNotFound");
}

#[test]
fn a_socket_left_behind_is_replaced_and_a_live_one_is_not() {
    let dir = fresh("stale");
    let path = dir.join("mpathd.sock");
    drop(UnixListener::bind(&path).unwrap());
    let none = client::connect(&dir).unwrap_err().to_string();
    let path_text = path.display();
    assert_eq!(none, format!("cannot contact mpathd(8) at {path_text} -- is it running?"));
    let daemon = Daemon::launch(&dir, "stale", Script::default());
    wait("the socket", || client::connect(&dir).is_ok());
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666);

    let second = slow::listen(&dir).unwrap_err();
    let BindError::InUse { pid, .. } = second else { panic!("{second}") };
    assert_eq!(pid, i32::try_from(std::process::id()).unwrap());
    daemon.client().snapshot().unwrap();
}
