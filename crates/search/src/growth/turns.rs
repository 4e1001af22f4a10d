//! Turns that a strategy adds to a conversation, as tokens.

use relign_core::{Message, Task, Tokenize};

/// What stands in for the model's turn, to be found again in the rendered conversation.
const STAND_IN: &str = "x";

/// The tokens from the end of the model's turn to where its next one begins, with `said` by the user in between.
///
/// `last` is the last token of the model's turn: where it is the one that ends turns, the tokens begin after it,
/// otherwise they end the turn first. What the model said is never rendered again: the template is asked with a
/// stand-in, and what it puts after that is taken.
///
/// # Errors
/// If the template changes what stands before a turn, so that nothing can be added to it.
pub(crate) fn turn(tokenizer: &dyn Tokenize, task: &Task, said: &str, last: Option<u32>) -> Result<Vec<u32>, String> {
    let before = tokenizer.render(&task.messages)?;
    if before.is_empty() {
        return Err("expected a template that is here, to add a turn with; use --tokenizer".to_owned());
    }
    let mut messages = task.messages.clone();
    messages.extend([Message::assistant(STAND_IN), Message::user(said)]);
    let whole = tokenizer.render(&messages)?;
    // A template may open the model's turn with more than it keeps of it afterwards (an empty thought).
    let common = before.iter().zip(&whole).take_while(|(a, b)| a == b).count();
    let stand_in = |rest: &[u32]| rest.iter().position(|&token| tokenizer.decode(&[token]).trim() == STAND_IN);
    let Some(at) = stand_in(&whole[common..]) else {
        return Err("the chat template: expected the model's turn after the prompt, got something else".to_owned());
    };
    let mut after = &whole[common + at + 1..];
    if let (Some(first), Some(last)) = (after.first(), last)
        && *first == last
    {
        after = &after[1..];
    }
    Ok(after.to_vec())
}
