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

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters are tokens; 1 opens the user's turn, 2 the model's, 0 closes one. As some templates do, it opens the
    /// model's turn with an empty thought (3) that it does not keep.
    struct Template;

    impl Tokenize for Template {
        fn render(&self, messages: &[Message]) -> Result<Vec<u32>, String> {
            let mut tokens = Vec::new();
            for Message { role, content } in messages {
                tokens.push(if *role == relign_core::Role::Assistant { 2 } else { 1 });
                tokens.extend(content.chars().map(u32::from));
                tokens.push(0);
            }
            tokens.extend([2, 3]);
            Ok(tokens)
        }

        fn decode(&self, tokens: &[u32]) -> String {
            tokens.iter().filter(|&&t| t > 3).filter_map(|&t| char::from_u32(t)).collect()
        }
    }

    #[test]
    fn a_turn_is_closed_once_and_the_next_one_opened() {
        let task = Task { messages: vec![Message::user("max")], ..Task::default() };
        let go = [1, u32::from('g'), u32::from('o'), 0, 2, 3];
        assert_eq!(turn(&Template, &task, "go", Some(0)).unwrap(), go);
        // Cut off: its turn is closed for it.
        let closed = turn(&Template, &task, "go", Some(u32::from('q'))).unwrap();
        assert_eq!((closed[0], &closed[1..]), (0, &go[..]));
    }

    #[test]
    fn without_a_template_there_is_no_turn() {
        struct Server;
        impl Tokenize for Server {
            fn render(&self, _: &[Message]) -> Result<Vec<u32>, String> {
                Ok(Vec::new())
            }
            fn decode(&self, _: &[u32]) -> String {
                String::new()
            }
        }
        let error = turn(&Server, &Task::default(), "go", None).unwrap_err();
        assert!(error.contains("expected a template that is here"), "{error}");
    }
}
