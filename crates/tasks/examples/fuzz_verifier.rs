//! Throws broken mathematics at the verifier: `fuzz_verifier math SECONDS SEED`.
//!
//!     cargo run --release -p relign-tasks --example fuzz_verifier -- math 600 1
//!
//! Each round makes a gold answer and an answer, by grammar, by damaging sound ones or from pieces of LaTeX in any
//! order, and judges them. Whatever stands there, judging must end with a verdict, on a thread with a stack of
//! 512 KiB: a panic, more than `MOST_SECONDS` for one round or more than `MOST_BYTES` of memory in all are
//! findings. A finding's texts are printed; the exit status is 1 where there were any. With `FUZZ_VERBOSE` every
//! round is printed before it is judged, for what kills the process. What was judged is also held against what must be true: an answer equals itself, and votes are counted alike both ways.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use relign_core::Seed;
use relign_tasks::rewards::math::{Finding, Gold, Policy, equivalent, verify};

/// Time that one round may take, on a machine that does other things as well.
const MOST_SECONDS: u64 = 10;
/// The largest memory of the process.
const MOST_BYTES: u64 = 512 << 20;
const STACK: usize = 512 << 10;

/// What is being judged, for the watch and for panics: when it began, and the texts.
static NOW: Mutex<Option<(Instant, String, String)>> = Mutex::new(None);

const SOUND: &[&str] = &[
    r"\frac{5\sqrt{42}}{27}",
    r"(-\infty,2)\cup(2,\infty)",
    r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
    r"1 \pm \sqrt{19}",
    r"x^2/4+y^2/3=1",
    r"\tan^2(y)+1",
    r"-2 \le x < \frac{7}{2}",
    r"\{1\pm\sqrt{5},-2\}",
    r"10,\!080",
    "7 3/4",
    "204_5",
    r"\binom{10}{3}",
    r"3.5\times 10^{4}",
    r"864 \mbox{ inches}^2",
    r"\left[ \frac{\pi^2}{8}, \frac{5 \pi^2}{4} \right]",
    r"\mathbb{R}\setminus\{2\}",
    r"0.\overline{36}",
    r"e^{i\pi}",
    r"\log_2 8",
    r"\sqrt[3]{-8}",
    "12:30",
    "28\\%",
    "x=5",
    r"\lfloor \pi^{20} \rfloor",
    r"2^{x+1}",
    r"|x-3|",
    r"\arcsin\frac{1}{2}",
    r"\gcd(12,18)",
    r"50!",
    r"\sum_{i=1}^n i",
    r"12\frac12\%",
    r"0.1\dot{4}2\dot{8}",
    "0.3(6)",
    "0.142857142857...",
    r"]-\infty,3] \cup ]5,7[",
    r"x = -2, y = 5, z = \frac12",
    r"25\,\frac{\text{m}}{\text{s}^2}",
    "9.8 m/s^2",
    r"2\operatorname{cis} 60^\circ",
    r"\mathbb{R}_{\ge 0}",
    "[[1,2],[3,4]]",
    r"{3 \over 4}",
    r"\textcolor{red}{\frac34}",
    r"P(A|B) = \frac13",
    r"C_{10}^{3}",
    r"n \equiv 2 \pmod 7",
    r"2\pi k, k\in\mathbb{Z}",
    r"\text{all real numbers except }-1",
    "2½ × 10⁻⁵ ２５ √7",
    "The answer is not 12 but 15, because $3\\cdot 5=15$ (as shown).",
    "He pays $5 each, so 2 cost $10.",
    "one hundred twenty-three",
    "The answer is $5$.",
    "so \\boxed{7} and \\boxed{8}",
    "#### 18",
    r"\text{6 and 8}",
    "10^10^10",
    "((((1))))",
    "x \\in [1,2)",
];

const PIECES: &[&str] = &[
    "\\frac",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "\\{",
    "\\}",
    "^",
    "_",
    "\\sqrt",
    "!",
    "%",
    "\\pi",
    "e",
    "i",
    "x",
    "y",
    "0",
    "1",
    "9",
    "12",
    "999999999999999999999",
    ".",
    ",",
    ";",
    ":",
    "+",
    "-",
    "*",
    "/",
    "=",
    "<",
    "\\le",
    "\\cup",
    "\\cap",
    "\\setminus",
    "\\infty",
    "\\pm",
    "\\text{",
    "\\begin{pmatrix}",
    "\\end{pmatrix}",
    "&",
    "\\\\",
    "\\boxed{",
    "$",
    " ",
    "|",
    "\\left",
    "\\right",
    "\\sin",
    "\\ln",
    "\\log_",
    "\\binom",
    "10^",
    "^{10^{10}}",
    "!!!",
    "\\lfloor",
    "\\rfloor",
    "\\arccos",
    "\\tan",
    "\\overline{3}",
    "é",
    "²",
    "∞",
    "\\",
    "\\!",
    "and",
    " million",
    "\\circ",
    "e9",
    "E-400",
    "\\mathbb{R}",
    "####",
    "answer is ",
    "\\%",
    "\u{a0}",
];

