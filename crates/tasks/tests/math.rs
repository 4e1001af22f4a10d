//! The verifier on answers whose verdicts are known.

use std::path::{Path, PathBuf};

use relign_core::{Task, Transcript, Verdict};
use relign_tasks::rewards::REWARDS;
use relign_tasks::rewards::math::{Finding, Gold, Policy, equivalent, verify};

fn judged(gold: &str, answer: &str) -> Finding {
    under(&Policy::LATEX, gold, answer)
}

fn under(policy: &Policy, gold: &str, answer: &str) -> Finding {
    verify(&Gold::parse(gold, policy).expect("a gold answer"), answer).finding
}

/// A file of the shared folder, or a loud note that the test is skipped.
fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(name);
    if !path.exists() {
        relign_core::skipped!("there is no {}", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn the_pairs_of_other_graders_are_judged_right() {
    let Some(path) = shared("graders/pairs.tsv") else { return };
    let text = std::fs::read_to_string(path).expect("readable");
    let mut wrong = Vec::new();
    for row in text.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>()) {
        let (gold, answer, right) = (row[0], row[1], row[2] == "1");
        for answer in
            [answer.to_owned(), format!("So the answer is ${answer}$."), format!("Thus $\\boxed{{{answer}}}$.")]
        {
            let judgement = verify(&Gold::parse(gold, &Policy::LATEX).expect("a gold answer"), &answer);
            if (judgement.finding == Finding::Correct) != right {
                wrong.push(format!("{gold} | {answer} | {right} | {judgement:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The rows of a table of gold answer, answer and verdict that are judged otherwise.
fn misjudged(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for row in text.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>()) {
        let judgement = verify(&Gold::parse(row[0], &Policy::LATEX).expect("a gold answer"), row[1]);
        if (judgement.finding == Finding::Correct) != (row[2] == "1") {
            wrong.push(format!("{} | {} | {} | {judgement:?}", row[0], row[1], row[2]));
        }
    }
    wrong
}

#[test]
fn spellings_that_mean_the_same_and_others_that_do_not() {
    let wrong = misjudged(include_str!("fixtures/verifier.tsv"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_cases_of_reports_are_judged_right() {
    let Some(path) = shared("cases/math.tsv") else { return };
    let wrong = misjudged(&std::fs::read_to_string(path).expect("readable"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_numbers_of_reports_are_judged_right() {
    let Some(path) = shared("cases/numbers.jsonl") else { return };
    let entry = REWARDS.iter().find(|entry| entry.name == "final_number").expect("a reward");
    let reward = (entry.build)(serde_json::json!({})).expect("no settings");
    let mut wrong = Vec::new();
    for line in std::fs::read_to_string(path).expect("readable").lines() {
        let row: serde_json::Value = serde_json::from_str(line).expect("a row");
        let text = |key: &str| row[key].as_str().expect("a text").to_owned();
        let task = Task { answer: text("gold"), ..Task::default() };
        let score = reward.score(&task, &Transcript::of(text("answer"), true));
        if (score.verdict == Verdict::Correct) != (row["right"] == 1) {
            wrong.push(format!("{line}: {}", score.reason));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn right_and_wrong_by_definition() {
    for (gold, answer) in [
        (r"\frac{1}{2}", "So we get $\\boxed{0.5}$."),
        (r"\sqrt{3+2\sqrt2}", r"1+\sqrt2"),
        (r"\frac{1}{1+\sqrt2}", r"\sqrt2-1"),
        (r"(x-1)^3(x+1)^3", r"x^6-3x^4+3x^2-1"),
        (r"\sin\frac{\pi}{6}", r"\frac12"),
        (r"\log_2 8", "3"),
        ("x=5", "5"),
        ("y=2x+3", "2x-y+3=0"),
        (r"x \in [-2,7]", r"-2 \le x \le 7"),
        ("[-2,7]", r"-2 \le x \le 7"),
        (r"(3,5]\cup[5,8)", "(3,8)"),
        (r"30^\circ", r"\frac{\pi}{6}"),
        (r"0.\overline{36}", r"\frac{4}{11}"),
        (r"2^{100}", "1267650600228229401496703205376"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "(1,2)"),
        (r"\text{(C)}", "C"),
        (r"\text{Friday}", "It is so. The answer is Friday."),
        ("52_8", "52"),
        (r"70\%", "70"),
        (r"5\text{ cm}", "5 centimeters"),
        (r"10^{10^{10}}", r"10^{10^{10}}"),
        ("1,234,567", "1234567"),
        ("3, 5, 7", r"\boxed{7}, \boxed{5} and \boxed{3}"),
    ] {
        assert_eq!(judged(gold, answer), Finding::Correct, "{gold} | {answer}");
    }
    for (gold, answer) in [
        (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}"),
        (r"\sqrt{10^{40}+1}-10^{20}", "0"),
        (r"e^{\pi\sqrt{163}}", "262537412640768744"),
        (r"\sqrt{1000001}-\sqrt{1000000}", r"\sqrt{1000002}-\sqrt{1000001}"),
        (r"\pi+10^{-300}", r"\pi"),
        (r"\sin 1+10^{-60}\cos 1", r"\sin 1"),
        ("x", r"\sqrt{x^2}"),
        ("10", "9.999999999"),
        ("x<1", "-x<-1"),
        ("5", "4, 5"),
        (r"5\text{ cm}", "5 inches"),
        ("[1,2]", "[2,1]"),
        ("1,2", "(1,2)"),
        (r"10^{10^{10}}", r"10^{10^{11}}"),
        ("54", "204_5"),
        ("28", "0.28"),
    ] {
        assert_eq!(judged(gold, answer), Finding::Wrong, "{gold} | {answer}");
    }
    for answer in ["", "I do not know", "\\boxed{}"] {
        assert_ne!(judged("7", answer), Finding::Correct, "{answer}");
    }
    assert_eq!(judged("7", "no idea"), Finding::Unparsed);
}

#[test]
fn policies_read_the_same_text_differently() {
    for (policy, gold, answer, right) in [
        ("gsm8k", "18", "She makes $18 a day.\n#### 18 dollars", true),
        ("number", "18", "First 17, then 18 of them in all", true),
        ("boxed", "18", "The answer is 18.", false),
        ("choice", "B", "The answer is (B) Paris.", true),
        ("choice", "B", "A", false),
        ("decimal_comma", "3,14", "3,14", true),
        ("decimal_comma", "1234", "1.234", true),
        ("latex", "1234", "1.234", false),
        ("aime", "005", "5", true),
    ] {
        let policy = Policy::named(policy).expect("a policy");
        assert_eq!(under(&policy, gold, answer) == Finding::Correct, right, "{gold} | {answer}");
    }
    assert!(Policy::named("latx").is_err_and(|error| error.message.contains("expected one of: latex, gsm8k")));
    assert!(Gold::parse(" ", &Policy::LATEX).is_err());
}

#[test]
fn votes_are_symmetric() {
    for (a, b, same) in [("x=5", "5", false), (r"\frac12", "0.5", true), ("1,2", "2,1", true), ("52_8", "52", false)] {
        assert_eq!(equivalent(a, b, &Policy::LATEX), equivalent(b, a, &Policy::LATEX), "{a} | {b}");
        // `x = 5` is right where 5 is gold and the other way round.
        assert_eq!(equivalent(a, b, &Policy::LATEX), same || a == "x=5", "{a} | {b}");
    }
}

/// Everything is judged on a thread with half a megabyte of stack, and soon: a runaway would never end.
#[test]
fn hostile_answers_end_in_a_verdict_on_a_small_stack() {
    let nested = |open: &str, close: &str| format!("{}1{}", open.repeat(1000), close.repeat(1000));
    let mut texts: Vec<String> = [
        "10^10^10",
        "(10^{10^{10}})!",
        "99999999!",
        r"\binom{10^9}{5\cdot 10^8}",
        r"2^{2^{2^{2^{2^2}}}}",
        "((1000!)!)!",
        r"\sqrt[1000000007]{10^{10000}}",
        r"\sin(10^{300})",
        r"\frac{1}{0}",
        "0^0",
        r"\log_1 2",
        r"\ln 0",
        "1e999999999",
        r"\arcsin(2)",
        r"e^{e^{e^{e^{e^{e}}}}}",
        r"(a+b+c+d+f+g)^{64}",
        r"\lfloor \pi^{4000} \rfloor",
        r"\frac{\frac",
        "\\",
        "\\text{",
        r"\begin{pmatrix}",
        "$",
        "\\boxed{\\boxed{",
        r"0.\overline{",
        "\u{202f}1",
        "é",
        "*:10",
        // Found by the fuzzer: both signs inside a set within a root never ended.
        r"\sqrt[\sin({\sin(x)}^{(i)!})]{\arcsin(\sqrt{x}) \cup \binom{(1)(i)}{\pi} + \ln(|0.159|) \pm (i)(x)}",
        r"\sqrt{\{\sin(3), {4}^{3} \pm (0.912)!\}}",
    ]
    .map(str::to_owned)
    .to_vec();
    for (open, close) in [
        ("{", "}"),
        ("(", ")"),
        ("\\{", "\\}"),
        ("\\frac{", "}{2}"),
        ("\\sqrt{", "}"),
        ("x^{", "}"),
        ("|", "|"),
        ("\\text{", "}"),
    ] {
        texts.push(nested(open, close));
        texts.push(nested(open, ""));
        texts.push(format!("{}x{}", open.repeat(12), close.repeat(12)));
    }
    for piece in
        ["-", "!", "\\pm", "x^", "1+", "1,", "\\sqrt", "a", "9", "\\sin ", "#### ", "answer is ", "\\boxed{1}", "$1$"]
    {
        texts.push(format!("{}1", piece.repeat(3000)));
    }
    let judge = move || {
        for gold in &texts {
            if let Ok(gold) = Gold::parse(gold, &Policy::LATEX) {
                for answer in &texts {
                    let _ = verify(&gold, answer);
                }
            }
        }
    };
    std::thread::Builder::new().stack_size(512 << 10).spawn(judge).expect("a thread").join().expect("no panic");
}

#[test]
fn gold_answers_of_the_data_sets_equal_themselves_and_no_neighbour() {
    let Some(path) = shared("data/math/math500.jsonl") else { return };
    let text = std::fs::read_to_string(path).expect("readable");
    let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for row in &rows {
        let gold = row["answer"].as_str().expect("a text");
        assert!(
            Gold::parse(gold, &Policy::LATEX).expect("a gold answer").is_mathematics() || gold.contains("\\text"),
            "{gold}"
        );
        for answer in [
            gold.to_owned(),
            format!("Then $\\boxed{{{gold}}}$."),
            row["solution"].as_str().unwrap_or_default().to_owned(),
        ] {
            assert_eq!(judged(gold, &answer), Finding::Correct, "{gold} | {answer}");
        }
        if !gold.contains("\\text") {
            assert_ne!(judged(gold, &format!("\\boxed{{{gold}+1}}")), Finding::Correct, "{gold}");
        }
    }
}

fn a_gold() -> impl proptest::strategy::Strategy<Value = (i64, i64, i64)> {
    (-999..1000_i64, 1..50_i64, 2..30_i64)
}

proptest::proptest! {
    /// a + b sqrt(c), put another way, and one off.
    #[test]
    fn surds(numbers in a_gold(), by in 2..9_i64) {
        let (a, b, c) = numbers;
        let gold = format!("{a}+{b}\\sqrt{{{c}}}");
        let other = format!("\\frac{{\\sqrt{{{}}}+{}}}{{{by}}}", b * b * c * by * by, a * by);
        proptest::prop_assert_eq!(judged(&gold, &other), Finding::Correct);
        let off = format!("\\frac{{\\sqrt{{{}}}+{}}}{{{by}}}", b * b * c * by * by, a * by + 1);
        proptest::prop_assert_eq!(judged(&gold, &off), Finding::Wrong);
    }

    /// Products of polynomials, multiplied out by the test.
    #[test]
    fn polynomials(p in -20..20_i64, q in -20..20_i64, r in 1..9_i64) {
        let gold = format!("({r}x+{p})(x+{q})");
        let out = format!("{r}x^2+{}x+{}", r * q + p, p * q);
        proptest::prop_assert_eq!(judged(&gold, &out), Finding::Correct);
        let off = format!("{r}x^2+{}x+{}", r * q + p, p * q + 1);
        proptest::prop_assert_eq!(judged(&gold, &off), Finding::Wrong);
    }

    #[test]
    fn any_text_is_survived(gold in "(?s).{1,60}", answer in "[-+0-9a-z{}()\\\\^_!,.$ ]{0,60}") {
        if let Ok(gold) = Gold::parse(&gold, &Policy::LATEX) {
            let _ = verify(&gold, &answer);
        }
    }
}
