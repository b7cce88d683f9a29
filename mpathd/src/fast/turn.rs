//! The loop. One turn: wait for the next deadline or a descriptor; note the time; hear everything
//! that came in; read the replies; only then decide, as of the noted time; carry out; publish.
//!
//! The order is the rule that our own lateness is no evidence (design 1): whatever arrived before
//! the noted time has been heard when the engine judges as of that time, however long the thread
//! was stopped.

mod succession;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use mpathd_common::abi::LOWER;
use mpathd_core::event::{Done, Errno, Event, Fate};
use mpathd_core::ids::{Family, Ifindex, PathId, Seq};
use mpathd_core::message::Severity;
use mpathd_core::request::{Action, Notice, Op, PathKey, Round};
use mpathd_core::time::Instant;
use mpathd_core::view::View;

use super::channels::{Channels, Probing};
use super::heir::{self, Heir, Room};
use super::links::Links;
use super::random::Random;
use super::ready::{Ready, Source};
use super::redirects::{self, RedirectMap};
use super::slots::SlotMap;
use super::socket::Buffer;
use super::{Brain, Setup, alloc, clock, memory, priority, receive};
use crate::messages::{Channel, Queues, ToFast, ToHost, ToSlow};
use crate::shared::Shared;
use crate::slow::state;

/// Between two pictures, when a state has changed or only counters have.
const PUBLISH_CHANGE: Duration = Duration::from_millis(20);
const PUBLISH_COUNTERS: Duration = Duration::from_millis(100);
/// After a turn with news that took so long, others have the CPU for as long: with a thousand routes the notices of
/// a move make a hundred turns of 0.2 ms in a row, while the host thread has another CPU.
const DEAR_TURN: Duration = Duration::from_micros(100);
const REST_AT_MOST: Duration = Duration::from_micros(500);
const ALIVE: Duration = Duration::from_secs(1);
/// Messages taken from the queue in one turn.
const MESSAGES_PER_TURN: usize = 256;
/// Turns in a row that may pass without judging, while a receive socket is not empty.
const POSTPONED_AT_MOST: u8 = 16;
/// Rounds of deciding and carrying out in one turn: what is sent changes the next deadline.
const DECISIONS_PER_TURN: usize = 4;

pub(super) struct Fast<B> {
    desk: Desk<B>,
    links: Links,
    channels: Channels,
    probing: Probing,
    /// There only where some group has `egress_redirect`.
    redirects: Option<RedirectMap>,
    buffer: Buffer,
    pending: Vec<(PathId, Seq)>,
    replies: Vec<(PathId, Seq, Instant)>,
    watched: Vec<Ifindex>,
    ready: Ready,
    /// Channels on their way to the host thread, which closes them.
    retired: Vec<Channel>,
    priority: u8,
    /// Waits until it may take over.
    heir: Option<Box<Heir>>,
    /// The deadline that is waited for.
    due: Option<Instant>,
    /// The last turn, and whether the other threads had something to tell then.
    began: Instant,
    was_told: bool,
    /// The receive sockets were empty then.
    drained: Instant,
    postponed: u8,
    /// Handed over then, or tried.
    last_picture: Instant,
    next_alive: Instant,
    late: Duration,
    armed: bool,
    stopping: bool,
}

/// The brain and those it speaks to.
struct Desk<B> {
    brain: B,
    queues: Queues,
    shared: Arc<Shared>,
    /// A state may have changed since the last picture.
    changed: bool,
    /// Counters have.
    counted: bool,
    /// Notices and facts that found the queue full and are not reported yet.
    dropped: u64,
}

impl<B: Brain> Fast<B> {
    pub(super) fn new(setup: Setup<B>) -> io::Result<Self> {
        let Setup { brain, names, queues, shared, priority } = setup;
        let members = names.len();
        shared.publish(|view| reserve(view, members, heir::paths(members)));
        let Room { watch, channels, paths, neighbours, pending, replies, watched, retired } =
            Room::new(members, &names);
        let now = clock::now();
        let (ready, links) = (Ready::new()?, Links::open(watch)?);
        ready.watch(queues.fast.as_fd(), Source::Queue)?;
        ready.watch(links.as_fd(), Source::Links)?;
        Ok(Self {
            desk: Desk { brain, queues, shared, changed: true, counted: false, dropped: 0 },
            links,
            channels,
            probing: Probing {
                paths,
                neighbours,
                slots: SlotMap::plain()?,
                random: Random::new()?,
            },
            redirects: None,
            buffer: Buffer::new(),
            pending,
            replies,
            watched,
            ready,
            retired,
            priority,
            heir: None,
            due: None,
            began: now,
            was_told: false,
            drained: now,
            postponed: 0,
            last_picture: Instant(0),
            next_alive: now,
            late: Duration::ZERO,
            armed: false,
            stopping: false,
        })
    }

