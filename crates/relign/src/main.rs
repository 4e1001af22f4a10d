//! `relign`: trains language models to reason, asks them and measures them.

#![deny(clippy::print_stderr, reason = "it panics where stderr cannot be written; see `console`")]

mod allocator;
mod began;
mod benchmarks;
mod cli;
mod commands;
mod console;
mod generator;
mod held_against;
mod held_out;
mod judged;
mod loaded;
mod memory;
mod models;
mod recipe_file;
mod registry;
mod reward_models;
mod sampler;
mod searches;
mod shell;
mod sinks;
mod spinning;
mod usage;

use std::process::ExitCode;

fn main() -> ExitCode {
    spinning::shorten();
    allocator::keep_memory();
    cli::main()
}
