use super::super::link_message::build;
use super::*;

fn links(names: &[&str]) -> Links {
    let names: Vec<IfName> = names.iter().map(|n| IfName::new(n).unwrap()).collect();
    Links::open(Watch::new(&names)).unwrap()
}

/// What the engine is told of these notices.
fn notice(links: &mut Links, datagram: &[u8]) -> Vec<Event> {
    let mut told = Vec::new();
    assert!(take_all(&mut links.watch.0, datagram, &mut |event| told.push(event)));
    told
}

fn link(name: &str, ifindex: u32) -> Link {
    let mut links = links(&[name]);
    match notice(&mut links, &build::link(name, ifindex).done())[..] {
        [Event::Link(link)] => link,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn only_configured_links_and_only_news_are_told() {
    let mut links = links(&["eth0"]);
    assert_eq!(notice(&mut links, &build::link("eth9", 9).done()), []);
    let news = Event::Link(link("eth0", 7));
    assert_eq!(notice(&mut links, &build::link("eth0", 7).done()), [news]);
    assert_eq!(notice(&mut links, &build::link("eth0", 7).done()), []);
}

#[test]
fn a_renamed_or_replaced_link_is_gone_first() {
    let mut links = links(&["eth0"]);
    notice(&mut links, &build::link("eth0", 7).done());
    let gone = |ifindex| Event::LinkGone(Ifindex(ifindex));
    assert_eq!(notice(&mut links, &build::link("old0", 7).done()), [gone(7)]);
    let back = notice(&mut links, &build::link("eth0", 8).done());
    assert_eq!(back, [Event::Link(link("eth0", 8))]);
    let replaced = notice(&mut links, &build::link("eth0", 9).done());
    assert_eq!(replaced, [gone(8), Event::Link(link("eth0", 9))]);
    let removed = build::Message::new(libc::RTM_DELLINK, 0, 9, 0).done();
    assert_eq!(notice(&mut links, &removed), [gone(9)]);
}

#[test]
fn a_dump_does_not_undo_a_newer_notice() {
    let mut links = links(&["eth0", "eth1", "eth2"]);
    notice(&mut links, &build::link("eth2", 9).done());
    links.dump_asked();
    let down = Link { running: false, ..link("eth0", 7) };
    notice(&mut links, &build::link("eth0", 7).attribute(33, &[0]).done());
    assert_eq!(links.watch.0[0].link, Some(down));
    assert_eq!(links.dumped(link("eth0", 7)), None, "older than the notice");
    assert_eq!(links.dumped(link("eth1", 8)), Some(Event::Link(link("eth1", 8))));
    assert_eq!(links.dumped(link("eth9", 10)), None, "not configured");
    let mut told = Vec::new();
    links.dump_done(|event| told.push(event));
    assert_eq!(told, [Event::LinkGone(Ifindex(9))], "not in the dump");
}

#[test]
fn of_two_dumps_only_the_last_says_what_is_gone() {
    let mut links = links(&["eth0"]);
    links.dump_asked();
    links.dumped(link("eth0", 7));
    links.dump_asked();
    links.dump_done(|event| panic!("{event:?}"));
    links.dumped(link("eth0", 7));
    links.dump_done(|event| panic!("{event:?}"));
    assert!(links.watch.0[0].link.is_some());
}

#[test]
fn a_dump_is_wanted_at_start_once_the_socket_is_empty() {
    let mut links = links(&["lo"]);
    assert!(!links.wants_dump());
    links.read(|_| {});
    assert!(links.wants_dump());
    links.dump_asked();
    assert!(!links.wants_dump());
}

#[test]
fn refused_probes_on_a_running_link_want_a_dump_now_and_then() {
    let mut links = links(&["eth0"]);
    notice(&mut links, &build::link("eth0", 7).done());
    links.read(|_| {});
    links.dump_asked();
    let mut doubt = |ifindex, ms: u64| {
        links.doubt(Ifindex(ifindex), Instant(ms * 1_000_000));
        let wanted = links.wants_dump();
        links.dump_asked();
        wanted
    };
    assert!(!doubt(8, 1000), "not ours");
    assert!(doubt(7, 1000));
    assert!(!doubt(7, 1099));
    assert!(doubt(7, 1100));
    notice(&mut links, &build::link("eth0", 7).attribute(33, &[0]).done());
    links.doubt(Ifindex(7), Instant(9_000_000_000));
    assert!(!links.wants_dump(), "known to be down");
}

fn up(name: &str, ifindex: u32) -> Vec<u8> {
    const FLAGS: i32 = libc::IFF_UP | libc::IFF_RUNNING;
    let text = [name.as_bytes(), &[0]].concat();
    let message = build::Message::new(libc::RTM_NEWLINK, 0, ifindex, FLAGS);
    message.attribute(3, &text).attribute(1, &[2, 0, 0, 0, 0, ifindex as u8]).done()
}

/// Names of links that are told, and numbers of those that are gone.
fn told(events: &[Event]) -> Vec<String> {
    let of = |event: &Event| match event {
        Event::Link(link) => link.name.to_string(),
        Event::LinkGone(ifindex) => ifindex.0.to_string(),
        other => panic!("{other:?}"),
    };
    events.iter().map(of).collect()
}

#[test]
fn who_is_not_configured_takes_a_seat() {
    let mut links = links(&[" 0", " 1", "eth0"]);
    let mut hear = |datagram: &[u8]| told(&notice(&mut links, datagram));
    assert_eq!(hear(&up("eth0", 7)), ["eth0"]);
    assert_eq!(hear(&up("nic8", 8)), ["nic8"]);
    assert_eq!(hear(&up("nic8", 8)), [] as [&str; 0]);
    assert_eq!(hear(&build::link("lo", 1).device(772).done()), [] as [&str; 0]);
    assert_eq!(hear(&up("nic9", 9)), ["nic9"]);
    assert_eq!(hear(&up("nic10", 10)), ["nic10"], "the engine is to say that it is too many");
    // Renamed, it is another one; renamed to a configured name, it is that.
    assert_eq!(hear(&up("nic88", 8)), ["8", "nic88"]);
    let removed = build::Message::new(libc::RTM_DELLINK, 0, 7, 0).done();
    assert_eq!(hear(&removed), ["7"]);
    assert_eq!(hear(&up("eth0", 8)), ["8", "eth0"]);
    // Set down, it is told of once more and left alone.
    let down = build::Message::new(libc::RTM_NEWLINK, 0, 9, 0).attribute(3, b"nic9\0");
    let down = down.attribute(1, &[2, 0, 0, 0, 0, 9]).done();
    assert_eq!(hear(&down), ["nic9", "9"]);
    assert_eq!(hear(&down), [] as [&str; 0]);
}

#[test]
fn a_dump_seats_nobody_who_may_have_left() {
    let mut links = links(&[" 0", "eth0"]);
    let nic = link("nic8", 8);
    let nic = Link { up: true, mac: [2, 0, 0, 0, 0, 8], unfit: None, ..nic };
    links.missed = false;
    assert_eq!(links.dumped(nic), Some(Event::Link(nic)));
    links.watch.0[0].link = None;
    links.left = true;
    assert_eq!(links.dumped(nic), None, "the dump may be older");
    assert!(links.missed, "and is asked for again");
    links.dump_asked();
    assert_eq!(links.dumped(nic), Some(Event::Link(nic)));
}
