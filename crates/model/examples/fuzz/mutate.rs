//! Changes to bytes, to JSON and to text that keep enough structure to get past the first check.

use serde_json::{Map, Value, json};

/// Numbers from a seed (SplitMix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is at least 1.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// True once in `n` times.
    pub(crate) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// A number at which sizes overflow or counts run out.
    fn edge(&mut self) -> u64 {
        let near = self.below(5) as u64;
        match self.below(7) {
            0 => near,
            1 => u64::MAX - near,
            2 => (1 << 63) - near,
            3 => (1 << 32) - near,
            4 => 1 << self.below(64),
            5 => self.next() % 4096,
            _ => self.next(),
        }
    }
}

/// Changes bytes: single ones, whole numbers, runs cut out, doubled or moved, the end cut off. `head`
/// is how far the structure reaches; most changes fall there.
pub(crate) fn bytes(bytes: &mut Vec<u8>, head: usize, dice: &mut Dice) {
    for _ in 0..=dice.below(6) {
        if bytes.len() < 16 {
            return;
        }
        let reach = if dice.once_in(8) { bytes.len() } else { head.clamp(9, bytes.len()) };
        let at = dice.below(reach - 8);
        match dice.below(9) {
            0 => bytes[at] = dice.next() as u8,
            1 => bytes[at] ^= 1 << dice.below(8),
            2 | 3 => bytes[at..at + 8].copy_from_slice(&dice.edge().to_le_bytes()),
            4 | 5 => bytes[at..at + 4].copy_from_slice(&(dice.edge() as u32).to_le_bytes()),
            6 => {
                let end = (at + 1 + dice.below(64)).min(bytes.len());
                bytes.drain(at..end);
            }
            7 => {
                let run = bytes[at..(at + 1 + dice.below(64)).min(bytes.len())].to_vec();
                let to = dice.below(reach.min(bytes.len()));
                bytes.splice(to..to, run);
            }
            _ if dice.once_in(6) => bytes.truncate(at),
            _ => bytes[at] = b'\xff',
        }
    }
}

/// A value of any kind.
fn value(dice: &mut Dice) -> Value {
    match dice.below(14) {
        0 => Value::Null,
        1 => json!(dice.once_in(2)),
        2 => json!(dice.edge()),
        3 => json!((dice.edge() as i64).wrapping_neg()),
        4 => json!(f64::from_bits(dice.edge())),
        5 => json!(""),
        6 => json!("\u{0}\u{feff}\u{1f642}\u{301}"),
        7 => json!("x".repeat(1 + dice.below(300))),
        8 => json!([]),
        9 => json!({}),
        10 => {
            let mut deep = json!(1);
            for _ in 0..dice.below(140) {
                deep = if dice.once_in(2) { json!([deep]) } else { json!({ "type": deep }) };
            }
            deep
        }
        11 => json!(
            ["(a+)+$", "[^\\s\\p{L}", "(?=x)*", "\\p{N}{1,3}{1000}", "(?i:'s)|\\s+(?!\\S)|", "a{1000}{1000}"]
                [dice.below(6)]
        ),
        12 => json!(dice.below(300)),
        _ => {
            let kinds = [
                "BPE",
                "Unigram",
                "WordPiece",
                "WordLevel",
                "ByteLevel",
                "Split",
                "Sequence",
                "Metaspace",
                "Digits",
                "NFC",
                "Precompiled",
                "Replace",
                "Prepend",
                "Strip",
                "BertNormalizer",
                "TemplateProcessing",
                "CTC",
                "Fuse",
                "ByteFallback",
                "Punctuation",
                "UnicodeScripts",
                "Whitespace",
                "Isolated",
                "Lowercase",
                "RobertaProcessing",
            ];
            json!(dice.pick(&kinds))
        }
    }
}

/// Changes one place in a JSON tree.
pub(crate) fn json_tree(tree: &mut Value, dice: &mut Dice) {
    // Down to a random depth, then change what is there.
    let children = match tree {
        Value::Array(items) => items.len(),
        Value::Object(map) => map.len(),
        _ => 0,
    };
    if children > 0 && !dice.once_in(5) {
        // Long lists (vocabularies) must not draw all the changes.
        let at = if dice.once_in(3) { dice.below(children.min(4)) } else { dice.below(children) };
        let child = match tree {
            Value::Array(items) => items.get_mut(at),
            Value::Object(map) => map.values_mut().nth(at),
            _ => None,
        };
        if let Some(child) = child {
            return json_tree(child, dice);
        }
    }
    match tree {
        Value::Array(items) if !items.is_empty() => match dice.below(5) {
            0 => drop(items.remove(dice.below(items.len()))),
            1 => items.push(items[dice.below(items.len())].clone()),
            2 => items.truncate(dice.below(items.len())),
            3 => items.push(value(dice)),
            _ => *tree = value(dice),
        },
        Value::Object(map) if !map.is_empty() => match dice.below(5) {
            0 => {
                let key = map.keys().nth(dice.below(map.len())).cloned().unwrap_or_default();
                map.remove(&key);
            }
            1 => {
                let key = map.keys().nth(dice.below(map.len())).cloned().unwrap_or_default();
                map.insert(key, value(dice));
            }
            2 => drop(map.insert(value(dice).to_string(), value(dice))),
            3 => {
                let all: Vec<Value> = map.values().cloned().collect();
                let from = all[dice.below(all.len())].clone();
                let key = map.keys().nth(dice.below(map.len())).cloned().unwrap_or_default();
                map.insert(key, from);
            }
            _ => *tree = value(dice),
        },
        Value::Number(number) if dice.once_in(2) => {
            *tree = json!(number.as_u64().unwrap_or(0).wrapping_add(dice.edge()));
        }
        _ => *tree = value(dice),
    }
}

