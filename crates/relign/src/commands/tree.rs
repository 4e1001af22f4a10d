//! `relign tree`: what was said and what became of it, in the terminal or as a page.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use relign_core::{Author, NodeId, Tree, Verdict, files};
use serde_json::{Value, json};

use super::{say, say_json};
use crate::usage::Usage;

/// The deepest nodes that are drawn with their branches.
const DEEPEST: usize = 40;

/// The page, but for the trees.
const PAGE: &str = include_str!("tree/viewer.html");

/// Characters of a node's text on its line.
const WIDTH: usize = 72;

/// What `tree` was told.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// A file of trees: `trees.jsonl`, or `trees.jsonl.zst`
    file: PathBuf,
    /// Write a page that shows the trees, complete in itself
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// Only the trees whose task's id contains this
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// The most trees shown [default: 3; 100 on a page]
    #[arg(long, value_name = "N", value_parser = super::sampling::bounded::<usize>("limit"))]
    limit: Option<usize>,
}

pub(crate) fn run(asked: &Asked, as_json: bool) -> anyhow::Result<()> {
    let most = asked.limit.unwrap_or(if asked.html.is_some() { 100 } else { 3 });
    let (trees, all) = read(&asked.file, asked.task.as_deref(), most)?;
    if trees.is_empty() {
        let file = asked.file.display();
        return Err(Usage::error(match (&asked.task, all) {
            (Some(task), 1..) => format!("--task: expected part of a task's id, none of {all} in {file} has `{task}`"),
            _ => format!("{file}: expected trees, one JSON object a line, got none"),
        }));
    }
    if let Some(out) = &asked.html {
        files::write(out, page(&trees)?).with_context(|| out.display().to_string())?;
    }
    for tree in &trees {
        if as_json {
            say_json(&summary(tree))?;
        } else if asked.html.is_none() {
            for line in drawn(tree) {
                say(line)?;
            }
            say("")?;
        }
    }
    let shown = trees.len();
    if as_json {
        return say_json(&json!({"summary": true, "trees": shown, "of": all, "html": asked.html}));
    }
    if let Some(out) = &asked.html {
        say(format_args!("written: {} ({shown} of {all} trees)", out.display()))?;
    } else if shown < all {
        say(format_args!("{shown} of {all} trees; --limit, --task and --html show more"))?;
    }
    Ok(())
}

/// The first `most` trees that are asked for, and how many there are in all.
fn read(file: &Path, task: Option<&str>, most: usize) -> anyhow::Result<(Vec<Tree>, usize)> {
    let name = || file.display().to_string();
    let opened = File::open(file).map_err(|error| Usage(format!("{}: {error}; expected a file of trees", name())))?;
    let compressed = file.extension().is_some_and(|extension| extension == "zst");
    let from: Box<dyn Read> =
        if compressed { Box::new(zstd::Decoder::new(opened).with_context(name)?) } else { Box::new(opened) };
    let (mut trees, mut all) = (Vec::new(), 0);
    for (at, line) in BufReader::new(from).lines().enumerate() {
        let line = line.with_context(name)?;
        if line.trim().is_empty() {
            continue;
        }
        let tree: Tree = serde_json::from_str(&line)
            .map_err(|error| Usage(format!("{}, line {}: expected a tree, got {error}", name(), at + 1)))?;
        check(&tree).map_err(|what| Usage(format!("{}, line {}: {what}", name(), at + 1)))?;
        all += 1;
        if trees.len() < most && task.is_none_or(|task| tree.task.id.contains(task)) {
            trees.push(tree);
        }
    }
    Ok((trees, all))
}

/// Whether every node stands after its parent.
fn check(tree: &Tree) -> Result<(), String> {
    for (id, node) in tree.nodes.iter().enumerate() {
        if node.parent.map_or(id > 0, |parent| parent >= id) {
            return Err(format!("node {id}: expected a parent before it, got {:?}", node.parent));
        }
    }
    match (tree.nodes.is_empty(), tree.chosen) {
        (true, _) => Err("expected at least the prompt's node, got none".to_owned()),
        (_, Some(chosen)) if chosen >= tree.nodes.len() => {
            Err(format!("chosen: expected one of {} nodes, got {chosen}", tree.nodes.len()))
        }
        _ => Ok(()),
    }
}

const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Correct => "correct",
        Verdict::Wrong => "wrong",
        Verdict::Unparsed => "unparsed",
        Verdict::Failed => "failed",
    }
}

