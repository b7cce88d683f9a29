//! The fast thread: engine, timers, probe sockets, slots and link notices.

pub mod slots;
