//! What users have: TCP connections and UDP streams through the host, written down echo by echo.
//!
//! An echo server in one namespace, a client in another. All threads enter their namespace before they open a
//! socket, and run at SCHED_FIFO 40, so that what is measured is the network and not the scheduler.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::{self, Nanos};
use crate::netns::NetNs;
use crate::wait_for;

/// How long a blocked socket waits before its thread looks whether it shall stop.
const TICK: Duration = Duration::from_millis(20);

/// Echoes TCP connections and UDP datagrams on one port, until dropped.
#[derive(Debug)]
pub struct EchoServer {
    port: u16,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl EchoServer {
    /// Listens in `namespace` on all its addresses, IPv4 and IPv6. UDP is answered from the address that
    /// was asked, as servers on a host with several addresses do.
    ///
    /// # Panics
    /// If the port is taken.
    pub fn start(namespace: &NetNs, port: u16) -> Self {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let (tcp, udp) = namespace.run(|| {
            let tcp = TcpListener::bind(any).expect("the TCP port is free");
            tcp.set_nonblocking(true).expect("it can be polled");
            (tcp, crate::reply_socket::ReplySocket::bind(any).expect("the UDP port is free"))
        });
        let stop = Arc::new(AtomicBool::new(false));
        let udp_stop = Arc::clone(&stop);
        let tcp_stop = Arc::clone(&stop);
        let threads = vec![
            namespace.spawn("echo-udp", move || {
                clock::be_punctual();
                while !udp_stop.load(Ordering::Relaxed) {
                    udp.echo(TICK);
                }
            }),
            namespace.spawn("echo-tcp", move || accept(&tcp, &tcp_stop)),
        ];
        Self { port, stop, threads }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        join(self.threads.drain(..));
    }
}

fn accept(listener: &TcpListener, stop: &Arc<AtomicBool>) {
    clock::be_punctual();
    let mut connections = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let stop = Arc::clone(stop);
        connections.push(std::thread::spawn(move || {
            clock::be_punctual();
            // Its end is the client's to notice and to judge.
            echo_connection(stream, &stop).unwrap_or_default();
        }));
    }
    join(connections);
}

fn echo_connection(mut stream: TcpStream, stop: &AtomicBool) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TICK))?;
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => stream.write_all(&buffer[..length])?,
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// An answered message of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    pub sequence: u64,
    pub sent: Nanos,
    pub answered: Nanos,
}

/// What a stream has seen so far.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub begun: Nanos,
    /// When this was read or, of a finished stream, when the last message was sent.
    pub until: Nanos,
    pub sent: u64,
    pub echoes: Vec<Echo>,
    /// Sends that the kernel refused ("network unreachable" and the like), and the last refusal.
    pub refused: u64,
    pub last_refusal: Option<String>,
    /// Why a TCP connection ended. Never set for UDP.
    pub broken: Option<String>,
}

impl Report {
    /// The longest time between two successive answers, the second of them at `since` or later. The time from
    /// the last one until `until` counts too.
    pub fn longest_silence(&self, since: Nanos) -> Duration {
        let ends = self.echoes.iter().map(|echo| echo.answered).chain([self.until]);
        let begins = [self.begun].into_iter().chain(self.echoes.iter().map(|echo| echo.answered));
        let gaps = begins.zip(ends).filter(|(_, end)| *end >= since);
        Duration::from_nanos(gaps.map(|(begin, end)| end.saturating_sub(begin)).max().unwrap_or(0))
    }

    /// The moment of the first answer to a message that was sent at `since` or later.
    pub fn first_answer(&self, since: Nanos) -> Option<Nanos> {
        self.echoes.iter().find(|echo| echo.sent >= since).map(|echo| echo.answered)
    }

    /// Messages without an answer; of a running stream, the last ones may be under way.
    pub fn unanswered(&self) -> u64 {
        self.sent - self.echoes.len() as u64
    }
}

/// A running stream. Ends when dropped.
#[derive(Debug)]
pub struct Stream {
    shared: Arc<Shared>,
    /// Writer and reader.
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    report: Mutex<Report>,
    /// No more messages are sent.
    quiet: AtomicBool,
    stop: AtomicBool,
}

impl Shared {
    fn with<R>(&self, work: impl FnOnce(&mut Report) -> R) -> R {
        work(&mut self.report.lock().expect("no thread of the stream has panicked"))
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn may_send(&self) -> bool {
        !self.stopped()
            && !self.quiet.load(Ordering::Relaxed)
            && self.with(|it| it.broken.is_none())
    }
}

impl Stream {
    /// A TCP connection that writes a message every `interval`.
    ///
    /// # Panics
    /// If the connection cannot be made within five seconds.
    pub fn tcp(namespace: &NetNs, to: SocketAddr, interval: Duration) -> Self {
        let stream = namespace.run(|| connect(to));
        let reader = stream.try_clone().expect("a socket can be shared");
        let send = move |message: &[u8]| (&stream).write_all(message);
        let receive = move |message: &mut [u8; MESSAGE]| read_message(&reader, message);
        Self::start(namespace, interval, send, receive, true)
    }

