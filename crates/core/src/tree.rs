//! The reasoning tree: one type for rollouts, training, search, evaluation and logs.

use serde::{Deserialize, Serialize};

use crate::{Completion, Finish, Message, Score, Task, ThoughtMarkers, Transcript};

/// A prompt and everything said after it.
///
/// `k` samples are a tree of depth one; a chain of thought cut into steps is a path; a dialogue with
/// tools alternates policy nodes and environment nodes. Nodes are stored in the order they were
/// made, so a parent always precedes its children; node 0 is the prompt.
/// A file of trees is JSON Lines, one tree a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tree {
    /// What was asked.
    pub task: Task,
    /// The training step the tree was made for; 0 outside training.
    #[serde(default)]
    pub step: u64,
    /// Whether the prompt ends within a thought, which its chat template opened.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_thought: bool,
    /// What marks thoughts beside the usual marks.
    #[serde(default, skip_serializing_if = "ThoughtMarkers::is_empty")]
    pub thought_markers: ThoughtMarkers,
    /// The nodes, parents first.
    pub nodes: Vec<Node>,
    /// The node whose path is the answer, where a strategy chose one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<NodeId>,
    /// What it cost, where that was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
}

/// What a tree cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Requests.
    pub requests: u64,
    /// Tokens generated; where a server does not tell them, as many as were allowed.
    pub generated: u64,
    /// Tokens of all requests' prompts, also those that the engine's cache served.
    pub prompts: u64,
}

/// The place of a node within its tree.
pub type NodeId = usize;

/// A span of tokens by one author.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The node this one continues; `None` for the prompt alone.
    pub parent: Option<NodeId>,
    /// Who wrote it.
    pub author: Author,
    /// The tokens exactly as they were sampled or rendered; never re-tokenised from the text. Empty where
    /// a server keeps them to itself.
    pub tokens: Vec<u32>,
    /// For policy nodes, the log-probability of each token under the distribution it was sampled
    /// from (nats, temperature applied); empty otherwise, and where a server does not tell them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logprobs: Vec<f32>,
    /// The tokens as text, for readers and rewards.
    pub text: String,
    /// The version of the policy that wrote it; 0 is the base model.
    #[serde(default)]
    pub version: u64,
    /// Why generation ended, for a policy node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<Finish>,
    /// How many of the path's sampled tokens are thought and no answer, where the path ends here and has a thought. Their
    /// share of the text decides where the tokens do not spell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thought_tokens: Option<u64>,
    /// The judgement of the path that ends here, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<Score>,
    /// How certain the model was at each token: the divergence of its own distribution (temperature 1, nothing taken
    /// away) from the uniform one, `KL(U || p) = -ln V - mean of ln p over the vocabulary` (nats, 2502.18581). Empty where
    /// nobody asked or it is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certainty: Vec<f32>,
    /// How often a search came through here; 0 where none counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub visits: u32,
    /// What the strategy holds the path to here to be worth, in its scorer's numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Whether it belongs to a question about its parent's path and is no part of an answer.
    #[serde(default, skip_serializing_if = "is_false")]
    pub aside: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature.
fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature.
fn is_false(b: &bool) -> bool {
    !b
}

impl Node {
    /// A node after `parent` without anything in it yet.
    #[must_use]
    pub const fn after(parent: NodeId, author: Author) -> Self {
        Self {
            parent: Some(parent),
            author,
            tokens: Vec::new(),
            logprobs: Vec::new(),
            text: String::new(),
            version: 0,
            finish: None,
            thought_tokens: None,
            score: None,
            certainty: Vec::new(),
            visits: 0,
            value: None,
            aside: false,
        }
    }

    /// What the policy said after `parent`.
    #[must_use]
    pub fn completion(parent: NodeId, completion: Completion) -> Self {
        Self {
            tokens: completion.tokens,
            logprobs: completion.logprobs,
            text: completion.text,
            version: completion.version,
            finish: Some(completion.finish),
            certainty: completion.certainty,
            ..Self::after(parent, Author::Policy)
        }
    }
}

/// Who wrote a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Author {
    /// The rendered task.
    Prompt,
    /// The model under training or test.
    Policy,
    /// An environment's observation, or a user's turn that a strategy adds.
    Environment,
    /// A strategy: words put into the model's mouth, which go on in the model's turn.
    Search,
}

impl Tree {
    /// A tree that holds only its prompt.
    #[must_use]
    pub fn new(task: Task, prompt: Vec<u32>) -> Self {
        let text = task.messages.last().map(|m| m.content.clone()).unwrap_or_default();
        let root = Node { parent: None, tokens: prompt, text, ..Node::after(0, Author::Prompt) };
        Self {
            task,
            step: 0,
            in_thought: false,
            thought_markers: ThoughtMarkers::default(),
            nodes: vec![root],
            chosen: None,
            cost: None,
        }
    }

    /// Appends `node` and returns its place. Its parent must exist already.
    ///
    /// # Panics
    /// If the parent is missing or not an earlier node.
    pub fn push(&mut self, node: Node) -> NodeId {
        let parent = node.parent.expect("only the root has no parent");
        assert!(parent < self.nodes.len(), "parent {parent} of node {} does not exist", self.nodes.len());
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The nodes without children, in order. Questions about a path ([`Node::aside`]) count for nothing here.
    pub fn leaves(&self) -> impl Iterator<Item = NodeId> + '_ {
        let mut inner: Vec<bool> = self.nodes.iter().map(|node| node.aside).collect();
        for node in self.nodes.iter().filter(|node| !node.aside) {
            if let Some(parent) = node.parent {
                inner[parent] = true;
            }
        }
        (0..self.nodes.len()).filter(move |&id| !inner[id])
    }

    /// The path from the root to `node`, both included.
    #[must_use]
    pub fn path(&self, node: NodeId) -> Vec<NodeId> {
        let mut path = vec![node];
        while let Some(parent) = self.nodes[path[path.len() - 1]].parent {
            path.push(parent);
        }
        path.reverse();
        path
    }

    /// All tokens from the root to the end of `node`.
    #[must_use]
    pub fn tokens(&self, node: NodeId) -> Vec<u32> {
        self.path(node).into_iter().flat_map(|id| self.nodes[id].tokens.iter().copied()).collect()
    }

    /// What was said on the path to `node` after the prompt, for a reward to read.
    #[must_use]
    pub fn transcript(&self, node: NodeId) -> Transcript {
        let mut messages: Vec<Message> = Vec::new();
        let mut previous = Author::Prompt;
        let mut ids = Some(Vec::new());
        for id in self.path(node).into_iter().skip(1) {
            let Node { author, text, tokens, .. } = &self.nodes[id];
            if *author == Author::Policy {
                // A text without tokens comes from a server that keeps them to itself.
                ids = ids.filter(|_| !tokens.is_empty() || text.is_empty());
                ids.iter_mut().for_each(|ids| ids.extend_from_slice(tokens));
            }
            match (author, messages.last_mut()) {
                (Author::Policy | Author::Search, Some(message)) if previous == Author::Policy => {
                    message.content.push_str(text);
                }
                (Author::Policy | Author::Search, _) => messages.push(Message::assistant(text.as_str())),
                (Author::Environment | Author::Prompt, _) => messages.push(Message::user(text.as_str())),
            }
            previous = if *author == Author::Search { Author::Policy } else { *author };
        }
        let finished = self.nodes[node].finish.is_some_and(Finish::is_natural);
        Transcript {
            messages,
            finished,
            ids,
            in_thought: self.in_thought,
            thought_markers: self.thought_markers.clone(),
        }
    }
}
