//! Whether a benchmark's items stand in a training set.
//!
//! Three kinds of overlap are looked for, in one pass over the training texts:
//!
//! - *exact*: the item's words are a training text's words, or stand in one without a gap;
//! - *near*: at least 70 % of all runs of three words that either holds are in both (Jaccard), found by
//!   MinHash (Broder 1997) in bands and then computed exactly; or 70 % of the item's runs of `n` words are in
//!   the training text;
//! - *shared*: a run of `n` words (8 by default) stands in both.
//!
//! A run that many items hold is looked for in the first 256 of them, and so are near duplicates in a band of MinHash:
//! time and memory stay in proportion to the texts.
//!
//! Words are runs of letters and digits in lower case, so that spaces, punctuation and most of LaTeX's
//! marks make no difference.

mod minhash;
mod texts;
mod words;

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

pub use texts::{Text, TextError, questions, training};

use minhash::{Bands, shingles};
use words::{Plain, grams, hashes};

/// What counts as overlap.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Words in a run that items and training texts must not share.
    pub run: usize,
    /// The share from which two texts are near duplicates.
    pub near: f64,
    /// Items of fewer words can be in any text by chance and are not looked for.
    pub least: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { run: 8, near: 0.7, least: 4 }
    }
}

/// How an item and a training text overlap, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The same words.
    Exact,
    /// Nearly the same words.
    Near,
    /// A run of words.
    Shared,
}

/// An item that stands in the training set, and the training text that is nearest to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overlap {
    /// The benchmark or file.
    pub benchmark: String,
    /// The item's id.
    pub item: String,
    /// The training text's id.
    pub train: String,
    /// How they overlap.
    pub kind: Kind,
    /// The share of the item's runs of `n` words that stand in the training text; 0 of an item without any.
    pub share: f64,
    /// The share of runs of three words, of those that either holds, that both hold.
    pub jaccard: f64,
    /// Training texts that overlap with the item, this one included.
    pub texts: u64,
    /// The item.
    pub item_text: String,
    /// The training text, or its beginning.
    pub train_text: String,
}

/// What was found of one benchmark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Items looked for.
    pub items: u64,
    /// Items too short to look for.
    pub short: u64,
    /// Items that stand in the training set with the same words.
    pub exact: u64,
    /// Items that nearly do.
    pub near: u64,
    /// Items that share a run of words with it, and no more.
    pub shared: u64,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Training texts read.
    pub texts: u64,
    /// Words in them.
    pub words: u64,
    /// By benchmark.
    pub benchmarks: BTreeMap<String, Counts>,
    /// Every item that overlaps, with its nearest training text: by benchmark, the worst kind first.
    pub overlaps: Vec<Overlap>,
}

/// An item that is looked for.
struct Sought {
    benchmark: usize,
    text: Text,
    words: Vec<u64>,
    grams: HashSet<u64, Plain>,
    shingles: HashSet<u64, Plain>,
}

/// The items that training texts are held against.
pub struct Index {
    options: Options,
    names: Vec<String>,
    short: Vec<u64>,
    sought: Vec<Sought>,
    /// The items that hold a run of words.
    runs: HashMap<u64, Vec<u32>, Plain>,
    /// The items of so many words that hash to this, by both.
    whole: HashMap<(usize, u64), Vec<u32>>,
    bands: Bands,
    /// The most shingles that a text near to an item can have.
    most: usize,
    found: HashMap<u32, Overlap>,
    read: (u64, u64),
}

impl Index {
    /// An index of the items of several benchmarks.
    #[must_use]
    pub fn new(benchmarks: Vec<(String, Vec<Text>)>, options: Options) -> Self {
        let mut index = Self {
            options,
            names: Vec::new(),
            short: Vec::new(),
            sought: Vec::new(),
            runs: HashMap::default(),
            whole: HashMap::new(),
            bands: Bands::default(),
            most: 0,
            found: HashMap::new(),
            read: (0, 0),
        };
        for (name, items) in benchmarks {
            index.names.push(name);
            index.short.push(0);
            for item in items {
                index.seek(item);
            }
        }
        index
    }

    fn seek(&mut self, text: Text) {
        let benchmark = self.names.len() - 1;
        let words = hashes(&text.text);
        if words.len() < self.options.least {
            self.short[benchmark] += 1;
            return;
        }
        let place = self.sought.len() as u32;
        let runs: HashSet<u64, Plain> = grams(&words, self.options.run).collect();
        let shingles: HashSet<u64, Plain> = shingles(&words).collect();
        runs.iter().for_each(|&run| hold(self.runs.entry(run).or_default(), place));
        // Short items are sought as they are: as the only run of their own length.
        let whole = grams(&words, words.len()).next().unwrap_or_default();
        hold(self.whole.entry((words.len(), whole)).or_default(), place);
        if words.len() >= self.options.run {
            self.bands.add(place, shingles.iter().copied());
            self.most = self.most.max((shingles.len() as f64 / self.options.near) as usize);
        }
        self.sought.push(Sought { benchmark, text, words, grams: runs, shingles });
    }