fn summary(tree: &Tree) -> Value {
    let end = tree.chosen.map(|id| &tree.nodes[id]);
    let score = end.and_then(|node| node.score.as_ref()).map(|score| verdict(score.verdict));
    json!({"task": tree.task.id, "nodes": tree.nodes.len(), "leaves": tree.leaves().count(), "chosen": tree.chosen,
        "verdict": score, "value": end.and_then(|node| node.value), "cost": tree.cost})
}

/// The tree as lines: a parent above its children, each with its visits, value and verdict.
fn drawn(tree: &Tree) -> Vec<String> {
    let mut children: Vec<Vec<NodeId>> = vec![Vec::new(); tree.nodes.len()];
    for (id, node) in tree.nodes.iter().enumerate() {
        if let Some(parent) = node.parent {
            children[parent].push(id);
        }
    }
    let cost = tree.cost.map(|cost| format!(", {} tokens", cost.generated)).unwrap_or_default();
    let mut lines = vec![format!("{}  {} nodes{cost}", tree.task.id, tree.nodes.len())];
    // No recursion: chains may be deep.
    let mut open = vec![(0, 0, String::new(), String::new())];
    while let Some((id, depth, branch, below)) = open.pop() {
        let room = WIDTH.saturating_sub(branch.chars().count()).max(24);
        lines.push(format!("{branch}{}", told(tree, id, room)));
        for (at, &child) in children[id].iter().enumerate().rev() {
            let last = at + 1 == children[id].len();
            let (turn, bar) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            let depth = depth + 1;
            // Deeper nodes stand one below the other with their depth: no terminal is as wide as they are deep, and
            // all of their branches would take the square of the tree's size.
            open.push(if depth <= DEEPEST {
                (child, depth, format!("{below}{turn}"), format!("{below}{bar}"))
            } else {
                (child, depth, format!("{}… depth {depth}: ", below.trim_end()), below.clone())
            });
        }
    }
    lines
}

/// A node on a line.
fn told(tree: &Tree, id: NodeId, room: usize) -> String {
    let node = &tree.nodes[id];
    let text: String = node.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = match text.char_indices().nth(room) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    };
    let who = match node.author {
        Author::Prompt => "prompt: ",
        Author::Policy => "",
        Author::Environment => "user: ",
        Author::Search => "put: ",
    };
    let mut facts = Vec::new();
    if node.visits > 0 {
        facts.push(format!("n {}", node.visits));
    }
    facts.extend(node.value.map(|value| format!("v {value:.3}")));
    facts.extend(node.score.as_ref().map(|score| verdict(score.verdict).to_owned()));
    if tree.chosen == Some(id) {
        facts.push("chosen".to_owned());
    }
    let facts = if facts.is_empty() { String::new() } else { format!("  [{}]", facts.join(", ")) };
    format!("{who}{text}{facts}")
}

/// The page with `trees` in it.
fn page(trees: &[Tree]) -> anyhow::Result<String> {
    let trees: Vec<Value> = trees.iter().map(for_page).collect();
    // Within a script element nothing may look like its end.
    let trees = serde_json::to_string(&trees)?.replace('<', "\\u003c");
    Ok(PAGE.replacen("__TREES__", &trees, 1))
}

/// What the page shows of a tree: no tokens, and a mean in place of every log-probability.
fn for_page(tree: &Tree) -> Value {
    let nodes: Vec<Value> = tree
        .nodes
        .iter()
        .map(|node| {
            let sum: f64 = node.logprobs.iter().map(|&logprob| f64::from(logprob)).sum();
            let mean = (!node.logprobs.is_empty()).then(|| sum / node.logprobs.len() as f64);
            let mut shown = json!({
                "parent": node.parent,
                "author": node.author,
                "text": node.text,
                "tokens": node.tokens.len(),
                "logprob": mean,
                "finish": node.finish,
                "value": node.value,
                "visits": (node.visits > 0).then_some(node.visits),
                "aside": node.aside.then_some(true),
                "verdict": node.score.as_ref().map(|score| verdict(score.verdict)),
                "score": node.score.as_ref().map(|score| score.value),
                "reason": node.score.as_ref().map(|score| score.reason.as_str()).filter(|reason| !reason.is_empty()),
            });
            if let Value::Object(fields) = &mut shown {
                fields.retain(|_, value| !value.is_null());
            }
            shown
        })
        .collect();
    json!({"task": tree.task.id, "answer": tree.task.answer, "chosen": tree.chosen, "cost": tree.cost, "nodes": nodes})
}

