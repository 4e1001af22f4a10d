//! What the model says of tokens that were given to it.

use relign_core::Odds;
use relign_model::logits::odds_of;
use relign_model::ops::select;
use relign_model::{Family, Tensor};

/// Rows whose logits exist at one time: a vocabulary is wide.
const ROWS: usize = 64;

/// A token of a prompt whose odds are asked for.
pub(crate) struct Scored {
    /// The row, among those of a pass, of the token before it.
    pub(crate) row: i64,
    /// The running sequence it belongs to.
    pub(crate) sequence: usize,
    pub(crate) token: u32,
    /// Alternatives asked for.
    pub(crate) top: usize,
}

/// The odds of each under the model's own distribution; `hidden` are the rows of a pass.
pub(crate) fn odds(family: &dyn Family, hidden: &Tensor, scored: &[Scored]) -> Vec<Odds> {
    let mut odds = Vec::with_capacity(scored.len());
    for part in scored.chunks(ROWS) {
        let rows: Vec<i64> = part.iter().map(|scored| scored.row).collect();
        let logits = family.head().logits(&select(hidden, &rows));
        let targets: Vec<(u32, usize)> = part.iter().map(|scored| (scored.token, scored.top)).collect();
        odds.extend(odds_of(&logits, &targets));
    }
    odds
}
