use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream as Client;
use std::sync::Arc;
use std::thread;

use serde_json::{Value, json};
use tokio::task::LocalSet;
use zlink::idl;
use zlink::introspect::{CustomType as _, Type as _};

use super::wire::{Events, Picture, described};
use super::*;
use crate::messages::Queues;
use crate::shared::Shared;
use crate::slow::events::EventRecord;
use crate::slow::sample;

/// Answers of a server to one call each, made on a thread of its own; the daemon is `own`.
fn ask(test: &str, own: u32, group: Option<u32>, calls: Vec<Value>) -> Vec<Value> {
    let dir = sample::dir(test);
    let path = socket_path(&dir);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = LocalSet::new();
    let listener = runtime.block_on(async { listen(&dir).unwrap().open().unwrap() });
    let client = thread::spawn(move || {
        become_nobody();
        calls.into_iter().map(|call| exchange(&path, &call)).collect()
    });
    let hub = Hub::new(Arc::new(Shared::new().unwrap()), Queues::new().unwrap(), Vec::new());
    local.spawn_local(serve(listener, Rc::new(hub), Access { own, group }));
    runtime.block_on(local.run_until(async {
        tokio::task::spawn_blocking(move || client.join().unwrap()).await.unwrap()
    }))
}

fn exchange(path: &Path, call: &Value) -> Value {
    let mut client = Client::connect(path).unwrap();
    client.write_all(format!("{call}\0").as_bytes()).unwrap();
    let mut reply = Vec::new();
    let mut byte = [0];
    while client.read(&mut byte).unwrap() == 1 && byte[0] != 0 {
        reply.push(byte[0]);
    }
    serde_json::from_slice(&reply).unwrap()
}

/// Root may do all, so a test as root changes user; a thread's credentials are its own to the
/// kernel, and the C library's functions would change those of all threads.
fn become_nobody() {
    if geteuid().is_root() {
        // SAFETY: no pointer is read: the list of groups is empty.
        let done = unsafe {
            libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>())
                | libc::syscall(libc::SYS_setresgid, 65534, 65534, 65534)
                | libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534)
        };
        assert_eq!(done, 0);
    }
}

/// What [`become_nobody`] makes of us.
fn nobody() -> (u32, u32) {
    match geteuid().is_root() {
        true => (65534, 65534),
        false => (geteuid().as_raw(), nix::unistd::getegid().as_raw()),
    }
}

fn offline() -> Value {
    // No interface can have this name, so the engine is not asked.
    json!({"method": "org.mpathd.Control.Offline", "parameters": {"interface": "x".repeat(16)}})
}

#[test]
fn a_stranger_may_read_but_not_change() {
    let stranger = nobody().0 + 1;
    let read = json!({"method": "org.mpathd.Control.Snapshot"});
    let replies = ask("access-denied", stranger, None, vec![offline(), read]);
    assert_eq!(replies[0]["error"], "org.mpathd.Control.PermissionDenied");
    assert_eq!(replies[0]["parameters"]["group"], "mpathd");
    assert_eq!(replies[1]["parameters"]["settled"], false);
}

#[test]
fn the_own_user_and_the_group_may_change() {
    let (uid, gid) = nobody();
    let refused = "org.mpathd.Control.UnknownInterface";
    let own = ask("access-own", uid, None, vec![offline()]);
    assert_eq!(own[0]["error"], refused, "past the check");
    let member = ask("access-group", uid + 1, Some(gid), vec![offline()]);
    assert_eq!(member[0]["error"], refused, "past the check");
}

#[test]
fn what_is_in_the_way_is_not_removed() {
    let dir = sample::dir("bind-file");
    fs::write(socket_path(&dir), "mine").unwrap();
    assert!(matches!(listen(&dir), Err(BindError::NotSocket(_))));
    assert_eq!(fs::read_to_string(socket_path(&dir)).unwrap(), "mine");
}

