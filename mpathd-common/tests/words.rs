//! The order in which the daemon writes rows that the eBPF programs read meanwhile: whoever reads
//! between two stores finds the old row, the new one, or none.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;

use mpathd_common::abi::{Detour, Path, Redirect, Slot, SlotKey, Word};

/// A word that calls back after each store, as a program on another CPU may look then.
#[derive(Default)]
struct Watched {
    value: Cell<u64>,
    stored: RefCell<Option<Rc<dyn Fn()>>>,
}

impl Word for Watched {
    fn get(&self) -> u64 {
        self.value.get()
    }

    fn set(&self, value: u64) {
        self.value.set(value);
        let watch = self.stored.borrow().clone();
        if let Some(watch) = watch {
            watch();
        }
    }
}

fn slot_words(slot: &Slot<Watched>) -> [u64; 8] {
    let Slot { cookie, generation, ifindex, flags, target, test } = slot;
    [cookie, generation, ifindex, flags, &target[0], &target[1], &test[0], &test[1]].map(Word::get)
}

fn redirect_words(row: &Redirect<Watched>) -> [u64; 5] {
    let Redirect { to, own_mac, new_mac, test } = row;
    [to, own_mac, new_mac, &test[0], &test[1]].map(Word::get)
}

fn watch<'a>(words: impl IntoIterator<Item = &'a Watched>, with: &Rc<dyn Fn()>) {
    words.into_iter().for_each(|word| *word.stored.borrow_mut() = Some(Rc::clone(with)));
}

fn path(test: &str, target: &str) -> Path {
    Path::new(test.parse().unwrap(), target.parse().unwrap()).unwrap()
}

#[test]
fn a_slot_that_is_written_anew_matches_its_old_key_its_new_key_or_nothing() {
    let slot: Rc<Slot<Watched>> = Rc::default();
    let old = SlotKey {
        lower: [0; mpathd_common::abi::LOWER],
        cookie: 1,
        generation: 1,
        ifindex: 2,
        consume: true,
        path: path("192.0.2.11", "192.0.2.1"),
    };
    let new = SlotKey {
        lower: [0; mpathd_common::abi::LOWER],
        cookie: 2,
        generation: 2,
        ifindex: 3,
        consume: false,
        path: path("2001:db8::11", "2001:db8::1"),
    };
    slot.publish(&new);
    let complete = slot_words(&slot);
    slot.publish(&old);
    let before = slot_words(&slot);
    assert_ne!(before, complete);

    let seen = Rc::new(RefCell::new(Vec::new()));
    let with: Rc<dyn Fn()> = {
        let (slot, seen) = (Rc::downgrade(&slot), Rc::clone(&seen));
        Rc::new(move || seen.borrow_mut().push(slot_words(&slot.upgrade().unwrap())))
    };
    let Slot { cookie, generation, ifindex, flags, target, test } = &*slot;
    watch([cookie, generation, ifindex, flags], &with);
    watch(target.iter().chain(test), &with);
    slot.publish(&new);
    let seen = seen.take();
    assert!(seen.len() >= 8, "{seen:?}");
    for words in &seen {
        let free = words[0] == 0;
        assert!(free || *words == before || *words == complete, "a torn row: {words:?}");
    }
    assert_eq!(slot_words(&slot), complete);
    slot.retire();
    assert_eq!(slot_words(&slot)[0], 0);
}

#[test]
fn a_redirect_that_changes_never_pairs_one_nic_with_the_mac_of_another() {
    let row: Rc<Redirect<Watched>> = Rc::default();
    let test = |text: &str| Some(text.parse::<IpAddr>().unwrap());
    let old = Detour {
        to: 3,
        until_ns: 5 << 32,
        own_mac: [2, 0, 0, 0, 0, 2],
        new_mac: [2, 0, 0, 0, 0, 3],
        test: test("192.0.2.11"),
    };
    let new = Detour {
        to: 4,
        until_ns: 6 << 32,
        own_mac: [2, 0, 0, 0, 0, 9],
        new_mac: [2, 0, 0, 0, 0, 4],
        test: test("2001:db8::11"),
    };
    row.begin(&new);
    let complete = redirect_words(&row);
    row.begin(&old);
    let before = redirect_words(&row);

    let seen = Rc::new(RefCell::new(Vec::new()));
    let with: Rc<dyn Fn()> = {
        let (row, seen) = (Rc::downgrade(&row), Rc::clone(&seen));
        Rc::new(move || seen.borrow_mut().push(redirect_words(&row.upgrade().unwrap())))
    };
    let Redirect { to, own_mac, new_mac, test } = &*row;
    watch([to, own_mac, new_mac, &test[0], &test[1]], &with);
    row.begin(&new);
    for words in seen.borrow().iter() {
        let none = words[0] == 0;
        assert!(none || *words == before || *words == complete, "a torn row: {words:?}");
    }
    assert_eq!(redirect_words(&row), complete);

    // A renewal: nothing but the lease changes, and no frame goes the wrong way meanwhile.
    seen.borrow_mut().clear();
    row.begin(&Detour { until_ns: 7 << 32, ..new });
    assert_eq!(seen.borrow().len(), 1, "{:?}", seen.borrow());
    assert_eq!(redirect_words(&row)[1..], complete[1..]);
    row.end();
    assert_eq!(redirect_words(&row)[0], 0);
}
