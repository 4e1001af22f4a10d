//! How a task is put to the model.

use relign_core::{Message, Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a task is put to the model: the environment's conversation, with what a benchmark adds to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Prompt {
    /// Said first, as the system's message.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub system: String,
    /// Put around the question, which stands for `{question}`; left out, the question alone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub template: String,
    /// So many tasks of the other split, with answers that solve them, as turns before the question.
    pub examples: u64,
    /// Turns before the question, written out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shots: Vec<Shot>,
}

/// A question and how it should be answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shot {
    /// What the user says.
    pub user: String,
    /// What the model should say.
    pub assistant: String,
}

impl Prompt {
    pub(super) fn check(&self) -> Result<(), String> {
        if !self.template.is_empty() && self.template.matches("{question}").count() != 1 {
            return Err(format!("prompt.template: expected {{question}} in it once, got `{}`", self.template));
        }
        if self.examples > 0 && !self.shots.is_empty() {
            return Err("prompt: expected either examples or shots, got both".to_owned());
        }
        Ok(())
    }

    /// The conversation for a task whose own is `messages`. `shots` are this prompt's, or were made from
    /// tasks where it asks for `examples`; their questions go through the template as well.
    #[must_use]
    pub fn apply(&self, messages: &[Message], shots: &[Shot]) -> Vec<Message> {
        let put = |question: &str| match self.template.as_str() {
            "" => question.to_owned(),
            template => template.replace("{question}", question),
        };
        let mut all = Vec::with_capacity(messages.len() + 2 * shots.len() + 1);
        let own: Vec<&Message> = messages.iter().filter(|m| m.role == Role::System).collect();
        let system: Vec<&str> = std::iter::once(self.system.as_str())
            .chain(own.into_iter().map(|m| m.content.as_str()))
            .filter(|said| !said.is_empty())
            .collect();
        if !system.is_empty() {
            all.push(Message::system(system.join("\n\n")));
        }
        for shot in shots {
            all.extend([Message::user(put(&shot.user)), Message::assistant(shot.assistant.as_str())]);
        }
        let rest: Vec<&Message> = messages.iter().filter(|m| m.role != Role::System).collect();
        let last = rest.iter().rposition(|m| m.role == Role::User);
        for (place, message) in rest.into_iter().enumerate() {
            let content = if Some(place) == last { put(&message.content) } else { message.content.clone() };
            all.push(Message { role: message.role, content });
        }
        all
    }
}
