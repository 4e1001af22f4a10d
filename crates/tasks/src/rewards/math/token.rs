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
    Root,
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
    /// `²` and the like.
    Superscript(i64),
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
    Currency,
    /// `\approx` before a value, a full stop behind it.
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
}

/// What a command means; `None` for one that is not known, `Some(Nothing)` for one without a meaning.
pub(super) fn command(name: &str) -> Option<Token<'static>> {
    use Token::{
        And, Binomial, Ceil, Choose, Close, Degree, Empty, Floor, Fraction, Intersection, Nothing, Open, PlusMinus,
        Reals, Root, Times, Union, Without,
    };
    Some(match name {
        "frac" | "dfrac" | "tfrac" | "cfrac" => Fraction,
        "sqrt" => Root,
        "binom" | "dbinom" | "tbinom" => Binomial,
        "choose" => Choose,
        "cdot" | "times" | "ast" | "cdotp" => Times,
        "div" => Token::Slash,
        "pm" => PlusMinus(false),
        "mp" => PlusMinus(true),
        "pi" => Token::Constant(Constant::Pi),
        "infty" | "infin" => Token::Constant(Constant::Infinity),
        "circ" | "degree" | "degrees" => Degree,
        "cup" | "bigcup" => Union,
        "cap" | "bigcap" => Intersection,
        "setminus" | "smallsetminus" | "backslash" => Without,
        "emptyset" | "varnothing" => Empty,
        "lbrace" => Token::SetOpen,
        "rbrace" => Token::SetClose,
        "langle" => Open(Edge::Angle),
        "rangle" => Close(Edge::Angle),
        "lbrack" => Open(Edge::Square),
        "rbrack" => Close(Edge::Square),
        "vert" | "lvert" | "rvert" | "mid" => Token::Bar,
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
        "land" | "lor" | "wedge" | "vee" => And,
        "R" | "Reals" => Reals,
        "colon" => Token::Colon,
        "left" | "right" | "big" | "Big" | "bigg" | "Bigg" | "bigl" | "bigr" | "Bigl" | "Bigr" | "displaystyle"
        | "textstyle" | "limits" | "quad" | "qquad" | "approx" | "boxed" | "fbox" | "bf" | "rm" | "it" | "mathbf"
        | "mathit" | "boldsymbol" | "bm" | "displaylimits" | "phantom" | "nolimits" | "hfill" | "newline" => Nothing,
        other => return word(other),
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
        "arctan" | "atan" => Arctan,
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
        "sqrt" => Token::Root,
        "pi" => Token::Constant(Constant::Pi),
        "infinity" | "inf" | "infty" | "oo" => Token::Constant(Constant::Infinity),
        "and" | "or" => Token::And,
        "union" => Token::Union,
        "binom" => Token::Binomial,
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
        '∅' | '⌀' => Token::Empty,
        'ℝ' => Token::Reals,
        '∞' => Token::Constant(Constant::Infinity),
        'π' => Token::Constant(Constant::Pi),
        '√' => Token::Root,
        '°' | 'º' => Token::Degree,
        '²' => Token::Superscript(2),
        '³' => Token::Superscript(3),
        '⟨' | '〈' => Token::Open(Edge::Angle),
        '⟩' | '〉' => Token::Close(Edge::Angle),
        '⌊' => Token::Floor(true),
        '⌋' => Token::Floor(false),
        '⌈' => Token::Ceil(true),
        '⌉' => Token::Ceil(false),
        '€' | '£' | '¥' | '₹' => Token::Currency,
        '≈' | '…' | '。' => Token::Nothing,
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
        _ => return None,
    })
}
