//! Units behind and before values, in their spellings and as products and quotients of one another.

/// Units and their powers, sorted, none twice.
pub(super) type Product = Vec<(&'static str, i8)>;

/// Spellings of a unit, the first of them its name here.
const UNITS: &[&[&str]] = &[
    &["cm", "centimeter", "centimeters", "centimetre", "centimetres", "cms"],
    &["mm", "millimeter", "millimeters", "millimetre", "millimetres"],
    &["km", "kilometer", "kilometers", "kilometre", "kilometres", "kms"],
    &["m", "meter", "meters", "metre", "metres"],
    &["in", "inch", "inches"],
    &["ft", "foot", "feet"],
    &["yd", "yard", "yards", "yds"],
    &["mi", "mile", "miles"],
    &["g", "gram", "grams"],
    &["kg", "kilogram", "kilograms", "kgs"],
    &["mg", "milligram", "milligrams"],
    &["lb", "pound", "pounds", "lbs"],
    &["oz", "ounce", "ounces"],
    &["ton", "tons"],
    &["s", "sec", "second", "seconds", "secs"],
    &["min", "minute", "minutes", "mins"],
    &["h", "hr", "hour", "hours", "hrs"],
    &["day", "days"],
    &["week", "weeks"],
    &["month", "months"],
    &["year", "years", "yr", "yrs"],
    &["l", "liter", "liters", "litre", "litres"],
    &["ml", "milliliter", "milliliters", "millilitre", "millilitres"],
    &["gal", "gallon", "gallons"],
    &["acre", "acres"],
    &["hectare", "hectares", "ha"],
    &["degree", "degrees", "deg"],
    &["celsius", "°c", "degrees celsius", "degree celsius"],
    &["fahrenheit", "°f", "degrees fahrenheit", "degree fahrenheit"],
    &["radian", "radians", "rad"],
    &["newton", "newtons"],
    &["joule", "joules"],
    &["watt", "watts"],
    &["hz", "hertz"],
    &["mol", "mole", "moles"],
    &["$", "dollar", "dollars", "usd", "us dollars", "bucks"],
    &["cent", "cents"],
    &["euro", "euros", "eur", "€"],
    &["£", "gbp", "pounds sterling"],
    &["¥", "yen", "jpy", "yuan", "rmb", "cny"],
    &["rupee", "rupees", "inr", "rs"],
    &["am"],
    &["pm"],
];

/// Names of quotients.
const QUOTIENTS: &[(&[&str], &str, &str)] =
    &[(&["mph"], "mi", "h"), (&["kph", "kmh", "kmph"], "km", "h"), (&["mps"], "m", "s"), (&["fps"], "ft", "s")];

/// Money before an amount: the code's unit. What may be a product of letters needs its full stop.
pub(super) fn currency(word: &str, stopped: bool) -> Option<&'static str> {
    Some(match word {
        "USD" => "$",
        "EUR" => "euro",
        "GBP" => "£",
        "JPY" | "CNY" | "RMB" => "¥",
        "INR" | "Rs" => "rupee",
        "Rp" | "Tk" | "Fr" if stopped => "money",
        _ => return None,
    })
}

/// Whether a unit is one of money.
pub(super) fn is_money(name: &str) -> bool {
    matches!(name, "$" | "cent" | "euro" | "£" | "¥" | "rupee" | "money" | "ruble" | "won")
}

fn named(word: &str) -> Option<&'static str> {
    UNITS.iter().find(|names| names.contains(&word)).map(|names| names[0])
}

/// Adds a unit to a product.
pub(super) fn multiply(product: &mut Product, name: &'static str, power: i8) {
    match product.iter_mut().find(|(known, _)| *known == name) {
        Some((_, old)) => *old = old.saturating_add(power),
        None => product.push((name, power)),
    }
    product.retain(|(_, power)| *power != 0);
    product.sort_unstable();
}

/// Whether the text is nothing but a unit.
pub(super) fn is_unit(text: &str) -> bool {
    read(text).is_some()
}

/// The product of units that a text is; `None` where it is anything else.
pub(super) fn read(text: &str) -> Option<Product> {
    if text.len() > 70 || text.is_empty() {
        return None;
    }
    let lower = text.trim().to_ascii_lowercase();
    if let Some(name) = named(&lower) {
        return Some(vec![(name, 1)]);
    }
    let mut product = Product::new();
    let (mut sign, mut pending, mut last) = (1_i8, 1_i8, None::<(&'static str, i8)>);
    let mut rest = lower.as_str();
    while let Some(c) = rest.chars().next() {
        if c.is_alphabetic() || matches!(c, '$' | '€' | '°') {
            let end = rest.find(|c: char| !c.is_alphabetic() && !matches!(c, '$' | '€' | '°')).unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            rest = behind;
            match word {
                "per" => sign = -1,
                "a" | "an" | "each" if sign == -1 => {}
                "square" | "sq" => pending = 2,
                "cubic" | "cu" => pending = 3,
                "squared" | "cubed" => {
                    let (name, power) = last?;
                    multiply(&mut product, name, power * if word == "squared" { 1 } else { 2 });
                }
                _ => {
                    let (name, power) = (word, sign * pending);
                    if let Some((_, top, bottom)) = QUOTIENTS.iter().find(|(names, ..)| names.contains(&name)) {
                        multiply(&mut product, top, power);
                        multiply(&mut product, bottom, -power);
                        last = None;
                    } else {
                        let name = named(name)?;
                        let (raised, behind) = exponent(rest)?;
                        rest = behind;
                        multiply(&mut product, name, power * raised);
                        last = Some((name, power));
                    }
                    (sign, pending) = (1, 1);
                }
            }
        } else if c == '\\' {
            let long = rest[1..].bytes().take_while(u8::is_ascii_alphabetic).count();
            match &rest[1..=long] {
                "" | "text" | "mathrm" | "rm" | "cdot" | "quad" | "textrm" | "mathit" | "times" => {}
                _ => return None,
            }
            let more = usize::from(long == 0 && rest[1..].starts_with([',', ';', ':', ' ', '!']));
            rest = &rest[1 + long + more..];
        } else {
            match c {
                '/' => sign = -1,
                ' ' | '\t' | '.' | '{' | '}' | '~' | '*' | '·' | '-' | '(' | ')' => {}
                _ => return None,
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    (!product.is_empty() && sign == 1 && pending == 1).then_some(product)
}

/// The product of units that a text with an exponent behind it is: the exponent is the last unit's.
pub(super) fn raised(text: &str, power: i8) -> Option<Product> {
    if power == 1 { read(text) } else { read(&format!("{}^{power}", text.trim_end())) }
}

/// The exponent that `text` begins with, 1 where there is none, and what follows it.
fn exponent(text: &str) -> Option<(i8, &str)> {
    let Some(inner) = text.strip_prefix('^').or_else(|| text.strip_prefix("**")) else {
        // `cm2`
        let long = text.bytes().take_while(u8::is_ascii_digit).count();
        return match (long, &text[..long]) {
            (0, _) => Some((1, text)),
            (1, "2") => Some((2, &text[1..])),
            (1, "3") => Some((3, &text[1..])),
            _ => None,
        };
    };
    let inner = inner.trim_start_matches(['{', '(', ' ']);
    let (sign, inner) = inner.strip_prefix('-').map_or((1, inner), |rest| (-1, rest));
    let power = inner.bytes().next().filter(|b| (b'1'..=b'9').contains(b))?;
    Some((sign * (power - b'0') as i8, inner[1..].trim_start_matches(['}', ')'])))
}
