//! The host thread alone, against the real kernel: requests go in as the engine would make them, and what they
//! do is seen from outside. Its answers and observations are read off its queue.

#[path = "host_thread/addresses.rs"]
mod addresses;
#[path = "host_thread/announcements.rs"]
mod announcements;
#[path = "host_thread/driver.rs"]
mod driver;
#[path = "host_thread/hooks.rs"]
mod hooks;
#[path = "host_thread/many.rs"]
mod many;
#[path = "host_thread/members.rs"]
mod members;
#[path = "host_thread/release.rs"]
mod release;
#[path = "host_thread/routes.rs"]
mod routes;
