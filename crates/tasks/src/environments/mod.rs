//! The environments: one file each, one line each in [`ENVIRONMENTS`].

use relign_core::{Entry, Environment};

pub mod aime24;
pub mod amc23;
pub mod arithmetic;
pub mod bbh;
mod card;
pub mod countdown;
pub mod dataset;
pub mod finqa;
pub mod gsm8k;
pub mod humaneval;
pub mod humaneval_rs;
pub mod math;
pub mod math500;
pub mod mbpp;
pub mod medqa;
pub mod pubmedqa;
pub mod verifiers;

pub use arithmetic::Arithmetic;
pub use countdown::Countdown;
pub use dataset::Dataset;
pub use verifiers::Verifiers;

/// All environments. A hyphen in a name is an underscore in its file's.
pub const ENVIRONMENTS: &[Entry<dyn Environment>] = &[
    aime24::ENTRY,
    amc23::ENTRY,
    arithmetic::ENTRY,
    bbh::ENTRY,
    countdown::ENTRY,
    dataset::ENTRY,
    finqa::ENTRY,
    gsm8k::ENTRY,
    humaneval::ENTRY,
    humaneval_rs::ENTRY,
    math::ENTRY,
    math500::ENTRY,
    mbpp::ENTRY,
    medqa::ENTRY,
    pubmedqa::ENTRY,
    verifiers::ENTRY,
];