/// The description is made from types that are never sent, so it must be held against what is.
#[test]
fn the_description_fits_what_is_sent() {
    let types: BTreeMap<&str, &idl::CustomType<'_>> = [
        described::WaitingRoute::CUSTOM_TYPE,
        described::Span::CUSTOM_TYPE,
        described::Family::CUSTOM_TYPE,
        described::GroupState::CUSTOM_TYPE,
        described::Group::CUSTOM_TYPE,
        described::LinkState::CUSTOM_TYPE,
        described::ProbeState::CUSTOM_TYPE,
        described::InterfaceState::CUSTOM_TYPE,
        described::Interface::CUSTOM_TYPE,
        described::Address::CUSTOM_TYPE,
        described::TargetMode::CUSTOM_TYPE,
        described::Loss::CUSTOM_TYPE,
        described::Instance::CUSTOM_TYPE,
        described::TargetState::CUSTOM_TYPE,
        described::Target::CUSTOM_TYPE,
        described::Lateness::CUSTOM_TYPE,
        described::Seconds::CUSTOM_TYPE,
        described::Histogram::CUSTOM_TYPE,
        described::TargetCounts::CUSTOM_TYPE,
        described::Event::CUSTOM_TYPE,
    ]
    .into_iter()
    .map(|described| (described.name().as_str(), described))
    .collect();
    let picture = serde_json::to_value(Picture(sample::snapshot())).unwrap();
    fits(Picture::TYPE, &picture, &types, "Picture");
    let event = EventRecord {
        seq: 1,
        time: "2026-11-28T03:14:15.926Z".into(),
        at_ns: 1,
        severity: "err".into(),
        event: "interface-failed".into(),
        group: Some("ipmp0".into()),
        interface: Some("eth0".into()),
        reason: Some("probes".into()),
        text: "failed".into(),
        detail: Some("probes".into()),
    };
    let events = serde_json::to_value(Events { events: vec![event] }).unwrap();
    fits(Events::TYPE, &events, &types, "Events");
    let probe = ProbeRecord {
        interface: sample::name("eth0"),
        family: mpathd_core::ids::Family::Inet6,
        target: sample::target(1),
        seq: 1,
        sent_ns: 2,
        received_ns: Some(3),
        processed_ns: 4,
        srtt_ns: 5,
        rttvar_ns: 6,
    };
    fits(ProbeRecord::TYPE, &serde_json::to_value(probe).unwrap(), &types, "ProbeRecord");
}

type Types<'a> = BTreeMap<&'a str, &'a idl::CustomType<'a>>;

fn fits(described: &idl::Type<'_>, sent: &Value, types: &Types<'_>, place: &str) {
    match described {
        idl::Type::Bool => assert!(sent.is_boolean(), "{place}: {sent}"),
        idl::Type::Int => assert!(sent.is_u64(), "{place}: {sent}"),
        idl::Type::Float => assert!(sent.is_f64(), "{place}: {sent}"),
        idl::Type::String => assert!(sent.is_string(), "{place}: {sent}"),
        idl::Type::Optional(_) if sent.is_null() => {}
        idl::Type::Optional(inner) => fits(inner.inner(), sent, types, place),
        idl::Type::Array(inner) => {
            for (i, element) in sent.as_array().expect(place).iter().enumerate() {
                fits(inner.inner(), element, types, &format!("{place}[{i}]"));
            }
        }
        idl::Type::Map(inner) => {
            for (key, value) in sent.as_object().expect(place) {
                fits(inner.inner(), value, types, &format!("{place}.{key}"));
            }
        }
        idl::Type::Object(fields) => object(fields.iter(), sent, types, place),
        idl::Type::Custom(name) => match types[name.as_str()] {
            idl::CustomType::Object(described) => object(described.fields(), sent, types, place),
            idl::CustomType::Enum(described) => {
                let word = sent.as_str().expect(place);
                assert!(described.variants().any(|v| v.name() == word), "{place}: {word}");
            }
        },
        other => panic!("{place}: {other:?} is not expected"),
    }
}

fn object<'a>(
    fields: impl Iterator<Item = &'a idl::Field<'a>>,
    sent: &Value,
    types: &Types<'_>,
    place: &str,
) {
    let mut left = sent.as_object().expect(place).clone();
    for field in fields {
        let place = format!("{place}.{}", field.name());
        let value =
            left.remove(field.name().as_str()).unwrap_or_else(|| panic!("{place} is not sent"));
        fits(field.ty(), &value, types, &place);
    }
    assert!(left.is_empty(), "{place}: not described: {left:?}");
}
