//! What is fuzzed: sound files, how they are damaged, and how they are read.

use std::collections::BTreeMap;
use std::path::Path;

use relign_core::Message;
use relign_model::{Checkpoint, CheckpointError, Kind, Policy, Template, Tokenizer, adapter_base};
use serde_json::Value;

use crate::mutate::{self, Dice};

/// Files by name.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

/// One kind of file.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Sound files, each set a model or a part of one.
    pub(crate) originals: fn() -> Vec<Files>,
    /// One of the sets, damaged.
    pub(crate) damage: fn(&[Files], &mut Dice) -> Files,
    /// Reads the files of a folder; whether they were read to the end.
    pub(crate) read: fn(&Path) -> bool,
}

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "gguf", originals: ggufs, damage: damage_gguf, read: read_gguf },
    Target { name: "safetensors", originals: folders, damage: damage_weights, read: read_folder },
    Target { name: "tokenizer", originals: tokenizers, damage: damage_tokenizer, read: read_tokenizer },
    Target { name: "template", originals: templates, damage: damage_template, read: read_template },
];

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn folder(name: &str) -> Files {
    let entries = fixture(name).read_dir().expect("the fixture");
    let mut files: Files = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .map(|path| {
            (path.file_name().expect("a name").to_string_lossy().into_owned(), std::fs::read(&path).expect("reads"))
        })
        .collect();
    files.sort();
    files
}

fn ggufs() -> Vec<Files> {
    let mut all =
        vec![vec![("model.gguf".to_owned(), std::fs::read(fixture("tiny-llama.gguf")).expect("the fixture"))]];
    // Files of our own writing: other types of blocks, another family.
    for (model, kind) in [("tiny-llama", relign_model::GgmlType::Q8_0), ("tiny-qwen2", relign_model::GgmlType::Q4_0)] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("model.gguf");
        let checkpoint = Checkpoint::open(fixture(model)).expect("opens");
        relign_model::save_gguf(&path, &checkpoint, kind).expect("writes");
        all.push(vec![("model.gguf".to_owned(), std::fs::read(&path).expect("reads"))]);
    }
    all
}

fn damage_gguf(originals: &[Files], dice: &mut Dice) -> Files {
    let mut files = originals[dice.below(originals.len())].clone();
    let head = files[0].1.len().min(6000);
    mutate::bytes(&mut files[0].1, head, dice);
    files
}

const TEXT: &str = "Aa 1 <|im_start|>user\nthe\u{301} \u{1f642}\u{0} thethe'll  \r\n 12345 \u{4f60}\u{597d}</s>";

/// Reads everything there is: all tensors, the tokenizer, the model.
fn read_all(checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
    for name in checkpoint.names() {
        drop(checkpoint.tensor(name)?);
    }
    drop(Policy::load(checkpoint.config(), checkpoint, Kind::Float));
    use_tokenizer(&checkpoint.tokenizer()?);
    Ok(())
}

fn use_tokenizer(tokenizer: &Tokenizer) {
    let ids = tokenizer.encode(TEXT);
    let mut all = tokenizer.encode_with_specials(TEXT);
    all.extend(ids);
    all.extend([0, 1, 2, 127, 1 << 20, u32::MAX]);
    drop(tokenizer.decode(&all));
    let mut stream = tokenizer.stream();
    all.iter().for_each(|&id| drop(stream.push(id)));
    drop(stream.finish());
    drop(tokenizer.render_text(&[Message::user(TEXT)]));
}

fn read_gguf(dir: &Path) -> bool {
    Checkpoint::open(dir.join("model.gguf")).and_then(|checkpoint| read_all(&checkpoint)).is_ok()
}

fn folders() -> Vec<Files> {
    vec![folder("tiny-llama"), folder("tiny-qwen2"), folder("tiny-lora")]
}