/// Merges keys of one object into another, as a file of another kind would have them.
pub(crate) fn graft(tree: &mut Value, other: &Value, dice: &mut Dice) {
    if let (Value::Object(map), Value::Object(from)) = (tree, other) {
        let keys: Vec<&String> = from.keys().collect();
        if !keys.is_empty() {
            let key = keys[dice.below(keys.len())];
            map.insert(key.clone(), from.get(key).cloned().unwrap_or_else(|| Value::Object(Map::new())));
        }
    }
}

/// Pieces of Jinja, whole and broken.
const PIECES: &[&str] = &[
    "{{ ",
    " }}",
    "{% ",
    " %}",
    "{%- ",
    " -%}",
    "{# ",
    " #}",
    "{% for m in messages %}",
    "{% endfor %}",
    "{% if ",
    "{% elif x %}",
    "{% else %}",
    "{% endif %}",
    "{% set x = ",
    "{% set ns = namespace(x=[]) %}",
    "{% set ns.x = ns.x + [1] %}",
    "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "{% macro g(x=1) %}",
    "{% endmacro %}",
    "{% call f() %}",
    "{% endcall %}",
    "{% generation %}",
    "{% endgeneration %}",
    "{% break %}",
    "{% continue %}",
    "{% filter upper %}",
    "{% endfilter %}",
    "{% block a %}",
    "{% endblock %}",
    "{% include 'chat_template' %}",
    "{% extends 'chat_template' %}",
    "{% import 'x' as y %}",
    "{% do x %}",
    "{% raw %}",
    "{% endraw %}",
    "{% autoescape true %}",
    "{% with a = 1 %}",
    "{% endwith %}",
    "loop.index0",
    "loop(messages)",
    "loop.previtem",
    "loop.cycle(1,2)",
    "messages",
    "messages[0].content",
    "messages[::-1]",
    "messages[-9999999999:]",
    "[::0]",
    "range(100000)",
    "range(99999999999)",
    "range(5)",
    "'a' * 1000000000",
    "'ab' ~ 1",
    " + ",
    " - ",
    " * ",
    " / ",
    " // ",
    " % ",
    " ** ",
    "9223372036854775807",
    "-9223372036854775808",
    "170141183460469231731687303715884105727",
    "1e308",
    "0",
    " | tojson",
    " | tojson(indent=1000000000)",
    " | indent(1000000000)",
    " | trim",
    " | length",
    " | list",
    " | join(',')",
    " | replace('a','bb')",
    " | batch(0)",
    " | slice(0)",
    " | slice(1000000000)",
    " | batch(1000000000, 'x')",
    " | round(400)",
    " | int",
    " | float",
    " | sort",
    " | unique",
    " | items",
    " | map(attribute='x')",
    " | selectattr('role', 'equalto', 'user')",
    " | groupby('x')",
    " | default(1)",
    " | tojson | tojson",
    " | urlencode",
    " | format('%99999999999d')",
    " | center(99999999)",
    " | title",
    " | pprint",
    ".strip()",
    ".split('')",
    ".split(',', 5)",
    ".replace('', 'xx')",
    ".startswith('x')",
    ".ljust(99999999999)",
    ".zfill(9999999999)",
    ".join(['a'])",
    ".items()",
    ".get('x')",
    ".format(1, 2)",
    ".count('')",
    ".find('')",
    ".splitlines()",
    "raise_exception('no')",
    "strftime_now('%Y-%m-%d')",
    "strftime_now('%')",
    "namespace()",
    "dict(a=1)",
    "cycler(1)",
    "joiner(',')",
    "debug()",
    "lipsum()",
    "none",
    "true",
    "not ",
    " is defined",
    " is mapping",
    " in ",
    " and ",
    " if x else y",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\"",
    "'",
    "\\",
    "\n",
    "\u{0}",
    "\u{1f642}",
    "((((((((((((((((((((",
    "[[[[[[[[[[[[[[[[[[[[",
    "{{{{{{{{{{",
    "not not not not not ",
    "- - - - - -",
    "{% for a in range(9000) %}{% for b in range(9000) %}x{% endfor %}{% endfor %}",
    "{% for i in range(30) %}{% set ns.y = ns.y ~ ns.y %}{% endfor %}",
];

/// Changes text: pieces put in, parts cut out, doubled, repeated many times.
pub(crate) fn text(text: &mut String, dice: &mut Dice) {
    let place = |text: &str, at: usize| (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    for _ in 0..=dice.below(6) {
        let at = place(text, dice.below(text.len() + 1));
        match dice.below(8) {
            0..=3 => text.insert_str(at, dice.pick(PIECES)),
            4 => {
                let end = place(text, (at + dice.below(40)).min(text.len())).max(at);
                text.replace_range(at..end, "");
            }
            5 => {
                let end = place(text, (at + dice.below(60)).min(text.len())).max(at);
                let run = text[at..end].to_owned();
                let to = place(text, dice.below(text.len() + 1));
                text.insert_str(to, &run);
            }
            6 if dice.once_in(4) => text.insert_str(at, &dice.pick(PIECES).repeat(1 + dice.below(400))),
            _ => {
                let end = place(text, (at + dice.below(20)).min(text.len())).max(at);
                text.replace_range(at..end, dice.pick(PIECES));
            }
        }
    }
}
