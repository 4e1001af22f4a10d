//! What a measured number means.

pub mod benchmark;
pub mod compare;
pub mod contamination;
mod digest;
pub mod leaderboard;
pub mod markdown;
mod page;
pub mod results;
pub mod statistics;
pub mod tradeoff;
mod words;

pub use statistics::{
    Difference, Interval, Moments, Paired, StatisticsError, benjamini_hochberg, bootstrap, clustered, clustered_error,
    clustered_mean, difference, g_pass_at_k, holm, maj_at_k, mcnemar, mg_pass_at_k, minimum_detectable, moments,
    needed, paired, pass_at_k, pass_hat_k, relative_uplift, wilson,
};
