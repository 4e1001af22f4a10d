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
//! # What a result depends on
//! The token at place `i` of a completion is drawn with `seed.uniform(i)`, whatever else is in
//! flight. The distribution it is drawn from is the same up to rounding: matrix products of another
//! number of rows sum in another order, which moves f32 logits by some 1e-6 of their size (about
//! 1e-5 in a log-probability) and bf16 logits by a rounding step of theirs (2^-8 of their size). A
//! draw changes only if its uniform falls into such a gap, a greedy choice only if two logits lie as
//! close; from there on the completion goes its own way. The same requests in the same order to an
//! engine in the same state give the same bits; [`Engine::release`] and [`Engine::set_version`] bring
//! it back to the state it was made in.
//!
//! [`remote`] asks a server for tokens instead.

mod blocks;
mod engine;
mod memory;
pub mod remote;
mod sequence;
mod stats;
mod text;
mod vocabulary;

pub use engine::{Engine, EngineOptions};
pub use stats::EngineStats;
pub use vocabulary::Vocabulary;
