//! The splitting rules that GGUF files name in `tokenizer.ggml.pre`.
//!
//! A byte-level BPE merges within words only; which cuts make words is part of the trained model.
//! GGUF stores just a name for the cuts. The expressions are those that llama.cpp runs under these
//! names, in order, each on the pieces that the one before left.

use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

/// One way to cut text into words.
pub(super) struct Rule {
    /// The names in `tokenizer.ggml.pre`.
    names: &'static [&'static str],
    cuts: &'static [Cut],
    /// A word that is a token as a whole is taken as that token, whatever the merges say.
    pub(super) ignore_merges: bool,
    /// Whether text starts with the beginning-of-sequence token where the file does not say.
    pub(super) adds_bos: bool,
    /// The models' own tokenizers compose text to NFC first, which llama.cpp does not.
    pub(super) nfc: bool,
}

enum Cut {
    /// Isolate every match.
    At(&'static str),
    /// Isolate every digit.
    Digits,
    /// The expression of GPT-2.
    Gpt2,
}

const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const RULES: &[Rule] = &[
    Rule {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell"],
        cuts: &[Cut::Digits, Cut::Gpt2],
        ignore_merges: false,
        adds_bos: false,
        nfc: false,
    },
    Rule {
        names: &["qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez"],
        cuts: &[Cut::At(QWEN2)],
        ignore_merges: false,
        adds_bos: false,
        nfc: true,
    },
    Rule {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
        cuts: &[Cut::At(LLAMA3)],
        ignore_merges: true,
        adds_bos: true,
        nfc: false,
    },
    Rule { names: &["dbrx", "smaug-bpe"], cuts: &[Cut::At(LLAMA3)], ignore_merges: false, adds_bos: false, nfc: false },
    Rule {
        names: &["gpt-2", "phi-2", "mpt", "olmo", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "gigachat"],
        cuts: &[Cut::Gpt2],
        ignore_merges: false,
        adds_bos: false,
        nfc: false,
    },
    Rule {
        names: &["default"],
        cuts: &[Cut::At(r"[\p{P}\$\+<=>\^~\|]+"), Cut::Gpt2, Cut::At(r"\p{N}+"), Cut::At("[0-9][0-9][0-9]")],
        ignore_merges: false,
        adds_bos: false,
        nfc: false,
    },
];

/// The rule of a name.
pub(super) fn find(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.names.contains(&name))
}

/// Text that every two rules cut differently.
const PROBE: &str = "Hello world  123 1234567890 it's IT'S don't we'LL\r\n\n\t  x_y__z ...!? a+b=c $5.00 ^~|<> \
    na\u{ef}ve \u{dc}bung \u{4f60}\u{597d}\u{ff0c}\u{4e16} \u{967}\u{968} \u{2167} \u{bd} \u{1f642}\u{1f44d}\u{1f3fd} \
    e\u{301} end  \n \n\u{3000}tab\tx\u{200b}y";

/// The name of the rule that cuts text as `words` does.
pub(super) fn matching(words: Option<&PreTokenizerWrapper>, ignore_merges: bool) -> Option<&'static str> {
    let cut = |words: &PreTokenizerWrapper| {
        let mut pieces = PreTokenizedString::from(PROBE);
        words.pre_tokenize(&mut pieces).ok()?;
        let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        Some(splits.into_iter().map(|(text, place, _)| (text.to_owned(), place)).collect::<Vec<_>>())
    };
    let wanted = cut(words?)?;
    let same = |rule: &&Rule| {
        rule.ignore_merges == ignore_merges
            && rule.pre_tokenizer().is_ok_and(|words| cut(&words).as_ref() == Some(&wanted))
    };
    RULES.iter().find(same).and_then(|rule| rule.names.first().copied())
}

/// All names that are known.
pub(super) fn names() -> Vec<&'static str> {
    RULES.iter().flat_map(|rule| rule.names.iter().copied()).collect()
}

impl Rule {
    /// The rule as a pre-tokenizer that ends in the byte alphabet.
    pub(super) fn pre_tokenizer(&self) -> tokenizers::Result<PreTokenizerWrapper> {
        let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
        for (index, cut) in self.cuts.iter().enumerate() {
            let last = index + 1 == self.cuts.len();
            steps.push(match cut {
                Cut::Digits => Digits::new(true).into(),
                // Serialised files carry the expression inside the byte-level step where it is last.
                Cut::Gpt2 if last => continue,
                Cut::Gpt2 => split(GPT2)?.into(),
                Cut::At(pattern) => split(pattern)?.into(),
            });
        }
        let gpt2 = matches!(self.cuts.last(), Some(Cut::Gpt2));
        steps.push(ByteLevel::new(false, false, gpt2).into());
        Ok(if steps.len() == 1 { steps.remove(0) } else { Sequence::new(steps).into() })
    }
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

fn split(pattern: &str) -> tokenizers::Result<Split> {
    Split::new(SplitPattern::Regex(pattern.to_owned()), SplitDelimiterBehavior::Isolated, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(rule: &str, text: &str) -> Vec<String> {
        let mut pieces = PreTokenizedString::from(text);
        find(rule).expect("known rule").pre_tokenizer().expect("valid").pre_tokenize(&mut pieces).expect("splits");
        let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().map(|(_, (from, to), _)| text[from..to].to_owned()).collect()
    }

    #[test]
    fn rules_cut_digits_and_contractions_as_their_models_were_trained() {
        assert_eq!(words("smollm", "It's 1234  x"), ["It", "'s", " ", "1", "2", "3", "4", " ", " x"]);
        assert_eq!(words("qwen2", "It'S 1234  x"), ["It", "'S", " ", "1", "2", "3", "4", " ", " x"]);
        assert_eq!(words("llama-bpe", "It's 1234  x"), ["It", "'s", " ", "123", "4", " ", " x"]);
        assert_eq!(words("gpt-2", "It's 1234  x\n\n y"), ["It", "'s", " 1234", " ", " x", "\n\n", " y"]);
        assert_eq!(words("default", "a+1234"), ["a", "+", "123", "4"]);
    }

    #[test]
    fn a_rule_is_known_by_what_it_does() {
        for rule in RULES {
            let words = rule.pre_tokenizer().expect("valid");
            assert_eq!(matching(Some(&words), rule.ignore_merges), Some(rule.names[0]));
        }
        assert_eq!(matching(Some(&ByteLevel::new(true, true, true).into()), false), None);
        assert_eq!(matching(None, false), None);
    }

    #[test]
    fn names_are_unique() {
        let mut all = names();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
