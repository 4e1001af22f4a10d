//! What deciding one answer may cost.

use std::cell::Cell;

/// Steps that one comparison may take; a step is some ten nanoseconds of work. Bounds the time of any
/// input to a few tenths of a second.
const MOST_STEPS: u64 = 10_000_000;
/// Bits of the largest whole number that is computed exactly: `2006!` has 19,000.
pub(super) const MOST_BITS: u64 = 1 << 15;

/// Why a computation ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// The steps are used up, or a number grows beyond what is computed.
    Spent,
    /// There is no value: a division by zero, the logarithm of zero.
    Undefined,
    /// The thing is no number: a set within a sum.
    Kind,
    /// It has a value that is not computed here.
    Unknown,
}

/// Counts steps down.
#[derive(Debug)]
pub(super) struct Effort(Cell<u64>);

impl Effort {
    pub(super) fn new() -> Self {
        Self(Cell::new(MOST_STEPS))
    }

    /// Takes `steps` away.
    pub(super) fn spend(&self, steps: u64) -> Result<(), Halt> {
        match self.0.get().checked_sub(steps) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => {
                self.0.set(0);
                Err(Halt::Spent)
            }
        }
    }

    /// Takes away what an operation on numbers of so many bits costs, the largest part of which is
    /// reducing a fraction: quadratic in their length.
    pub(super) fn spend_bits(&self, bits: u64) -> Result<(), Halt> {
        if bits > 2 * MOST_BITS {
            return Err(Halt::Spent);
        }
        let words = bits / 64 + 1;
        self.spend(words * words * 2 + 8)
    }
}
