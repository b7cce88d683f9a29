//! What an administrator types: the modes of `ipmpstat`, `if_mpadm` and `mpathd`, as
//! functions from arguments, a daemon and two outputs to an exit code; the binaries only call them.

pub mod check;
pub mod columns;
pub mod daemon;
pub mod if_mpadm;
pub mod ipmpstat;
pub mod names;
pub mod options;
pub mod release;
mod session;
pub mod status;
pub mod trial;
