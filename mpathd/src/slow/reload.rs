//! What a reload is made of: the questions and answers between a client, the slow thread and
//! whoever starts the daemon. The course of it is in `turn::reloading`.

use std::io;
use std::time::Duration;

use mpathd_core::ids::GroupName;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use zlink::introspect::Type;

use super::state::State;
use crate::config::{Errors, Settings};
use crate::fast::Heir;
use crate::host::taken::Taken;

/// Whoever starts the daemon: knows where the files are, and what an engine is made from.
pub trait Reload {
    /// Reads the files and looks at the host; touches nothing.
    ///
    /// # Errors
    /// Where the files are bad or the host is not fit for them.
    fn prepare(&mut self, state: &State) -> Result<Plan, NotReloaded>;

    /// The same for a text of its own, which was in force before: the host is not asked.
    ///
    /// # Errors
    /// Where the text is bad, which it was not then.
    fn restore(&mut self, text: &str) -> Result<Plan, NotReloaded>;

    /// What is in force, as the text of a file.
    fn in_force(&self) -> String;

    /// Makes the engine that takes over, and all that the fast thread needs for it.
    ///
    /// # Errors
    /// Where the kernel gives no random numbers.
    fn heir(&mut self, plan: &Plan, state: &State) -> io::Result<Box<Heir>>;

    /// That engine is on its way: this is the configuration that the next one will differ from.
    fn handed_over(&mut self, settings: Settings);
}

/// What a reload is to bring.
#[derive(Debug)]
pub struct Plan {
    /// In words; empty: nothing is to be done.
    pub changes: Vec<String>,
    pub settings: Settings,
    /// Groups that this host does not let start, and why.
    pub refused: Vec<(GroupName, String)>,
    /// What others have set and is to be taken over.
    pub taken: Vec<Taken>,
    /// What the files say, as the text of one file.
    pub text: String,
}

impl Plan {
    /// The answer where nothing is to be done.
    pub(super) fn unchanged(self) -> Reloaded {
        let lines = self.refused.into_iter().map(|(_, line)| line);
        Reloaded { changes: Vec::new(), missing: lines.reduce(|a, b| a + "; " + &b) }
    }
}

/// Why the old configuration is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReloaded {
    /// What is wrong with the files, a line each, as at a start.
    Configuration(Vec<String>),
    Refused(String),
}

impl From<Errors> for NotReloaded {
    fn from(errors: Errors) -> Self {
        Self::Configuration(errors.iter().map(ToString::to_string).collect())
    }
}

/// The new configuration is in force: what it changed, a line each, nothing if there are none; and
/// what does not stand yet 5 s after, or is not done at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct Reloaded {
    pub changes: Vec<String>,
    pub missing: Option<String>,
}

pub(super) type Answer = Result<Reloaded, NotReloaded>;

/// What an administrator wants of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Apply the files.
    Reload,
    /// Apply the files, for so long unless that is confirmed.
    Try(Duration),
    Confirm,
    Revert,
}

/// A wish, and who waits for its outcome; `None`: a signal.
pub(super) struct Asked {
    pub(super) wish: Wish,
    pub(super) answer: Option<oneshot::Sender<Answer>>,
}

impl Asked {
    pub(super) fn answer(self, answer: Answer) {
        // An error: who asked has gone.
        match self.answer.map(|asking| asking.send(answer)) {
            None | Some(Ok(()) | Err(_)) => {}
        }
    }
}
