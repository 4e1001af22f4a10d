use std::path::{Path, PathBuf};

use relign_core::{Author, Message, Node, NodeId, Task};
use relign_model::{Kind, Tensor};
use serde_json::json;

use super::*;

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/tiny-llama")
}

/// The tiny Llama with a head of `labels`, as Hugging Face saves it.
fn with_head(folder: &Path, labels: i64) -> PathBuf {
    let checkpoint = Checkpoint::open(tiny()).unwrap();
    let weight = (Tensor::arange(labels * 32, (Kind::Float, relign_model::Device::Cpu)) * 0.7).sin().view([labels, 32]);
    let named = checkpoint.names().into_iter().filter(|name| !name.starts_with("lm_head"));
    let named = named.map(|name| (name.to_owned(), checkpoint.tensor(name).unwrap()));
    let named: Vec<(String, Tensor)> = named.chain([("score.weight".to_owned(), weight)]).collect();
    let path = folder.join(format!("labels-{labels}"));
    std::fs::create_dir(&path).unwrap();
    let tokenizer = checkpoint.tokenizer().unwrap();
    relign_model::save_folder(&path, checkpoint.config(), named, &tokenizer, Kind::Float).unwrap();
    path
}

/// Two steps and a third that begins with words of the search's.
fn tree() -> (Task, Tree, NodeId) {
    let task = Task { messages: vec![Message::user("What is 3 + 4?")], ..Task::default() };
    let mut tree = Tree::new(task.clone(), vec![1, 2]);
    let mut last = 0;
    for (author, text) in
        [(Author::Policy, "3 and 4.\n\nAdd them.\n\n"), (Author::Search, "So: "), (Author::Policy, "it is 7")]
    {
        last = tree.push(Node { text: text.to_owned(), ..Node::after(last, author) });
    }
    (task, tree, last)
}

fn scorer(name: &str, model: &Path, settings: Value) -> anyhow::Result<Box<dyn Scorer>> {
    let mut scorer = json!({"name": name, "model": model, "dtype": "f32"});
    scorer.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let settings = json!({"scorer": scorer}).as_object().unwrap().clone();
    Ok(of_strategy(&Section { name: "best_of_n".to_owned(), settings })?.unwrap())
}

fn value(scorer: &dyn Scorer, node: NodeId) -> Result<f64, String> {
    let (task, tree, _) = tree();
    scorer.values(&[Place { task: &task, tree: &tree, node }]).remove(0)
}

/// The logits of a head at some places, without the scorer.
fn logits(model: &Path, text: &str, places: impl Fn(&[u32]) -> Vec<usize>) -> Vec<Vec<f32>> {
    let checkpoint = Checkpoint::open(model).unwrap();
    let tokens = checkpoint.tokenizer().unwrap().encode_with_specials(text);
    let places = places(&tokens);
    let grader = Grader::with_labels(checkpoint.config(), &checkpoint, Kind::Float).unwrap();
    grader.read(&[Asked { tokens, places }]).remove(0).unwrap()
}

fn sigmoid(x: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(x)).exp())
}

const SAID: &str = "<|im_start|>user\nWhat is 3 + 4?<|im_end|>\n<|im_start|>assistant\n";

#[test]
fn an_outcome_is_read_at_the_end_of_the_conversation() {
    let folder = tempfile::tempdir().unwrap();
    let one = with_head(folder.path(), 1);
    let (_, _, last) = tree();
    let text = format!("{SAID}3 and 4.\n\nAdd them.\n\nSo: it is 7<|im_end|>\n");
    let logit = logits(&one, &text, |tokens| vec![tokens.len() - 1])[0][0];
    let close = |settings: Value, expected: f64| {
        let got = value(&*scorer("outcome", &one, settings).unwrap(), last).unwrap();
        assert!((got - expected).abs() < 1e-6, "{got}, expected {expected}");
    };
    close(json!({}), sigmoid(logit));
    close(json!({"raw": true}), f64::from(logit));
    let system =
        logits(&one, &format!("<|im_start|>system\nJudge.<|im_end|>\n{text}"), |tokens| vec![tokens.len() - 1]);
    close(json!({"system": "Judge."}), sigmoid(system[0][0]));
    let two = with_head(folder.path(), 2);
    let pair = logits(&two, &text, |tokens| vec![tokens.len() - 1]);
    let got = value(&*scorer("outcome", &two, json!({})).unwrap(), last).unwrap();
    assert!((got - sigmoid(pair[0][1] - pair[0][0])).abs() < 1e-6);
}

