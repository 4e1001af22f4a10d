//! The board: ranks that mean something, and no result that cannot be trusted.
#![allow(clippy::unwrap_used)] // A test's own functions may fail loudly, too.

mod common;

use std::fs;

use common::{benchmark, chance, header, items, write};
use relign_bench::leaderboard::{board, write as build};

#[test]
fn models_that_cannot_be_told_apart_share_a_rank() {
    let folder = tempfile::tempdir().unwrap();
    let items = items(300);
    for (name, p) in [("weak", 0.3), ("good", 0.6), ("as good", 0.6), ("best", 0.9)] {
        for bench in ["sums", "products"] {
            write(folder.path(), header(&benchmark(bench, 1), name), &items, |place, _| {
                // One item is hard or easy for all of them.
                chance(bench, place, 0, p) || chance(&format!("{bench}{name}"), place, 1, 0.02)
            });
        }
    }
    let board = board(folder.path()).unwrap();
    assert!(board.refused.is_empty(), "{:?}", board.refused);
    let domain = &board.domains[0];
    assert_eq!((board.domains.len(), domain.boards.len(), domain.name.as_str()), (1, 2, "math"));
    for table in &domain.boards {
        let rank = |name: &str| table.rows.iter().find(|row| row.model == name).unwrap().rank;
        assert_eq!([rank("best"), rank("good"), rank("as good"), rank("weak")], [1, 2, 2, 4], "{}", table.benchmark);
        assert!(table.rows.windows(2).all(|pair| pair[0].figure.accuracy >= pair[1].figure.accuracy));
    }
    let means: Vec<usize> = domain.means.iter().map(|mean| mean.rank).collect();
    assert_eq!(means, [1, 2, 2, 4]);
    let site = folder.path().join("site");
    build(&board, &site).unwrap();
    let index = fs::read_to_string(site.join("index.html")).unwrap();
    for row in domain.boards.iter().flat_map(|table| &table.rows) {
        assert!(index.contains(&format!("href=\"{}\"", row.page)));
        let page = fs::read_to_string(site.join(&row.page)).unwrap();
        assert!(page.contains("sum/eval/299") && !page.contains("<script>alert"), "every item, nothing that runs");
    }
    let data: serde_json::Value = serde_json::from_str(&fs::read_to_string(site.join("data.json")).unwrap()).unwrap();
    assert_eq!(data["domains"][0]["boards"][0]["rows"][0]["model"], "best");
}

#[test]
fn a_model_that_solves_everything_is_better_than_one_that_solves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let items = items(40);
    for (name, right) in [("all", true), ("none", false)] {
        for bench in ["sums", "products"] {
            write(folder.path(), header(&benchmark(bench, 1), name), &items, |_, _| right);
        }
    }
    // No item differs from another, so that their spread is 0 in every benchmark.
    let means = board(folder.path()).unwrap().domains.remove(0).means;
    let ranks: Vec<(&str, usize)> = means.iter().map(|mean| (mean.model.as_str(), mean.rank)).collect();
    assert_eq!(ranks, [("all", 1), ("none", 2)]);
}

#[test]
fn what_was_tampered_with_is_refused_and_the_others_stand() {
    let folder = tempfile::tempdir().unwrap();
    let items = items(20);
    let honest = write(folder.path(), header(&benchmark("sums", 1), "honest"), &items, |place, _| place < 10);
    let forged = write(folder.path(), header(&benchmark("sums", 1), "forged"), &items, |place, _| place < 10);
    fs::write(
        &forged,
        fs::read_to_string(&forged).unwrap().replace("\"verdict\":\"wrong\"", "\"verdict\":\"correct\""),
    )
    .unwrap();
    fs::create_dir(folder.path().join("again")).unwrap();
    fs::copy(&honest, folder.path().join("again/copy.jsonl")).unwrap();
    let whole = fs::read_to_string(&honest).unwrap();
    let cut: String = whole.lines().take(25).map(|line| format!("{line}\n")).collect();
    fs::write(folder.path().join("cut.jsonl"), cut).unwrap();
    let board = board(folder.path()).unwrap();
    assert_eq!(board.refused.len(), 3, "{:?}", board.refused);
    for said in ["chain is broken", "the same measurement as", "not complete"] {
        assert!(board.refused.iter().any(|why| why.contains(said)), "{said}: {:?}", board.refused);
    }
    assert_eq!(board.domains[0].boards[0].rows.len(), 1);
}

#[test]
fn an_empty_folder_is_an_empty_board() {
    let folder = tempfile::tempdir().unwrap();
    let board = board(folder.path()).unwrap();
    build(&board, &folder.path().join("site")).unwrap();
    assert!(fs::read_to_string(folder.path().join("site/index.html")).unwrap().contains("no results yet"));
}