fn damage_weights(originals: &[Files], dice: &mut Dice) -> Files {
    let mut files = originals[dice.below(originals.len())].clone();
    for _ in 0..=dice.below(2) {
        let at = dice.below(files.len());
        let (name, bytes) = &mut files[at];
        if name.ends_with(".safetensors") {
            header(bytes, dice);
        } else if name.ends_with("index.json") || name.ends_with("config.json") {
            json(bytes, dice);
        }
    }
    files
}

/// Changes the JSON header of a safetensors file, or its bytes.
fn header(bytes: &mut Vec<u8>, dice: &mut Dice) {
    // The file may have been damaged before.
    let len = bytes.first_chunk().map_or(0, |len| usize::try_from(u64::from_le_bytes(*len)).unwrap_or(0));
    let len = len.min(bytes.len().saturating_sub(8));
    if dice.once_in(3) || bytes.len() < 8 {
        return mutate::bytes(bytes, len + 8, dice);
    }
    let Ok(mut tree) = serde_json::from_slice::<Value>(&bytes[8..8 + len]) else { return };
    for _ in 0..=dice.below(3) {
        mutate::json_tree(&mut tree, dice);
    }
    let text = tree.to_string();
    let mut out = (text.len() as u64).to_le_bytes().to_vec();
    out.extend(text.as_bytes());
    out.extend(&bytes[8 + len..]);
    *bytes = out;
}

fn json(bytes: &mut Vec<u8>, dice: &mut Dice) {
    if dice.once_in(10) {
        let len = bytes.len();
        return mutate::bytes(bytes, len, dice);
    }
    let Ok(mut tree) = serde_json::from_slice::<Value>(bytes) else { return };
    for _ in 0..=dice.below(3) {
        mutate::json_tree(&mut tree, dice);
    }
    *bytes = tree.to_string().into_bytes();
}

fn read_folder(dir: &Path) -> bool {
    // Files of the set before that this one lacks stay, as in a folder that someone edited.
    let adapter = dir.join("adapter_config.json");
    let opened = Checkpoint::open(dir).and_then(|checkpoint| {
        if adapter.is_file() {
            drop(adapter_base(dir)?);
            return checkpoint.with_adapter(dir);
        }
        Ok(checkpoint)
    });
    opened.and_then(|checkpoint| read_all(&checkpoint)).is_ok()
}

fn tokenizers() -> Vec<Files> {
    let only = |files: Files| -> Files {
        files.into_iter().filter(|(name, _)| name.contains("token") || name.contains("jinja")).collect()
    };
    let mut sets = vec![only(folder("tiny-llama")), only(folder("tiny-qwen2"))];
    // The other kinds that the tokenizers library reads.
    for text in [
        r#"{"version":"1.0","added_tokens":[{"id":0,"content":"<unk>","special":true,"single_word":false,"lstrip":false,"rstrip":false,"normalized":false}],"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]},"pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":false},"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<unk>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{"<unk>":{"id":"<unk>","ids":[0],"tokens":["<unk>"]}}},"decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]},"model":{"type":"BPE","dropout":null,"unk_token":"<unk>","continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":true,"byte_fallback":true,"vocab":{"<unk>":0,"<0x0A>":1,"▁":2,"t":3,"h":4,"e":5,"▁t":6,"he":7,"▁the":8},"merges":["▁ t","h e","▁t he"]}}"#,
        r#"{"version":"1.0","added_tokens":[],"normalizer":{"type":"NFKC"},"pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true},"post_processor":null,"decoder":{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true},"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0.0],["▁",-1.0],["t",-2.0],["he",-2.5],["▁the",-3.0]],"byte_fallback":false}}"#,
        r###"{"version":"1.0","added_tokens":[],"normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true},"pre_tokenizer":{"type":"BertPreTokenizer"},"post_processor":null,"decoder":{"type":"WordPiece","prefix":"##","cleanup":true},"model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100,"vocab":{"[UNK]":0,"the":1,"##the":2,"a":3}}}"###,
        r#"{"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"Split","pattern":{"Regex":"\\s+(?!\\S)|\\s+|[^\\s]+"},"behavior":"Isolated","invert":false},"post_processor":null,"decoder":null,"model":{"type":"WordLevel","vocab":{"<unk>":0,"the":1},"unk_token":"<unk>"}}"#,
    ] {
        sets.push(vec![("tokenizer.json".to_owned(), text.as_bytes().to_vec())]);
    }
    sets.push(ggufs().remove(0));
    sets
}