#[test]
fn a_process_is_read_after_every_step() {
    let folder = tempfile::tempdir().unwrap();
    let two = with_head(folder.path(), 2);
    let (_, _, last) = tree();
    // A separator that is a token, in the whole text. The tokenizer's own words are all that the tiny vocabulary has.
    let tag = "<|endoftext|>";
    let text = format!("{SAID}3 and 4.{tag}Add them.{tag}So: it is 7{tag}<|im_end|>\n");
    let at_tags = |tokens: &[u32]| (0..tokens.len()).filter(|&at| tokens[at] == 0).collect::<Vec<_>>();
    let values: Vec<f64> = logits(&two, &text, at_tags).iter().map(|l| sigmoid(l[1] - l[0])).collect();
    assert_eq!(values.len(), 3);
    for (aggregate, expected) in [
        ("last", values[2]),
        ("min", values.iter().copied().fold(1.0, f64::min)),
        ("product", values.iter().product()),
        ("mean", values.iter().sum::<f64>() / 3.0),
    ] {
        let own = scorer("process", &two, json!({"separator": tag, "aggregate": aggregate})).unwrap();
        let got = value(&*own, last).unwrap();
        assert!((got - expected).abs() < 1e-6, "{aggregate}: {got}, expected {expected}");
    }
    // A beginning has the steps that it has; the prompt has none.
    let own = scorer("process", &two, json!({"separator": tag})).unwrap();
    assert!((value(&*own, 1).unwrap() - values[1]).abs() < 1e-6);
    assert!(value(&*own, 0).unwrap_err().contains("expected a step to judge, got none"));
    // Who says the separator makes no steps of it.
    let (task, mut tree, _) = tree();
    let sly = tree.push(Node { text: format!("3{tag} and{tag} 4."), ..Node::after(0, Author::Policy) });
    let honest = tree.push(Node { text: "3 and 4.".to_owned(), ..Node::after(0, Author::Policy) });
    let place = |node| Place { task: &task, tree: &tree, node };
    let got = own.values(&[place(sly), place(honest)]);
    assert!(got[0].is_ok() && got[0] == got[1], "{got:?}");
    // Any other separator by itself, after the prompt as a model would go on from it.
    let checkpoint = Checkpoint::open(&two).unwrap();
    let tokenizer = checkpoint.tokenizer().unwrap();
    let mut tokens = tokenizer.encode_with_specials(SAID);
    for step in ["3 and 4.", "\n", "Add them.", "\n", "So: it is 7", "\n"] {
        tokens.extend(tokenizer.encode(step));
    }
    let grader = Grader::with_labels(checkpoint.config(), &checkpoint, Kind::Float).unwrap();
    let places = vec![tokens.len() - 1];
    let pair = grader.read(&[Asked { tokens, places }]).remove(0).unwrap().remove(0);
    let got = value(&*scorer("process", &two, json!({})).unwrap(), last).unwrap();
    assert!((got - sigmoid(pair[1] - pair[0])).abs() < 1e-6);
}

#[test]
fn a_model_without_a_head_is_read_by_its_words() {
    let (_, _, last) = tree();
    let own = scorer("process", &tiny(), json!({"separator": "\n", "aggregate": "last"})).unwrap();
    let checkpoint = Checkpoint::open(tiny()).unwrap();
    let tokenizer = checkpoint.tokenizer().unwrap();
    let mut tokens: Vec<u32> = tokenizer.bos().filter(|_| tokenizer.adds_bos()).into_iter().collect();
    for part in ["What is 3 + 4?", "3 and 4.", "\n", "Add them.", "\n", "So: it is 7", "\n"] {
        tokens.extend(tokenizer.encode(part));
    }
    let words = ["+", "-"].map(|word| tokenizer.encode(word)[0]);
    let grader = Grader::with_tokens(checkpoint.config(), &checkpoint, Kind::Float, &words).unwrap();
    let places = vec![tokens.len() - 1];
    let pair = grader.read(&[Asked { tokens, places }]).remove(0).unwrap().remove(0);
    assert!((value(&*own, last).unwrap() - sigmoid(pair[0] - pair[1])).abs() < 1e-6);
}

#[test]
fn what_a_scorer_lacks_is_said_before_work_starts() {
    let folder = tempfile::tempdir().unwrap();
    let three = with_head(folder.path(), 3);
    let two = with_head(folder.path(), 2);
    let none = folder.path().join("nothing-here");
    for (name, model, settings, said) in [
        ("outcome", tiny(), json!({}), "expected a head of labels (score.weight), as ForSequenceClassification has"),
        ("outcome", three.clone(), json!({}), "expected a head of 1 label or 2, got 3"),
        ("outcome", two, json!({"raw": true}), "raw: expected a head of 1 label"),
        ("process", three, json!({}), "expected a head of 1 label or 2, got 3"),
        ("process", tiny(), json!({"good": "fortunately"}), "good: expected a word that is one token"),
        ("process", tiny(), json!({"good": "-"}), "good and bad: expected two tokens"),
        ("process", none, json!({}), "nothing-here"),
        ("process", tiny(), json!({"seperator": "x"}), "strategy.scorer.seperator"),
    ] {
        let error = format!("{:#}", scorer(name, &model, settings).err().expect("nothing that can score"));
        assert!(error.contains(said), "{error}");
        assert!(error.contains("strategy.scorer"), "{error}");
    }
    let other = |settings: Value| {
        of_strategy(&Section { name: "mcts".to_owned(), settings: settings.as_object().unwrap().clone() })
    };
    assert!(other(json!({})).unwrap().is_none());
    assert!(other(json!({"scorer": {"name": "logprob"}})).unwrap().is_none());
}