    /// Looks for the items in a training text.
    pub fn scan(&mut self, text: &Text) {
        let words = hashes(&text.text);
        self.read.0 += 1;
        self.read.1 += words.len() as u64;
        let mut shared: HashMap<u32, HashSet<u64, Plain>> = HashMap::new();
        for run in grams(&words, self.options.run) {
            for &place in self.runs.get(&run).into_iter().flatten() {
                shared.entry(place).or_default().insert(run);
            }
        }
        let whole = grams(&words, words.len()).next().unwrap_or_default();
        let mut candidates: HashSet<u32> = shared.keys().copied().collect();
        candidates.extend(self.whole.get(&(words.len(), whole)).into_iter().flatten());
        // A text with many more runs of words than the longest item cannot be near to any.
        let short = (self.options.run..2 * self.most + 3).contains(&words.len());
        let own: HashSet<u64, Plain> = if short { shingles(&words).collect() } else { HashSet::default() };
        let near = short && own.len() <= self.most;
        if near {
            candidates.extend(self.bands.candidates(own.iter().copied()));
        }
        for place in candidates {
            let sought = &self.sought[place as usize];
            let common = own.iter().filter(|run| sought.shingles.contains(run)).count();
            let jaccard =
                if near { common as f64 / (own.len() + sought.shingles.len() - common).max(1) as f64 } else { 0.0 };
            let hits = shared.get(&place).map_or(0, HashSet::len);
            let share = hits as f64 / sought.grams.len().max(1) as f64;
            let kind = if words == sought.words || (share == 1.0 && holds(&words, &sought.words)) {
                Kind::Exact
            } else if jaccard >= self.options.near || share >= self.options.near {
                Kind::Near
            } else if hits > 0 {
                Kind::Shared
            } else {
                continue;
            };
            let texts = self.found.get(&place).map_or(0, |found| found.texts) + 1;
            let worse = self
                .found
                .get(&place)
                .is_none_or(|old| (kind, -share, -jaccard) < (old.kind, -old.share, -old.jaccard));
            if worse {
                let overlap = Overlap {
                    benchmark: self.names[sought.benchmark].clone(),
                    item: sought.text.id.clone(),
                    train: text.id.clone(),
                    kind,
                    share,
                    jaccard,
                    texts,
                    item_text: sought.text.text.clone(),
                    train_text: crate::words::clip(&text.text, 2000),
                };
                self.found.insert(place, overlap);
            } else if let Some(found) = self.found.get_mut(&place) {
                found.texts = texts;
            }
        }
    }

    /// What was found in all texts that were scanned.
    #[must_use]
    pub fn report(self) -> Report {
        let mut benchmarks: BTreeMap<String, Counts> = BTreeMap::new();
        for (name, short) in self.names.iter().zip(&self.short) {
            benchmarks.entry(name.clone()).or_default().short += short;
        }
        for sought in &self.sought {
            benchmarks.entry(self.names[sought.benchmark].clone()).or_default().items += 1;
        }
        let mut found: Vec<(u32, Overlap)> = self.found.into_iter().collect();
        found.sort_by(|(i, a), (j, b)| (&a.benchmark, a.kind, i).cmp(&(&b.benchmark, b.kind, j)));
        for (_, overlap) in &found {
            let counts = benchmarks.entry(overlap.benchmark.clone()).or_default();
            match overlap.kind {
                Kind::Exact => counts.exact += 1,
                Kind::Near => counts.near += 1,
                Kind::Shared => counts.shared += 1,
            }
        }
        let overlaps = found.into_iter().map(|(_, overlap)| overlap).collect();
        Report { texts: self.read.0, words: self.read.1, benchmarks, overlaps }
    }
}

/// The most items that are looked for by one run of words: what more of them share is a benchmark's own way of asking, and
/// would make every text that has it a candidate for all of them.
const MOST_HOLDERS: usize = 256;

/// Notes an item that holds a run, unless enough do.
fn hold(holders: &mut Vec<u32>, place: u32) {
    if holders.len() < MOST_HOLDERS {
        holders.push(place);
    }
}

/// Whether `words` holds `part` without a gap.
fn holds(words: &[u64], part: &[u64]) -> bool {
    words.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What thousands of items share makes no text a candidate for all of them; each is still found by its own words.
    #[test]
    fn a_phrase_that_all_items_share_costs_no_more_than_a_few() {
        let item = |number: usize| Text {
            id: number.to_string(),
            text: format!(
                "What does this program print when it is run like this: a{number} b{number} c{number} d{number} e{number}?"
            ),
        };
        let items: Vec<Text> = (0..5000).map(item).collect();
        let mut index = Index::new(vec![("bench".to_owned(), items)], Options::default());
        assert_eq!(index.sought.len(), 5000);
        let longest = index.runs.values().map(Vec::len).max().unwrap();
        assert!(longest <= MOST_HOLDERS && index.bands.longest() <= MOST_HOLDERS, "{longest}");
        index.scan(&item(4321));
        let report = index.report();
        let exact: Vec<&str> =
            report.overlaps.iter().filter(|o| o.kind == Kind::Exact).map(|o| o.item.as_str()).collect();
        assert_eq!(exact, ["4321"]);
        assert!(report.overlaps.len() <= 2 * MOST_HOLDERS, "{}", report.overlaps.len());
    }

    #[test]
    fn a_run_is_the_same_wherever_it_stands() {
        let (a, b) = (hashes("We note that the quick brown fox jumps."), hashes("THE QUICK, brown  fox!"));
        let runs: Vec<u64> = grams(&a, 4).collect();
        assert_eq!(runs.len(), a.len() - 3);
        assert_eq!(runs[3], grams(&b, 4).next().unwrap());
        assert!(holds(&a, &b) && !holds(&b, &a));
    }
}
