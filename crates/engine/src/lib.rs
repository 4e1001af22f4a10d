//! The engine: many sequences grow at once, each token by token, in one forward pass.
//!
//! **Continuous batching.** Every pass takes the next token of each running sequence and a chunk of
//! the prompts that are still being read. A finished sequence leaves at once and a waiting one
//! enters with the next pass (Orca, Yu et al. 2022). What is scheduled depends on the requests and
//! their order alone, never on a clock.
//!
//! **Shared prefixes.** Keys and values lie in blocks of 16 positions (PagedAttention, 2309.06180)
//! that form a tree over token contents: requests that begin alike hold the same full blocks and
//! copy the block in which they part. What ended sequences leave stays until its room is needed or
//! the weights change, so branches of a reasoning tree and later turns find their prefix.
//!
//! **Memory.** A request enters when its blocks are there. Should running sequences outgrow the
//! budget, the youngest gives its blocks up and is computed again later.
//!
//! **Sampling.** [`Sampling`](relign_core::Sampling) says how logits become the distribution that a token is drawn from,
//! and in which order. Rows that ask for more than a temperature are worked on one by one, beside those that do not. What
//! penalties and constraints have to know lives with a sequence's tokens, not with its blocks.
//!
//! # What a result depends on
//! The token at place `i` of a completion is drawn with `seed.uniform(i)`, and what it is drawn from depends on the
//! sequence alone: every sum is made in one order, whatever else is in flight, however a prompt is cut into chunks and
//! whether its beginning was cached. A request's tokens and log-probabilities are the same bits in any company, and those
//! that the trainer computes for them.
//! [`Engine::release`] and [`Engine::set_version`] bring an engine back to the state it was made in.

mod blocks;
mod constraint;
mod engine;
pub mod memory;
pub mod remote;
mod scoring;
mod sequence;
mod stats;
mod text;
mod vocabulary;

pub use engine::{Engine, EngineOptions};
pub use stats::EngineStats;
pub use vocabulary::Vocabulary;
