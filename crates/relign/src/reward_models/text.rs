//! What reward models are given to read, and where.

use relign_core::{Author, Message, NodeId, Role, Tokenize, Tree};
use relign_model::{Asked, Tokenizer};
use relign_search::scorers::Process;

/// Qwen's separator.
const EXTRA: &str = "<extra_0>";

/// Math-Shepherd's.
const TAG: &str = " ки\n";

/// How a process reward model is given an answer's steps.
pub(super) struct Format {
    /// What stands after each step.
    separator: String,
    /// The separator's token and its text, if it is one that is looked for in the whole text.
    tag: Option<(u32, String)>,
    /// Whether it reads a conversation.
    chat: bool,
    system: Option<String>,
}

impl Format {
    pub(super) fn of(own: &Process, labels: bool, tokenizer: &Tokenizer) -> Self {
        let usual = match labels {
            false => TAG,
            true if tokenizer.token_id(EXTRA).is_some() => EXTRA,
            true => "\n",
        };
        let separator = own.separator.clone().unwrap_or_else(|| usual.to_owned());
        let bare = separator.trim();
        let tag = (!bare.is_empty()).then(|| tokenizer.token_id(bare)).flatten();
        let tag = tag.map(|id| (id, bare.to_owned()));
        let chat = own.chat.unwrap_or(labels) && tokenizer.template().is_some();
        Self { separator, tag, chat, system: own.system.clone() }
    }

    /// The tokens of `steps` in answer to `messages`, and the places after each step.
    pub(super) fn tokens(
        &self,
        tokenizer: &Tokenizer,
        mut messages: Vec<Message>,
        steps: &[String],
    ) -> Result<Asked, String> {
        if steps.is_empty() {
            return Err("expected a step to judge, got none".to_owned());
        }
        match &self.tag {
            Some((tag, text)) => {
                // Whoever writes the separator into an answer must not make steps of it.
                let bare = |words: &str| {
                    let mut words = words.to_owned();
                    // What is left of one may be another.
                    while words.contains(text.as_str()) {
                        words = words.replace(text.as_str(), "");
                    }
                    words
                };
                messages.iter_mut().for_each(|message| message.content = bare(&message.content));
                let joined: String = steps.iter().map(|step| bare(step) + &self.separator).collect();
                let tokens = if self.chat {
                    messages.push(Message::assistant(joined));
                    conversation(tokenizer, &messages, self.system.as_deref())?
                } else {
                    plain(tokenizer, &(question(&messages) + " " + &joined))
                };
                let found: Vec<usize> = (0..tokens.len()).filter(|&at| tokens[at] == *tag).collect();
                let Some(from) = found.len().checked_sub(steps.len()) else {
                    return Err(format!(
                        "separator `{text}`: expected its token {} times in the text, got {}",
                        steps.len(),
                        found.len()
                    ));
                };
                Ok(Asked { tokens, places: found[from..].to_vec() })
            }
            None => {
                let mut tokens = if self.chat {
                    with_system(&mut messages, self.system.as_deref());
                    tokenizer.render(&messages)?
                } else {
                    plain(tokenizer, &question(&messages))
                };
                let separator = tokenizer.encode(&self.separator);
                let mut places = Vec::new();
                for step in steps {
                    tokens.extend(tokenizer.encode(step));
                    tokens.extend(&separator);
                    places.push(tokens.len() - 1);
                }
                Ok(Asked { tokens, places })
            }
        }
    }
}

/// The tokens of a finished conversation in the model's template; without one, of the messages with an empty line between
/// them.
pub(super) fn conversation(
    tokenizer: &Tokenizer,
    messages: &[Message],
    system: Option<&str>,
) -> Result<Vec<u32>, String> {
    let mut messages = messages.to_vec();
    with_system(&mut messages, system);
    match tokenizer.template() {
        Some(template) => Ok(tokenizer.encode_with_specials(&template.render(&messages, false)?)),
        None => {
            let contents: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
            Ok(plain(tokenizer, &contents.join("\n\n")))
        }
    }
}

fn with_system(messages: &mut Vec<Message>, system: Option<&str>) {
    if let Some(system) = system {
        messages.retain(|message| message.role != Role::System);
        messages.insert(0, Message::system(system));
    }
}

/// Tokens of a text that is no conversation.
fn plain(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let mut tokens: Vec<u32> = tokenizer.bos().filter(|_| tokenizer.adds_bos()).into_iter().collect();
    tokens.extend(tokenizer.encode_with_specials(text));
    tokens
}

fn question(messages: &[Message]) -> String {
    let contents: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
    contents.join("\n\n")
}

/// The steps of the turn that ends at `node`: its nodes, words that a search put in belonging to the step that they lead
/// into, cut at blank lines.
pub(super) fn steps(tree: &Tree, node: NodeId) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut open = false;
    let path = tree.path(node);
    let own = path.iter().rev().take_while(|&&id| matches!(tree.nodes[id].author, Author::Policy | Author::Search));
    let first = path.len() - own.count();
    for &id in &path[first..] {
        let node = &tree.nodes[id];
        match pieces.last_mut().filter(|_| open) {
            Some(piece) => piece.push_str(&node.text),
            None => pieces.push(node.text.clone()),
        }
        open = node.author == Author::Search;
    }
    let cut = pieces.iter().flat_map(|piece| piece.split("\n\n"));
    cut.map(str::trim).filter(|step| !step.is_empty()).map(str::to_owned).collect()
}