    pub(super) fn run(mut self) {
        let outcome = priority::apply(self.priority);
        let severity = if outcome.is_short() { Severity::Warning } else { Severity::Info };
        self.desk.tell_slow(ToSlow::Log { severity, text: format!("fast thread: {outcome}") });
        memory::prefault_stack();
        while !self.stopping {
            self.wait();
            self.turn();
        }
        alloc::disarm();
        self.desk.tell_slow(ToSlow::Stopped("fast"));
    }

    /// Until the next deadline or until something comes in.
    fn wait(&mut self) {
        self.due = self.desk.brain.poll_timeout();
        let due = self.due.unwrap_or(self.next_alive).min(self.next_alive).min(self.picture_due());
        let now = clock::now();
        let took = now.since(self.began);
        if self.was_told && took >= DEAR_TURN {
            clock::sleep_until(due.min(now + took.min(REST_AT_MOST)));
        }
        self.ready.wait(due.since(clock::now()));
    }

    /// `next_alive`, which comes anyway, while there is nothing new.
    fn picture_due(&self) -> Instant {
        match (self.desk.changed, self.desk.counted) {
            (true, _) => self.last_picture + PUBLISH_CHANGE,
            (false, true) => self.last_picture + PUBLISH_COUNTERS,
            (false, false) => self.next_alive,
        }
    }

    fn turn(&mut self) {
        let now = clock::now();
        self.began = now;
        if let Some(due) = self.due {
            self.late = self.late.max(now.since(due));
        }
        // Only now: what came in between the wake-up and the noted time is to be heard as well.
        self.ready.look();
        if self.ready.is(Source::Links) || self.links.has_missed() {
            self.hear_links(now);
        }
        self.hear_queue(now);
        let since = self.drained;
        let complete = self.hear_sockets(now);
        self.seek_witnesses(now);
        self.read_replies(now, since);
        if complete || self.postponed >= POSTPONED_AT_MOST {
            self.postponed = 0;
            self.decide(now);
            if self.hand_over(now) {
                self.decide(now);
            }
        } else {
            self.postponed += 1;
        }
        self.keep_house(now);
    }

    fn hear_links(&mut self, now: Instant) {
        let Self { links, channels, retired, desk, .. } = self;
        links.read(|event| hear_link(event, channels, retired, desk, now));
    }

    fn hear_queue(&mut self, now: Instant) {
        let queue = Arc::clone(&self.desk.queues.fast);
        self.was_told = self.ready.is(Source::Queue);
        if self.was_told {
            queue.clear_wake();
        }
        for taken in 0.. {
            if taken == MESSAGES_PER_TURN {
                // The rest wakes us at once.
                queue.wake();
                return;
            }
            let Some(message) = queue.pop() else { return };
            self.hear(message, now);
        }
    }

    fn hear(&mut self, message: ToFast, now: Instant) {
        let Self { links, channels, retired, desk, .. } = self;
        match message {
            ToFast::Event(Event::Link(link)) => {
                if let Some(event) = links.dumped(link) {
                    hear_link(event, channels, retired, desk, now);
                }
            }
            ToFast::LinksDumped => {
                links.dump_done(|event| hear_link(event, channels, retired, desk, now));
            }
            ToFast::Event(event) => desk.tell(now, event),
            ToFast::Slots(slots) => {
                for (path, open) in self.probing.paths.iter() {
                    slots.set(path, &open.slot);
                }
                self.probing.slots = slots;
            }
            ToFast::Redirects(map) => self.redirects = Some(map),
            ToFast::Channel(channel) => self.open_channel(channel),
            ToFast::Heir(heir) => self.announce_heir(heir),
            ToFast::Stop => self.stopping = true,
        }
    }