struct Dice(Seed, u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.1 += 1;
        self.0.below(self.1, n.max(1) as u64) as usize
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    /// A formula by grammar.
    fn formula(&mut self, depth: usize) -> String {
        if depth == 0 {
            return match self.below(8) {
                0 => "x".to_owned(),
                1 => "\\pi".to_owned(),
                2 => format!("0.{}", self.below(1000)),
                3 => self.below(1 << 40).to_string(),
                4 => "e".to_owned(),
                5 => "i".to_owned(),
                _ => self.below(12).to_string(),
            };
        }
        let (a, b) = (self.formula(depth - 1), self.below(depth));
        let b = self.formula(b);
        match self.below(22) {
            0 => format!("\\frac{{{a}}}{{{b}}}"),
            1 => format!("\\sqrt{{{a}}}"),
            2 => format!("{{{a}}}^{{{b}}}"),
            3 => format!("({a})!"),
            4 => format!("\\sin({a})"),
            5 => format!("\\ln({a})"),
            6 => format!("\\binom{{{a}}}{{{b}}}"),
            7 => format!("{a} \\cdot {b}"),
            8 => format!("({a})({b})"),
            9 => format!("|{a}|"),
            10 => format!("\\arctan({a})"),
            11 => format!("\\lfloor {a} \\rfloor"),
            12 => format!("\\sqrt[{b}]{{{a}}}"),
            13 => format!("{a} - {b}"),
            14 => format!("\\log_{{{a}}} ({b})"),
            15 => format!("({a}, {b}]"),
            16 => format!("{a} = {b}"),
            17 => format!("{a} \\pm {b}"),
            18 => format!("\\{{{a}, {b}\\}}"),
            19 => format!("\\arcsin({a}) \\cup {b}"),
            _ => format!("{a} + {b}"),
        }
    }

    fn text(&mut self) -> String {
        match self.below(4) {
            0 => {
                let depth = 1 + self.below(7);
                self.formula(depth)
            }
            1 => (0..1 + self.below(30)).map(|_| self.of(PIECES)).collect(),
            2 => {
                let piece = self.of(PIECES);
                let times = 1 << self.below(12);
                format!("{}{}", piece.repeat(times), self.of(SOUND))
            }
            _ => {
                let mut text = self.of(SOUND).to_owned();
                for _ in 0..1 + self.below(4) {
                    let mut at = self.below(text.len() + 1);
                    while !text.is_char_boundary(at) {
                        at -= 1;
                    }
                    match self.below(3) {
                        0 => text.insert_str(at, self.of(PIECES)),
                        1 => text.truncate(at),
                        _ => text = format!("{}{}", &text[at..], &text[..at]),
                    }
                }
                text
            }
        }
    }
}

/// What a round finds wrong, if anything.
fn judged(gold: &str, answer: &str, policy: &Policy) -> Option<String> {
    let Ok(parsed) = Gold::parse(gold, policy) else { return None };
    let _ = verify(&parsed, answer);
    if equivalent(gold, answer, policy) != equivalent(answer, gold, policy) {
        return Some("votes are counted differently the other way round".to_owned());
    }
    let bare = Policy { extract: relign_tasks::rewards::math::Extract::Whole, ..*policy };
    let same = Gold::parse(gold, &bare).ok()?;
    match verify(&same, gold).finding {
        Finding::Wrong => Some("an answer does not equal itself".to_owned()),
        _ => None,
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, seconds, seed] = &arguments[..] else { return usage() };
    let (Ok(seconds), Ok(seed)) = (seconds.parse::<u64>(), seed.parse::<u64>()) else { return usage() };
    if target != "math" {
        return usage();
    }
    std::thread::spawn(watch);
    let work = std::thread::Builder::new().stack_size(STACK).spawn(move || run(seconds, seed)).expect("a thread");
    match work.join() {
        Ok(0) => {}
        _ => std::process::exit(1),
    }
}

fn run(seconds: u64, seed: u64) -> usize {
    let start = Instant::now();
    let (mut rounds, mut findings, mut slowest) = (0_u64, 0, Duration::ZERO);
    while start.elapsed() < Duration::from_secs(seconds) {
        rounds += 1;
        let mut dice = Dice(Seed(seed).index(rounds), 0);
        let gold = dice.text();
        let answer = if dice.below(4) == 0 { gold.clone() } else { dice.text() };
        let policy = Policy::NAMED[dice.below(Policy::NAMED.len())].1;
        let began = Instant::now();
        *NOW.lock().expect("nobody panics holding it") = Some((began, gold.clone(), answer.clone()));
        // What kills the process is told by the last line before.
        if std::env::var_os("FUZZ_VERBOSE").is_some() {
            eprintln!("round {rounds}: {gold:?} {answer:?}");
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| judged(&gold, &answer, &policy)));
        slowest = slowest.max(began.elapsed());
        let finding = match outcome {
            Err(_) => Some("a panic".to_owned()),
            Ok(_) if rounds % 1024 == 0 && peak() > MOST_BYTES => Some(format!("{} MB", peak() >> 20)),
            Ok(finding) => finding,
        };
        if let Some(finding) = finding {
            findings += 1;
            if findings <= 20 {
                eprintln!("round {rounds}: {finding}\n  gold   {gold:?}\n  answer {answer:?}");
            }
        }
    }
    *NOW.lock().expect("nobody panics holding it") = None;
    eprintln!("{rounds} rounds, {findings} findings, the slowest {slowest:?}, peak memory {} MB", peak() >> 20);
    findings
}

/// The process's largest memory so far, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) << 10
}

/// Ends the process where a round takes too long.
fn watch() {
    loop {
        std::thread::sleep(Duration::from_millis(500));
        if let Some((began, gold, answer)) = &*NOW.lock().expect("nobody panics holding it")
            && began.elapsed() > Duration::from_secs(MOST_SECONDS)
        {
            eprintln!("a round takes more than {MOST_SECONDS} s:\n  gold   {gold:?}\n  answer {answer:?}");
            std::process::exit(3);
        }
    }
}

fn usage() {
    eprintln!("usage: fuzz math SECONDS SEED");
    std::process::exit(2);
}
