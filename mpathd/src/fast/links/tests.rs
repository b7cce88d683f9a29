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
