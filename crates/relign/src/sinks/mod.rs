//! Where events go: the terminal, JSON Lines, TensorBoard and the curve.

use std::io;

use relign_core::{Event, Sink};

pub(crate) mod hashes;
pub(crate) mod jsonl;
pub(crate) mod plot;
pub(crate) mod tensorboard;
pub(crate) mod terminal;
pub(crate) mod tradeoff;

/// Several sinks as one; the first that cannot write ends the run.
pub(crate) struct Sinks(pub(crate) Vec<Box<dyn Sink>>);

impl Sink for Sinks {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        self.0.iter_mut().try_for_each(|sink| sink.event(event))
    }
}