    /// Datagrams every `interval`, from the address that the kernel picks for each.
    ///
    /// # Panics
    /// If there is no socket to be had.
    pub fn udp(namespace: &NetNs, to: SocketAddr, interval: Duration) -> Self {
        let any = if to.is_ipv4() { IpAddr::from([0_u8; 4]) } else { IpAddr::from([0_u16; 8]) };
        // Not connected: it would keep its first source address for good, and hear ICMP errors as its own.
        let socket = namespace.run(|| UdpSocket::bind((any, 0)).expect("a port is free"));
        socket.set_read_timeout(Some(TICK)).expect("it is not zero");
        let reader = socket.try_clone().expect("a socket can be shared");
        let send = move |message: &[u8]| socket.send_to(message, to).map(drop);
        let receive = move |message: &mut [u8; MESSAGE]| match reader.recv(message) {
            Ok(MESSAGE) => Ok(true),
            Ok(_) => Ok(false),
            Err(error) if is_timeout(&error) => Ok(false),
            Err(error) => Err(error),
        };
        Self::start(namespace, interval, send, receive, false)
    }

    fn start(
        namespace: &NetNs,
        interval: Duration,
        send: impl Fn(&[u8]) -> Result<()> + Send + 'static,
        receive: impl Fn(&mut [u8; MESSAGE]) -> Result<bool> + Send + 'static,
        connected: bool,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        shared.with(|report| report.begun = clock::now());
        let (writer, reader) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            namespace.spawn("stream-send", move || write(&writer, interval, send, connected)),
            namespace.spawn("stream-receive", move || listen(&reader, receive, connected)),
        ];
        Self { shared, threads }
    }

    pub fn report(&self) -> Report {
        let report = self.shared.with(|report| report.clone());
        Report { until: clock::now(), ..report }
    }

    /// Waits for an answer to a message that was sent at `since` or later; its moment.
    ///
    /// # Panics
    /// If none comes within `limit`.
    pub fn wait_answered(&self, since: Nanos, limit: Duration) -> Nanos {
        wait_for("answer on the stream", limit, || {
            self.shared.with(|report| {
                report.first_answer(since).ok_or_else(|| {
                    (report.sent, report.echoes.last().copied(), report.broken.clone())
                })
            })
        })
    }

    /// Sends no more, waits until what is under way has come back (or `limit` has passed: what is missing
    /// then is lost), and ends.
    pub fn finish(mut self, limit: Duration) -> Report {
        self.shared.quiet.store(true, Ordering::Relaxed);
        // What the writer is just about to send belongs to it.
        join(self.threads.drain(..1));
        let until = clock::now();
        let end = until + clock::nanos(limit);
        let under_way = |report: &Report| report.unanswered() > 0 && report.broken.is_none();
        while self.shared.with(|report| under_way(report)) && clock::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        Report { until, ..self.report() }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        join(self.threads.drain(..));
    }
}

/// Sequence number and send stamp, big-endian.
const MESSAGE: usize = 16;

fn write(shared: &Shared, interval: Duration, send: impl Fn(&[u8]) -> Result<()>, connected: bool) {
    clock::be_punctual();
    let mut due = clock::now();
    let mut sequence = 0_u64;
    while shared.may_send() {
        let now = clock::now();
        let mut message = [0; MESSAGE];
        message[..8].copy_from_slice(&sequence.to_be_bytes());
        message[8..].copy_from_slice(&now.to_be_bytes());
        // Counted first, for the answer may be quicker than we are.
        shared.with(|report| report.sent += 1);
        match send(&message) {
            Ok(()) => sequence += 1,
            Err(error) => shared.with(|report| {
                report.sent -= 1;
                if connected {
                    report.broken.get_or_insert(format!("write: {error}"));
                } else {
                    report.refused += 1;
                    report.last_refusal = Some(error.to_string());
                }
            }),
        }
        due += clock::nanos(interval);
        clock::sleep_until(due);
    }
}

fn listen(shared: &Shared, receive: impl Fn(&mut [u8; MESSAGE]) -> Result<bool>, connected: bool) {
    clock::be_punctual();
    let mut message = [0; MESSAGE];
    while !shared.stopped() {
        match receive(&mut message) {
            Ok(true) => {
                let answered = clock::now();
                let word = |at: usize| {
                    u64::from_be_bytes(message[at..at + 8].try_into().expect("eight bytes"))
                };
                let echo = Echo { sequence: word(0), sent: word(8), answered };
                shared.with(|report| report.echoes.push(echo));
            }
            Ok(false) => {}
            Err(error) if connected => {
                shared.with(|report| report.broken.get_or_insert(format!("read: {error}")).clone());
                break;
            }
            // An ICMP error that came in; the next datagram tells more.
            Err(_) => {}
        }
    }
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))
        .unwrap_or_else(|error| panic!("cannot connect to {to}: {error}"));
    stream.set_nodelay(true).expect("TCP has it");
    stream.set_read_timeout(Some(TICK)).expect("it is not zero");
    stream
}

/// Whether a whole message has come; a part of one is waited for.
fn read_message(mut stream: &TcpStream, message: &mut [u8; MESSAGE]) -> Result<bool> {
    let mut have = 0;
    while have < MESSAGE {
        match stream.read(&mut message[have..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => have += length,
            Err(error) if is_timeout(&error) && have == 0 => return Ok(false),
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    for thread in threads {
        if let Err(panic) = thread.join()
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}
