//! Commands that change how mathematics looks and nothing of what it says.

/// Without a meaning, whatever stands behind them.
const NOTHING: &[&str] = &[
    // Brackets and their sizes.
    "left",
    "right",
    "middle",
    "big",
    "Big",
    "bigg",
    "Bigg",
    "bigl",
    "bigr",
    "bigm",
    "Bigl",
    "Bigr",
    "Bigm",
    "biggl",
    "biggr",
    "biggm",
    "Biggl",
    "Biggr",
    "Biggm",
    // Sizes and styles.
    "displaystyle",
    "textstyle",
    "scriptstyle",
    "scriptscriptstyle",
    "tiny",
    "scriptsize",
    "footnotesize",
    "small",
    "normalsize",
    "large",
    "Large",
    "LARGE",
    "huge",
    "Huge",
    "bf",
    "rm",
    "it",
    "sf",
    "tt",
    "cal",
    "sl",
    "em",
    "bfseries",
    "itshape",
    "rmfamily",
    "normalfont",
    "boldmath",
    "unboldmath",
    "mathbf",
    "mathit",
    "mathnormal",
    "boldsymbol",
    "bm",
    "pmb",
    "bold",
    "mathstrut",
    "strut",
    // Classes of atoms.
    "mathbin",
    "mathrel",
    "mathop",
    "mathord",
    "mathopen",
    "mathclose",
    "mathpunct",
    "mathinner",
    "ensuremath",
    "smash",
    "limits",
    "nolimits",
    "displaylimits",
    "relax",
    "null",
    // Space.
    "quad",
    "qquad",
    "enspace",
    "thinspace",
    "medspace",
    "thickspace",
    "negthinspace",
    "space",
    "hfill",
    "newline",
    "linebreak",
    "nobreak",
    "allowbreak",
    "noindent",
    "par",
    "smallskip",
    "medskip",
    "bigskip",
    "hline",
    "nonumber",
    "notag",
    // Lines, boxes and signs around or behind an answer.
    "underline",
    "uline",
    "underbar",
    "boxed",
    "fbox",
    "framebox",
    "cancelto",
    "checkmark",
    "blacksquare",
    "square",
    "Box",
    "qed",
    "qedsymbol",
    "QED",
];

/// With an argument that is not part of the answer either.
const WITH_ARGUMENT: &[&str] = &[
    "color",
    "textcolor",
    "colorbox",
    "hspace",
    "vspace",
    "mspace",
    "hskip",
    "mskip",
    "kern",
    "mkern",
    "phantom",
    "hphantom",
    "vphantom",
    "label",
    "tag",
    "overset",
    "underset",
    "stackrel",
    "class",
    "cssId",
    "style",
    "raisebox",
    "fontsize",
    "hypertarget",
    "bbox",
];

/// How many arguments behind the command mean nothing; `None` where it has a meaning.
pub(super) fn arguments(name: &str) -> Option<usize> {
    if NOTHING.contains(&name) {
        return Some(0);
    }
    if WITH_ARGUMENT.contains(&name) {
        return Some(1);
    }
    (name == "fcolorbox").then_some(2)
}

/// Whether what a text command holds is mathematics: it has digits or commands, and no words but names of
/// functions.
pub(super) fn is_mathematics(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut any = false;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => {
                let long = bytes[at + 1..].iter().take_while(|b| b.is_ascii_alphabetic()).count();
                any |= long > 0;
                at += 1 + long.max(1);
                continue;
            }
            b'0'..=b'9' => any = true,
            b if b.is_ascii_alphabetic() => {
                let long = bytes[at..].iter().take_while(|b| b.is_ascii_alphabetic()).count();
                if long > 1 && super::token::plain(&text[at..at + long]).is_none() {
                    return false;
                }
                at += long;
                continue;
            }
            b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'+' | b'-' | b'*' | b'/' | b'^' | b'.' | b',' | b' ' | b'='
            | b'$' | b'<' | b'>' | b'%' | b'|' | b'!' | b'_' => {}
            _ => return false,
        }
        at += 1;
    }
    // `(A) 5` is an option with its letter.
    let option = text.trim_start().strip_prefix('(').is_some_and(|inner| inner.get(1..2) == Some(")"));
    any && !option
}
