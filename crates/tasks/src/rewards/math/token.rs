//! The tokens of LaTeX and plain text, and the commands and words that stand for them.

use super::exact::Exact;
use super::node::{Constant, Edge, Function, Relation};

/// A token with what stands around it.
#[derive(Clone, Debug)]
pub(super) struct Lexed<'a> {
    pub(super) token: Token<'a>,
    /// White space stands before it.
    pub(super) space: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    Number(Numeral<'a>),
    /// A variable: one letter, or a Greek one's name.
    Symbol(&'a str),
    /// Two or more letters in a row that are no known word.
    Word(&'a str),
    /// What stands within `\text{}`.
    Text(&'a str),
    Constant(Constant),
    Function(Function),
    Fraction,
    /// `\over`: what stands before it in its group, over what stands behind it.
    Over,
    /// The root of this degree, where no other is written.
    Root(i64),
    /// `\cos x+i\sin x`
    Cis,
    Binomial,
    Choose,
    Plus,
    Minus,
    PlusMinus(bool),
    Times,
    Slash,
    Caret,
    Underscore,
    Bang,
    Percent,
    Degree,
    Open(Edge),
    Close(Edge),
    BraceOpen,
    BraceClose,
    SetOpen,
    SetClose,
    Bar,
    Floor(bool),
    Ceil(bool),
    Comma,
    Semicolon,
    Colon,
    And,
    Or,
    /// `\ldots`
    Dots,
    /// `\therefore`
    Hence,
    /// `\pmod{7}`
    Modulo(&'a str),
    Relation(Relation),
    Union,
    Intersection,
    Without,
    Empty,
    Reals,
    Begin(&'a str),
    End(&'a str),
    Cell,
    Row,
    Currency(&'static str),
    /// Layout, or a full stop behind a value.
    Nothing,
}

/// A number as written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Numeral<'a> {
    pub(super) value: Exact,
    /// Digits behind the point, if there is one.
    pub(super) places: Option<u32>,
    pub(super) significant: u32,
    /// The digits, where it is nothing but digits.
    pub(super) digits: Option<&'a str>,
    /// An ellipsis follows: it has more digits than stand here.
    pub(super) cut: bool,
}

/// What a command means; `None` for one that is not known, `Some(Nothing)` for one without a meaning.
pub(super) fn command(name: &str) -> Option<Token<'static>> {
    use Token::{
        And, Binomial, Ceil, Choose, Close, Currency, Degree, Dots, Empty, Floor, Fraction, Hence, Intersection,
        Nothing, Open, Or, Over, PlusMinus, Reals, Root, Symbol, Times, Union, Without,
    };
    Some(match name {
        "frac" | "dfrac" | "tfrac" | "cfrac" | "nicefrac" | "sfrac" | "flatfrac" | "xfrac" | "textfrac" => Fraction,
        "over" => Over,
        "sqrt" | "surd" => Root(2),
        "cis" => Token::Cis,
        "binom" | "dbinom" | "tbinom" => Binomial,
        "choose" => Choose,
        "cdot" | "times" | "ast" | "cdotp" | "centerdot" => Times,
        "div" => Token::Slash,
        "pm" => PlusMinus(false),
        "mp" => PlusMinus(true),
        "pi" => Token::Constant(Constant::Pi),
        "infty" | "infin" => Token::Constant(Constant::Infinity),
        "circ" | "degree" | "degrees" => Degree,
        "cup" | "bigcup" => Union,
        "cap" | "bigcap" => Intersection,
        "setminus" | "smallsetminus" | "backslash" => Without,
        "emptyset" | "varnothing" | "O" => Empty,
        "lbrace" => Token::SetOpen,
        "rbrace" => Token::SetClose,
        "langle" => Open(Edge::Angle),
        "rangle" => Close(Edge::Angle),
        "lbrack" => Open(Edge::Square),
        "rbrack" => Close(Edge::Square),
        "vert" | "lvert" | "rvert" | "mid" | "given" => Token::Bar,
        "lfloor" => Floor(true),
        "rfloor" => Floor(false),
        "lceil" => Ceil(true),
        "rceil" => Ceil(false),
        "le" | "leq" | "leqslant" => Token::Relation(Relation::LessEqual),
        "ge" | "geq" | "geqslant" => Token::Relation(Relation::GreaterEqual),
        "lt" => Token::Relation(Relation::Less),
        "gt" => Token::Relation(Relation::Greater),
        "ne" | "neq" => Token::Relation(Relation::NotEqual),
        "in" => Token::Relation(Relation::In),
        "equiv" => Token::Relation(Relation::Congruent),
        "approx" | "simeq" | "thickapprox" => Token::Relation(Relation::Near),
        "coloneqq" | "coloneq" | "triangleq" | "doteq" => Token::Relation(Relation::Equal),
        "land" | "wedge" => And,
        "lor" | "vee" => Or,
        "ldots" | "dots" | "cdots" | "dotsc" | "dotsb" | "dotso" => Dots,
        "therefore" | "because" | "implies" | "Rightarrow" | "Longrightarrow" | "iff" | "Leftrightarrow"
        | "Longleftrightarrow" | "rightarrow" | "to" | "longrightarrow" => Hence,
        "R" | "Reals" | "reals" => Reals,
        "Z" | "integers" => Symbol("ℤ"),
        "N" => Symbol("ℕ"),
        "Q" => Symbol("ℚ"),
        "Complex" => Symbol("ℂ"),
        "textdollar" | "mathdollar" => Currency("$"),
        "euro" | "texteuro" | "EUR" => Currency("euro"),
        "pounds" | "textsterling" => Currency("£"),
        "yen" => Currency("¥"),
        "rupee" => Currency("rupee"),
        "cent" | "textcent" => Token::Text("cents"),
        "colon" => Token::Colon,
        "left" | "right" | "displaystyle" | "quad" | "mathbf" => Nothing,
        other => return word(other).or_else(|| (super::layout::arguments(other) == Some(0)).then_some(Nothing)),
    })
}

/// Functions and names that stand the same in LaTeX and in plain text.
pub(super) fn word(name: &str) -> Option<Token<'static>> {
    use Function::{
        Abs, Arccos, Arcsin, Arctan, Ceil, Cos, Cosh, Cot, Csc, Exp, Floor, Gcd, Lcm, Ln, Log, Max, Min, Sec, Sin,
        Sinh, Tan, Tanh,
    };
    Some(Token::Function(match name {
        "sin" => Sin,
        "cos" => Cos,
        "tan" | "tg" => Tan,
        "cot" | "ctg" => Cot,
        "sec" => Sec,
        "csc" | "cosec" => Csc,
        "arcsin" | "asin" => Arcsin,
        "arccos" | "acos" => Arccos,
        "arctan" | "atan" | "arctg" => Arctan,
        "sinh" => Sinh,
        "cosh" => Cosh,
        "tanh" => Tanh,
        "ln" => Ln,
        "log" | "lg" => Log,
        "exp" => Exp,
        "abs" => Abs,
        "floor" => Floor,
        "ceil" => Ceil,
        "gcd" => Gcd,
        "lcm" => Lcm,
        "max" => Max,
        "min" => Min,
        _ => return greek(name).map(Token::Symbol),
    }))
}

/// Words of plain text that are no functions.
pub(super) fn plain(name: &str) -> Option<Token<'static>> {
    Some(match name {
        "sqrt" => Token::Root(2),
        "cbrt" => Token::Root(3),
        "cis" => Token::Cis,
        "pi" | "Pi" | "PI" => Token::Constant(Constant::Pi),
        "infinity" | "inf" | "infty" | "oo" => Token::Constant(Constant::Infinity),
        "and" => Token::And,
        "or" => Token::Or,
        "union" => Token::Union,
        "binom" | "binomial" | "comb" | "nCr" | "ncr" => Token::Binomial,
        "pm" => Token::PlusMinus(false),
        _ => return word(name),
    })
}

/// The name of a Greek letter; variants are the same letter.
pub(super) fn greek(name: &str) -> Option<&'static str> {
    const LETTERS: &[&str] = &[
        "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu",
        "xi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda",
        "Xi", "Sigma", "Phi", "Psi", "Omega", "ell", "hbar", "triangle", "angle",
    ];
    let name = name.strip_prefix("var").unwrap_or(name);
    LETTERS.iter().find(|letter| **letter == name).copied()
}

/// What a character outside ASCII means.
pub(super) fn character(c: char) -> Option<Token<'static>> {
    Some(match c {
        '×' | '·' | '⋅' | '∙' | '∗' => Token::Times,
        '÷' | '∕' | '⁄' => Token::Slash,
        '−' | '–' | '‐' | '‑' => Token::Minus,
        '±' => Token::PlusMinus(false),
        '∓' => Token::PlusMinus(true),
        '≤' | '⩽' => Token::Relation(Relation::LessEqual),
        '≥' | '⩾' => Token::Relation(Relation::GreaterEqual),
        '≠' => Token::Relation(Relation::NotEqual),
        '∈' => Token::Relation(Relation::In),
        '∪' => Token::Union,
        '∩' => Token::Intersection,
        '∖' => Token::Without,
        '∅' | '⌀' | 'Ø' => Token::Empty,
        'ℝ' => Token::Reals,
        'ℤ' => Token::Symbol("ℤ"),
        'ℕ' => Token::Symbol("ℕ"),
        'ℚ' => Token::Symbol("ℚ"),
        'ℂ' => Token::Symbol("ℂ"),
        '≡' => Token::Relation(Relation::Congruent),
        '≈' | '≃' => Token::Relation(Relation::Near),
        '≔' | '≜' => Token::Relation(Relation::Equal),
        '∧' => Token::And,
        '∨' => Token::Or,
        '…' | '⋯' => Token::Dots,
        '∴' | '⇒' | '→' | '⟹' | '⟶' => Token::Hence,
        '∞' => Token::Constant(Constant::Infinity),
        'π' => Token::Constant(Constant::Pi),
        '√' => Token::Root(2),
        '°' | 'º' => Token::Degree,
        '⟨' | '〈' => Token::Open(Edge::Angle),
        '⟩' | '〉' => Token::Close(Edge::Angle),
        '⌊' => Token::Floor(true),
        '⌋' => Token::Floor(false),
        '⌈' => Token::Ceil(true),
        '⌉' => Token::Ceil(false),
        '€' => Token::Currency("euro"),
        '£' => Token::Currency("£"),
        '¥' | '￥' => Token::Currency("¥"),
        '₹' => Token::Currency("rupee"),
        '₽' => Token::Currency("ruble"),
        '₩' => Token::Currency("won"),
        '¢' => Token::Text("cents"),
        '%' => Token::Percent,
        '。' | '✅' | '✓' | '✔' | '☑' | '\u{fe0f}' | '□' | '■' | '∎' | '▢' | '\u{200b}' | '\u{feff}' => {
            Token::Nothing
        }
        'α' => Token::Symbol("alpha"),
        'β' => Token::Symbol("beta"),
        'γ' => Token::Symbol("gamma"),
        'δ' => Token::Symbol("delta"),
        'θ' => Token::Symbol("theta"),
        'λ' => Token::Symbol("lambda"),
        'μ' => Token::Symbol("mu"),
        'φ' | 'ϕ' => Token::Symbol("phi"),
        'ω' => Token::Symbol("omega"),
        'ρ' => Token::Symbol("rho"),
        'σ' => Token::Symbol("sigma"),
        'τ' => Token::Symbol("tau"),
        'ε' | 'ϵ' => Token::Symbol("epsilon"),
        'ψ' => Token::Symbol("psi"),
        'η' => Token::Symbol("eta"),
        'ξ' => Token::Symbol("xi"),
        'Δ' => Token::Symbol("Delta"),
        'Ω' => Token::Symbol("Omega"),
        '∠' => Token::Symbol("angle"),
        _ => return None,
    })
}