    fn open_channel(&mut self, channel: Channel) {
        for (path, open) in self.probing.paths.of_nic(channel.ifindex) {
            if (open.slot.consume, open.slot.lower) != (channel.consume, channel.lower) {
                (open.slot.consume, open.slot.lower) = (channel.consume, channel.lower);
                self.probing.slots.update(path, &open.slot);
            }
        }
        if let Err(error) = self.ready.watch_channel(&channel) {
            let (interface, errno) = (channel.name, error.raw_os_error().unwrap_or_default());
            self.desk.tell_slow(ToSlow::Unheard { interface, errno });
        }
        let Some(mut old) = self.channels.open(channel) else { return };
        // Replies that wait in its sockets are in no other place: at a short FDT they are a part of a
        // verdict. More than one turn takes there are not.
        let Self { probing, buffer, desk, drained, .. } = self;
        receive::drain(&mut old, probing, *drained, buffer, |at, event| desk.tell(at, event));
        self.retired.push(old);
    }

    /// `false` if more is there than one turn takes.
    fn hear_sockets(&mut self, now: Instant) -> bool {
        let Self { ready, channels, probing, buffer, desk, drained, .. } = self;
        let mut complete = true;
        for source in ready.sources() {
            let Source::Receive(ifindex) = source else { continue };
            let Some(channel) = channels.get_mut(ifindex) else { continue };
            let tell = |at, event| desk.tell(at, event);
            complete &= receive::drain(channel, probing, *drained, buffer, tell);
        }
        if complete {
            *drained = now;
        }
        complete
    }

    /// A transmit stamp is there before its frame is on the wire, so of all replies that have been
    /// read it is then known when their probes left. `since`: stamps were last read then.
    fn read_replies(&mut self, now: Instant, since: Instant) {
        let Self { pending, replies, channels, probing, buffer, desk, ready, .. } = self;
        pending.clear();
        desk.brain.await_replies(now, |path, seq| pending.push((path, seq)));
        replies.clear();
        replies.extend(pending.iter().filter_map(|&(path, seq)| {
            let at = probing.slots.read_rx(path, seq, now)?;
            Some((path, seq, at))
        }));
        if channels.iter().any(|channel| channel.stamped) {
            ready.look();
            for source in ready.sources() {
                let Source::Stamps(ifindex) = source else { continue };
                let tell = |at, event| desk.tell(at, event);
                channels.read_stamps(ifindex, probing, since, buffer, tell);
            }
        }
        for (path, seq, at) in replies.drain(..) {
            desk.counted = true;
            desk.tell(now, Event::Reply { path, seq, at });
        }
    }

    /// Before the replies are read: what has been handled by now is then read too.
    fn seek_witnesses(&mut self, now: Instant) {
        self.watched.clear();
        self.watched.extend(self.desk.brain.watched());
        for ifindex in self.watched.iter().copied() {
            if let Some(until) = self.channels.handled_until(ifindex, now) {
                self.desk.tell(now, Event::HandledUntil { ifindex, until });
            }
        }
    }

    /// Everything that came in before `now` has been told.
    fn decide(&mut self, now: Instant) {
        self.desk.brain.stream_probes(self.desk.shared.probes_wanted());
        for _ in 0..DECISIONS_PER_TURN {
            self.desk.brain.handle_timeout(now);
            if !self.carry_out(now) {
                return;
            }
        }
    }

    /// Whether anything was told to the brain on the way: its next deadline may have changed.
    fn carry_out(&mut self, now: Instant) -> bool {
        let mut told = false;
        let mut asked = false;
        while let Some(action) = self.desk.brain.poll_action() {
            if let Action::Request(op) = action {
                told |= !self.desk.request(op, now);
                asked = true;
                continue;
            }
            // Requests come first; it is for the host thread to say which of them.
            if std::mem::take(&mut asked) {
                self.desk.queues.host.wake();
            }
            match action {
                Action::Round(round) => {
                    self.send(&round, now);
                    told = true;
                }
                Action::Path { path, key } => self.set_path(path, key, now),
                Action::Redirect(redirect) => {
                    if let Some(map) = &self.redirects {
                        map.set(&redirect, &self.channels, &mut self.probing.paths);
                    }
                }
                Action::Herald(herald) => redirects::announce(&herald, &self.channels),
                Action::Notice(notice) => self.desk.notice(notice, now),
                Action::Request(_) => {}
            }
        }
        if asked {
            self.desk.queues.host.wake();
        }
        told
    }

    fn send(&mut self, round: &Round, now: Instant) {
        let Self { channels, probing, desk, links, .. } = self;
        desk.counted = true;
        channels.send(round, probing, |at, event| {
            if matches!(event, Event::Sent { fate: Fate::Refused, .. }) {
                links.doubt(round.ifindex, now);
            }
            desk.tell(at, event);
        });
    }

