//! What a measured number means.

pub mod statistics;

pub use statistics::{Moments, Paired, StatisticsError, clustered, mcnemar, moments, paired, wilson};
