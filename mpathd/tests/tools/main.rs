//! `ipmpstat` and `if_mpadm` against made-up daemons: columns, texts and exit codes of behaviour
//! file 6 and 7.

mod binaries;
mod columns;
mod if_mpadm;
mod ipmpstat;
mod json;
mod modes;
mod sample;
mod status;