    fn set_path(&mut self, path: PathId, key: Option<PathKey>, now: Instant) {
        let Probing { paths, neighbours, slots, random, .. } = &mut self.probing;
        self.desk.changed = true;
        slots.clear(path);
        paths.close(path);
        let Some(key) = key else { return };
        neighbours.watch(key.ifindex, key.target, now);
        let channel = self.channels.get(key.ifindex);
        let consume = channel.is_none_or(|channel| channel.consume);
        let lower = channel.map_or([0; LOWER], |channel| channel.lower);
        if let Some(open) = paths.open(path, key, consume, lower, random) {
            slots.set(path, &open.slot);
        }
    }

    fn keep_house(&mut self, now: Instant) {
        if self.links.wants_dump() && self.desk.queues.host.push(ToHost::DumpLinks).is_ok() {
            self.links.dump_asked();
        }
        while let Some(channel) = self.retired.pop() {
            self.ready.forget_channel(&channel);
            if let Err(ToHost::Close(back)) = self.desk.queues.host.push(ToHost::Close(channel)) {
                self.retired.push(back);
                break;
            }
        }
        if now >= self.next_alive {
            self.desk.tell_slow(ToSlow::Alive { late: std::mem::take(&mut self.late) });
            self.next_alive = now + ALIVE;
        }
        self.publish(now);
    }

    fn publish(&mut self, now: Instant) {
        // The last picture is what the next daemon begins with.
        if now < self.picture_due() && !self.stopping {
            return;
        }
        let Desk { brain, shared, changed, counted, .. } = &mut self.desk;
        let mut settled = false;
        let done = shared.publish(|view| {
            brain.fill(view, now);
            settled = view.settled;
        });
        // While a reader holds the picture there is no hurry: a thread at our priority that tried
        // again and again would keep the reader from finishing.
        self.last_picture = now;
        if !done {
            return;
        }
        (*changed, *counted) = (false, false);
        if settled && !self.armed {
            self.armed = true;
            alloc::arm();
        }
    }
}

fn hear_link<B: Brain>(
    event: Event,
    channels: &mut Channels,
    retired: &mut Vec<Channel>,
    desk: &mut Desk<B>,
    now: Instant,
) {
    match event {
        Event::Link(link) => channels.set_mac(link.ifindex, link.mac),
        Event::LinkGone(ifindex) => retired.extend(channels.close(ifindex)),
        _ => {}
    }
    desk.tell(now, event);
}

impl<B: Brain> Desk<B> {
    /// Tells the brain, and the recorder if there is one.
    fn tell(&mut self, now: Instant, event: Event) {
        let routine =
            matches!(event, Event::Sent { .. } | Event::Left { .. } | Event::Reply { .. });
        let routine = routine || matches!(event, Event::HandledUntil { .. });
        self.changed |= !routine;
        if self.shared.recording() {
            self.tell_slow(ToSlow::Fact(now, event));
        }
        self.brain.handle(now, event);
    }

    /// `false` where the host thread hangs: the brain has been told, and asks again later.
    fn request(&mut self, op: Op, now: Instant) -> bool {
        self.changed = true;
        let taken = self.queues.host.put(ToHost::Op(op)).is_ok();
        if !taken {
            let result = Err(Errno(libc::EAGAIN));
            let done = Done { op: op.id, result, waited: Duration::ZERO, ran: Duration::ZERO };
            self.tell(now, Event::Done(done));
        }
        taken
    }

    fn notice(&mut self, notice: Notice, now: Instant) {
        let single = matches!(notice, Notice::Probe(_));
        self.changed |= !single;
        if single && self.queues.slow.is_half_full() {
            self.dropped += 1;
        } else {
            self.tell_slow(ToSlow::Notice(now, notice));
        }
    }

    fn tell_slow(&mut self, message: ToSlow) {
        if self.dropped > 0 && self.queues.slow.push(ToSlow::Overrun(self.dropped)).is_ok() {
            self.dropped = 0;
        }
        if self.queues.slow.push(message).is_err() {
            self.dropped += 1;
        }
    }
}

/// Room for all rows there can be, so that filling the picture does not allocate.
pub(super) fn reserve(view: &mut View, members: usize, paths: usize) {
    view.interfaces.reserve(members);
    view.groups.reserve(members);
    view.instances.reserve(members * Family::ALL.len());
    view.targets.reserve(paths);
    view.proven.reserve(paths + state::MAX_PROVEN);
}