fn damage_tokenizer(originals: &[Files], dice: &mut Dice) -> Files {
    let mut files = originals[dice.below(originals.len())].clone();
    if files[0].0.ends_with(".gguf") {
        // The tokenizer's metadata begin after the model's own.
        let tokens = files[0].1.windows(9).position(|window| window == b"tokenizer").unwrap_or(0);
        let mut rest = files[0].1.split_off(tokens);
        mutate::bytes(&mut rest, 4500, dice);
        files[0].1.extend(rest);
        files.push(("tokenizer.json".to_owned(), Vec::new()));
        return files;
    }
    files.push(("model.gguf".to_owned(), Vec::new()));
    for (name, bytes) in &mut files {
        if name == "tokenizer.json" && dice.once_in(6) {
            // A part of another kind of tokenizer.
            let other = originals[dice.below(originals.len())].iter().find(|(name, _)| name == "tokenizer.json");
            let other = other.and_then(|(_, bytes)| serde_json::from_slice::<Value>(bytes).ok());
            if let (Some(other), Ok(mut tree)) = (other, serde_json::from_slice::<Value>(bytes)) {
                mutate::graft(&mut tree, &other, dice);
                *bytes = tree.to_string().into_bytes();
            }
        }
        if name.ends_with(".json") && (name == "tokenizer.json" || dice.once_in(3)) {
            json(bytes, dice);
        }
    }
    files
}

fn read_tokenizer(dir: &Path) -> bool {
    let gguf = dir.join("model.gguf");
    if std::fs::metadata(&gguf).is_ok_and(|m| m.len() > 0) {
        let tokenizer = relign_model::Gguf::open(&gguf).and_then(|gguf| Tokenizer::from_gguf(&gguf));
        return tokenizer.map(|tokenizer| use_tokenizer(&tokenizer)).is_ok();
    }
    let tokenizer = Tokenizer::from_folder(dir, &serde_json::json!({"eos_token_id": [2, 4294967296_u64]}), None);
    tokenizer.map(|tokenizer| use_tokenizer(&tokenizer)).is_ok()
}

fn templates() -> Vec<Files> {
    let text = std::fs::read_to_string(fixture("templates.json")).expect("the fixture");
    let json: Value = serde_json::from_str(&text).expect("JSON");
    let mut found = Vec::new();
    sources(&json, &mut found);
    found.push("{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}".to_owned());
    found.into_iter().map(|source| vec![("template".to_owned(), source.into_bytes())]).collect()
}

/// All strings that look like templates.
fn sources(json: &Value, out: &mut Vec<String>) {
    match json {
        Value::String(text) if text.contains("{%") => out.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| sources(item, out)),
        Value::Object(map) => map.values().for_each(|item| sources(item, out)),
        _ => {}
    }
}

fn damage_template(originals: &[Files], dice: &mut Dice) -> Files {
    let mut files = originals[dice.below(originals.len())].clone();
    let mut source = String::from_utf8(std::mem::take(&mut files[0].1)).expect("UTF-8");
    if dice.once_in(4) {
        source.clear();
    }
    mutate::text(&mut source, dice);
    files[0].1 = source.into_bytes();
    files
}

fn read_template(dir: &Path) -> bool {
    let source = std::fs::read_to_string(dir.join("template")).expect("written as UTF-8");
    let specials =
        BTreeMap::from([("bos_token".to_owned(), "<s>".to_owned()), ("eos_token".to_owned(), "</s>".to_owned())]);
    let Ok(template) = Template::new(&source, specials) else { return false };
    let messages = [
        Message::system("Be short."),
        Message::user(TEXT),
        Message::assistant("<think>a</think>b"),
        Message::user("x"),
    ];
    template.render(&messages, true).is_ok() && template.render(&messages[..1], false).is_ok()
}
