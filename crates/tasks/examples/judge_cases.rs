//! Lists the rows of a table (gold, answer, right) that the verifier judges otherwise.
//!
//!     cargo run --release -p relign-tasks --example judge_cases -- [--time] TABLE...

#![allow(clippy::print_stdout, reason = "results go to stdout")]

use std::time::Instant;

use relign_tasks::rewards::math::{Finding, Gold, Policy, verify};

fn main() {
    let mut timed = false;
    for name in std::env::args().skip(1) {
        if name == "--time" {
            timed = true;
            continue;
        }
        let text = std::fs::read_to_string(&name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let rows: Vec<_> = text.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>()).collect();
        let (mut accepted, mut missed) = (0, 0);
        for row in &rows {
            let [gold, answer, right, source @ ..] = &row[..] else { panic!("{name}: a row of {} columns", row.len()) };
            let (correct, why) = match Gold::parse(gold, &Policy::LATEX) {
                Ok(gold) => {
                    let judgement = verify(&gold, answer);
                    (judgement.finding == Finding::Correct, format!("{:?} {}", judgement.extracted, judgement.reason))
                }
                Err(error) => (false, format!("gold: {error}")),
            };
            let fault = match (correct, *right == "1") {
                (true, false) => "ACCEPTED",
                (false, true) => "missed",
                _ => continue,
            };
            if correct {
                accepted += 1
            } else {
                missed += 1
            }
            println!("{fault}\t{gold}\t{answer}\t{why}\t{}", source.join(" "));
        }
        println!("{name}: {} rows, {accepted} accepted wrongly, {missed} missed", rows.len());
        if timed {
            for _ in 0..3 {
                let start = Instant::now();
                for _ in 0..20 {
                    for row in &rows {
                        if let Ok(gold) = Gold::parse(row[0], &Policy::LATEX) {
                            std::hint::black_box(verify(&gold, row[1]));
                        }
                    }
                }
                println!("{:.3} us a row", start.elapsed().as_secs_f64() * 1e6 / (20 * rows.len()) as f64);
            }
        }
    }
}
