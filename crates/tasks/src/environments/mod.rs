//! The environments: one file each, one line each in [`ENVIRONMENTS`].

use relign_core::{Entry, Environment};

pub mod arithmetic;
pub mod countdown;
pub mod gsm8k;
pub mod verifiers;

pub use arithmetic::Arithmetic;
pub use countdown::Countdown;
pub use gsm8k::Gsm8k;
pub use verifiers::Verifiers;

/// All environments.
pub const ENVIRONMENTS: &[Entry<dyn Environment>] =
    &[arithmetic::ENTRY, countdown::ENTRY, gsm8k::ENTRY, verifiers::ENTRY];