#[cfg(test)]
mod tests {
    use relign_core::{Node, Score, Task};

    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::new(Task { id: "t/1".to_owned(), ..Task::default() }, vec![1]);
        let said = |parent, text: &str| Node { text: text.to_owned(), ..Node::after(parent, Author::Policy) };
        let first = tree.push(Node { visits: 2, value: Some(0.25), ..said(0, "one\n\n") });
        tree.push(said(0, "two"));
        let last = tree.push(Node { score: Some(Score::correct("")), ..said(first, "three </script><b>") });
        tree.chosen = Some(last);
        tree
    }

    #[test]
    fn a_tree_is_drawn_with_what_is_known_of_each_node() {
        let expected = [
            "t/1  4 nodes",
            "prompt: ",
            "├─ one  [n 2, v 0.250]",
            "│  └─ three </script><b>  [correct, chosen]",
            "└─ two",
        ];
        assert_eq!(drawn(&tree()), expected);
    }

    /// Memory and time are the size of the tree's, whatever its shape: what is drawn of a node does not grow with its depth.
    #[test]
    fn a_chain_and_a_star_of_many_nodes_are_drawn_in_linear_size() {
        const NODES: usize = 200_000;
        for (shape, parent) in
            [("a chain", (|id| id - 1) as fn(usize) -> usize), ("a star", |_| 0), ("a comb", |id| (id - 1) & !1)]
        {
            let mut tree = Tree::new(Task { id: "t".to_owned(), ..Task::default() }, vec![1]);
            for id in 1..NODES {
                tree.push(Node { text: "step".to_owned(), ..Node::after(parent(id), Author::Policy) });
            }
            tree.chosen = Some(NODES - 1);
            let lines = drawn(&tree);
            assert_eq!(lines.len(), NODES + 1, "{shape}");
            let longest = lines.iter().map(String::len).max().unwrap();
            assert!(longest < 300, "{shape}: a line of {longest} bytes");
            let page = page(&[tree]).unwrap();
            assert!(page.len() < NODES * 100, "{shape}: a page of {} bytes", page.len());
        }
        let viewer = PAGE.matches("Math.max(...").count() + PAGE.matches("Math.min(...").count();
        assert_eq!(viewer, 0, "browsers refuse calls with as many arguments as a tree has nodes");
    }

    #[test]
    fn deep_nodes_tell_their_depth() {
        let mut tree = Tree::new(Task { id: "t".to_owned(), ..Task::default() }, vec![1]);
        for id in 1..=DEEPEST + 2 {
            tree.push(Node { text: format!("step {id}"), ..Node::after(id - 1, Author::Policy) });
        }
        let lines = drawn(&tree);
        assert!(lines[DEEPEST + 1].ends_with("└─ step 40"), "{}", lines[DEEPEST + 1]);
        assert!(lines[DEEPEST + 2].ends_with("… depth 41: step 41"), "{}", lines[DEEPEST + 2]);
        assert!(lines[DEEPEST + 3].ends_with("… depth 42: step 42"), "{}", lines[DEEPEST + 3]);
    }

    #[test]
    fn text_cannot_break_out_of_the_page() {
        let page = page(&[tree()]).unwrap();
        assert_eq!(page.matches("</script>").count(), PAGE.matches("</script>").count());
        let (start, end) = ("<script type=\"application/json\" id=\"trees\">", "</script>");
        let data = page.split_once(start).unwrap().1.split_once(end).unwrap().0;
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data[0]["nodes"][3]["text"], "three </script><b>");
        assert_eq!(data[0]["nodes"][1]["visits"], 2);
    }

    #[test]
    fn old_files_and_broken_ones() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trees.jsonl");
        let old = r#"{"task":{"id":"a","messages":[],"answer":""},"nodes":[
            {"parent":null,"author":"prompt","tokens":[1],"text":"q"},
            {"parent":0,"author":"policy","tokens":[2],"logprobs":[-0.5],"text":"r","finish":"stop"}]}"#;
        std::fs::write(&file, old.replace('\n', "") + "\n").unwrap();
        let (trees, all) = read(&file, None, 5).unwrap();
        assert_eq!((trees[0].nodes.len(), trees[0].nodes[1].visits, all), (2, 0, 1));
        for (text, said) in [
            ("{\"nodes\": 3}\n", "line 1: expected a tree"),
            (r#"{"task":{"id":"a","messages":[],"answer":""},"nodes":[]}"#, "expected at least the prompt's node"),
            (
                r#"{"task":{"id":"a","messages":[],"answer":""},"nodes":[{"parent":4,"author":"prompt","tokens":[],"text":""}]}"#,
                "node 0: expected a parent",
            ),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = read(&file, None, 5).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
