//! The verifier on answers whose verdicts are known.

use std::path::{Path, PathBuf};

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
        eprintln!("SKIPPED: there is no {}", path.display());
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
