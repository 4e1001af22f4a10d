//! Whatever a text holds, Markdown shows it as text, in its place.

mod common;

use common::{benchmark, header, items, result};
use proptest::prelude::*;
use pulldown_cmark::{Event, Options as Marks, Parser, Tag};
use relign_bench::compare::{Flip, Options, Report, compare, markdown as report_as_markdown};
use relign_bench::markdown;

/// What has broken out of a quotation somewhere: ends of lines, blocks, tables, emphasis, HTML.
const PIECES: &[&str] = &[
    "\r",
    "\n",
    "\r\n",
    "\n\n",
    "\r\r",
    "\u{b}",
    "\u{c}",
    "\u{85}",
    "\u{2028}",
    "\u{2029}",
    "\0",
    "\u{1b}[2J",
    "\u{202e}",
    "<script>alert(1)</script>",
    "<b onclick=x>",
    "</details>",
    "<!-- ",
    "-->",
    "<?php",
    "<![CDATA[",
    "&lt;i&gt;",
    "&#60;b>",
    "<http://a.b>",
    "|",
    "\\|",
    "\\",
    "\\\\",
    "`",
    "``",
    "```",
    "````\n",
    "~~~",
    "# h",
    "#",
    "##",
    "- ",
    "* ",
    "+ ",
    "1. ",
    "1) ",
    "> ",
    ">",
    "    ",
    "\t",
    "---",
    "***",
    "===",
    ":--",
    "[a](javascript:x)",
    "![i](x)",
    "[a]: x",
    "**",
    "_",
    "~~",
    "$x$",
    "x",
    "word ",
    "é",
    " ",
];

fn nasty() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(PIECES), 1..9).prop_map(|pieces| pieces.concat() + "x")
}

fn events(page: &str) -> Vec<Event<'_>> {
    Parser::new_ext(page, Marks::ENABLE_TABLES | Marks::ENABLE_STRIKETHROUGH | Marks::ENABLE_TASKLISTS).collect()
}

/// The blocks of a page and what is emphasised, but no texts.
fn shape(page: &str) -> Vec<String> {
    let events = events(page).into_iter();
    let kept = events.filter(|event| !matches!(event, Event::Text(_) | Event::SoftBreak));
    kept.map(|event| if matches!(event, Event::Code(_)) { "code".to_owned() } else { format!("{event:?}") }).collect()
}

fn texts(page: &str) -> String {
    let text = |event| match event {
        Event::Text(text) | Event::Code(text) => Some(text.into_string()),
        _ => None,
    };
    events(page).into_iter().filter_map(text).collect()
}

/// A report in which every text is `text`.
fn report(report: &Report, text: &str) -> Report {
    let mut report = report.clone();
    let own = || text.to_owned();
    (report.base, report.relign) = (own(), own());
    (report.warnings, report.notes) = (vec![own()], vec![own()]);
    for comparison in &mut report.comparisons {
        comparison.model = own();
        for row in &mut comparison.rows {
            (row.benchmark, row.metric) = (own(), own());
            row.provenance = [(own(), [own(), own()])].into();
            for flip in row.gained.iter_mut().chain(&mut row.missed) {
                let Flip { item, question, expected, base, tuned, .. } = flip;
                for place in
                    [item, question, expected, &mut base.text, &mut tuned.text, &mut base.reason, &mut tuned.reason]
                {
                    *place = own();
                }
            }
        }
    }
    report
}

fn plain() -> Report {
    let folder = tempfile::tempdir().expect("a folder");
    let (benchmark, items) = (benchmark("sums", 1), items(12));
    let of =
        |model: &str, right: fn(usize, u64) -> bool| result(folder.path(), header(&benchmark, model), &items, right);
    let base = of("base", |place, _| place < 4);
    let tuned = of("tuned", |place, _| (2..9).contains(&place));
    compare(&[base], &[vec![tuned]], &Options { draws: 200, ..Options::default() }).expect("comparable")
}

#[test]
fn a_report_has_the_shape_of_one_with_plain_texts_whatever_its_texts_are() {
    let made = plain();
    let expected = shape(&report_as_markdown(&report(&made, "x")));
    assert!(
        expected.iter().any(|event| event.contains("CodeBlock"))
            && expected.iter().any(|event| event.contains("Table"))
    );
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&nasty(), |text| {
            let page = report_as_markdown(&report(&made, &text));
            prop_assert!(!page.contains(|c: char| relign_core::is_control(c) && !matches!(c, '\n' | '\t')), "{page:?}");
            prop_assert_eq!(&shape(&page), &expected, "{:?}\n{}", text, page);
            Ok(())
        })
        .unwrap();
}

/// What is left of a text whose ends of lines and spaces are all alike.
fn words(text: &str) -> String {
    let plain = |c: char| {
        if c.is_whitespace() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}') {
            ' '
        } else if relign_core::is_control(c) {
            '\u{fffd}'
        } else {
            c
        }
    };
    text.chars().map(plain).collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_place_keeps_its_text(text in nasty()) {
        let (cell, code) = (markdown::cell(&text), markdown::code_cell(&text));
        for (page, own) in [
            (format!("# {}\n\nend", markdown::text(&text)), true),
            (format!("{}\n\nend", markdown::text(&text)), true),
            (format!("- {}\n\nend", markdown::text(&text)), true),
            (format!("a **{}** b\n\nend", markdown::cell(&text)), true),
            (format!("a {} b\n\nend", markdown::code(&text)), true),
            (format!("| a | b |\n|---|---|\n| {cell} | {code} |\n\nend"), false),
            (format!("<details>\n\n{}\n</details>\n\nend", markdown::fenced("toml", &text)), true),
            (format!("> a\n>\n{}\nend", markdown::quoted(&text)), true),
        ] {
            let html = events(&page).iter().filter(|event| matches!(event, Event::Html(_) | Event::InlineHtml(_))).count();
            prop_assert_eq!(html, if page.starts_with("<details>") { 2 } else { 0 }, "{:?}\n{}", text, page);
            let headings = events(&page).iter().filter(|event| matches!(event, Event::Start(Tag::Heading { .. }))).count();
            prop_assert_eq!(headings, usize::from(page.starts_with("# ")), "{:?}\n{}", text, page);
            let links = events(&page).iter().any(|event| matches!(event, Event::Start(Tag::Link { .. } | Tag::Image { .. })));
            prop_assert!(!links, "{}", page);
            prop_assert!(page.ends_with("\nend") && texts(&page).ends_with("end"), "{:?}\n{}", text, page);
            if own {
                prop_assert!(words(&texts(&page)).contains(&words(&text)), "{:?}\n{}\n{:?}", text, page, texts(&page));
            } else {
                let rows = events(&page).iter().filter(|event| matches!(event, Event::Start(Tag::TableCell))).count();
                prop_assert_eq!(rows, 4, "{:?}\n{}", text, page);
            }
        }
        let address = markdown::address(&text);
        prop_assert!(address.bytes().all(|byte| byte.is_ascii_graphic() && !b"()<>\"'\\|".contains(&byte)), "{}", address);
    }
}
