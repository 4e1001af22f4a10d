"""Answers that are right or wrong by construction: the items of `./x bench verify`.

Each gold answer of a data set is rewritten as text, by rules that keep its meaning (typeset otherwise, in
another order, in other numbers, in a sentence) or change it (a digit, a sign, a bracket, an element). No rule
asks a computer algebra system or a grader; a rule that does not fit a gold answer makes nothing of it.
"""

import csv
import json
import random
import re

INTEGER = re.compile(r"-?\d+")
FRACTION = re.compile(r"(-?)\\[dt]?frac\{(\d+)\}\{(\d+)\}")
TUPLE = re.compile(r"(?:\\left)?([(\[])\s*(.*?)\s*(?:\\right)?([)\]])", re.S)
MATRIX = re.compile(r"(\\begin\{pmatrix\})(.*)(\\end\{pmatrix\})", re.S)
SENTENCES = [
    "The answer is ${}$.",
    "Adding both gives what was asked for. The final answer is ${}$.",
    "Hence the result is $\\boxed{{{}}}$.",
    "We check 12 cases, of which 7 are impossible.\n\nThe answer is: ${}$",
    "So, after simplifying, **Answer:** ${}$",
]
PLAIN_SENTENCES = [
    "The answer is {}.",
    "She has 3 + 4 = 7 of them, and so the answer is {}.",
    "First 12 / 4 = 3.\n#### {}",
    "That makes \\boxed{{{}}} in all.",
    "Altogether this is {}.",
]


def parts(text, separators=","):
    """`text` split at separators that stand outside all brackets, braces and numbers."""
    out, depth, start = [], 0, 0
    for at, c in enumerate(text):
        depth += (c in "([{") - (c in ")]}")
        thousands = c == "," and re.match(r"(\\!|\d{3}(?!\d))", text[at + 1 :]) and text[at - 1 : at].isdigit()
        if depth == 0 and c in separators and not thousands:
            out.append(text[start:at])
            start = at + 1
    return [*out, text[start:]]


def terms(text):
    """The terms of a sum with their signs, or nothing where it is none that these rules understand."""
    if re.search(r"=|,|\\pm|\\text|\\mbox|\\cup|\\begin|\\circ|%|<|>|\\in|_|:|\\le|\\ge", text):
        return []
    out, depth, start = [], 0, 0
    for at, c in enumerate(text):
        depth += (c in "([{") - (c in ")]}")
        if depth == 0 and c in "+-" and text[start:at].strip() and text[:at].rstrip()[-1] not in "^_(":
            out.append(text[start:at].strip())
            start = at
    out.append(text[start:].strip())
    return [term if term[0] in "+-" else "+" + term for term in out] if len(out) > 1 else []


def grouped(gold):
    """In parentheses where it has a sign or is a sum, so that it can be multiplied."""
    return f"({gold})" if terms(gold) or gold.startswith("-") else gold


def is_number(gold):
    return re.fullmatch(r"-?\d+", gold) is not None


def is_value(gold):
    """One number or formula: no list, equation, interval, unit, base or word."""
    words = r"=|,|\\pm|\\text|\\mbox|\\cup|\\begin|\\circ|%|\\\$|<|>|\\in|_|:|\\le|\\ge|\\infty|\\emptyset|\\approx|!|\$"
    mixed = re.search(r"\d\s*\\[dt]?frac", gold)
    return not mixed and not re.search(words, gold) and re.search(r"\d|\\pi|\\sqrt|[a-z]", gold) is not None and len(parts(gold)) == 1


def equal(gold, dice):
    """Rewritten forms that mean the same, each with the name of its rule."""
    yield "itself", gold
    spaced = re.sub(r"(?<![\\^_{(\[,=a-zA-Z])([+])(?![}])", r" \1 ", gold)
    yield "spaces", f"\\,{spaced}\\;"
    if "\\frac" in gold:
        yield "typeset", gold.replace("\\frac", "\\dfrac")
        yield "typeset", gold.replace("\\frac", "\\tfrac")
    if re.search(r"\\[dt]frac\{", gold):
        yield "typeset", re.sub(r"\\[dt]frac", r"\\frac", gold)
    if "\\left" not in gold and TUPLE.fullmatch(gold):
        yield "typeset", "\\left" + re.sub(r"(.)$", r"\\right\1", gold)
    if "\\left" in gold:
        yield "typeset", gold.replace("\\left", "").replace("\\right", "")
    if "pmatrix" in gold:
        yield "typeset", gold.replace("pmatrix", "bmatrix")
    if FRACTION.fullmatch(gold):
        sign, top, bottom = FRACTION.fullmatch(gold).groups()
        times = dice.randint(2, 9)
        yield "typeset", f"{sign}{top}/{bottom}"
        yield "rescaled", f"{sign}\\frac{{{int(top) * times}}}{{{int(bottom) * times}}}"
        left = int(bottom)
        for prime in (2, 5):
            while left % prime == 0:
                left //= prime
        if left == 1 and int(bottom) < 10**6:
            exact = f"{int(top) / int(bottom):.12f}".rstrip("0")
            yield "rescaled", sign + exact
    if is_number(gold):
        n, times = int(gold), dice.randint(2, 9)
        yield "rescaled", f"\\frac{{{n * times}}}{{{times}}}"
        yield "rescaled", gold + ".0"
        if abs(n) >= 1000:
            yield "typeset", f"{n:,}"
            yield "typeset", f"{n:,}".replace(",", "{,}")
        yield "named", f"x={gold}"
    if is_value(gold):
        yield "rescaled", f"\\frac{{2 \\cdot {grouped(gold)}}}{{2}}"
        yield "rescaled", f"{gold}+1-1"
    summed = terms(gold)
    if summed:
        turned = summed[1:] + summed[:1]
        yield "reordered", "".join(turned).removeprefix("+")
    listed = parts(gold)
    if len(listed) > 1 and not re.search(r"\\text|\\mbox|=|\\!", gold):
        yield "reordered", ",".join(listed[1:] + listed[:1]).strip()
        yield "reordered", f"\\{{{gold}\\}}"
    if "\\cup" in gold and "(" in gold:
        pieces = [piece.strip() for piece in gold.split("\\cup")]
        yield "reordered", " \\cup ".join(reversed(pieces))
    sides = gold.split("=")
    if len(sides) == 2 and "\\text" not in gold and "%" not in gold:
        yield "reordered", f"{sides[1].strip()} = {sides[0].strip()}"
        if re.search("[a-z]", sides[0]) and len(sides[0].strip()) > 1:
            yield "rescaled", f"3({sides[0]}) = 3({sides[1]})"


def another_digit(gold, dice):
    """One digit changed to another that is no zero."""
    digits = [at for at, c in enumerate(gold) if c.isdigit()]
    # A digit of a decimal fraction's end or of a command is as good as any.
    if not digits:
        return None
    at = dice.choice(digits)
    return gold[:at] + dice.choice([d for d in "123456789" if d != gold[at]]) + gold[at + 1 :]


def unequal(gold, dice):
    """Changed forms that mean something else, each with the name of its rule."""
    for _ in range(2):
        changed = another_digit(gold, dice)
        if changed:
            yield "digit", changed
    if re.search(r"[1-9]|\\pi", gold) and is_value(gold):
        yield "sign", gold[1:].strip() if gold.startswith("-") and not terms(gold) else f"-{grouped(gold)}"
        yield "value", f"{gold}+1"
        yield "value", f"10 \\cdot {grouped(gold)}"
    if is_number(gold):
        yield "value", str(int(gold) + 1)
        yield "value", gold + "0" if int(gold) else "10"
    fraction = FRACTION.fullmatch(gold)
    if fraction and fraction[2] != fraction[3] and int(fraction[2]):
        yield "value", f"{fraction[1]}\\frac{{{fraction[3]}}}{{{fraction[2]}}}"
    whole = TUPLE.fullmatch(gold)
    if whole and len(parts(whole[2])) > 1 and "\\cup" not in gold:
        other = {"(": "[", "[": "(", ")": "]", "]": ")"}
        left, inner, right = whole.groups()
        if "\\infty" not in parts(inner)[0]:
            yield "bracket", f"{other[left]}{inner}{right}"
        if "\\infty" not in parts(inner)[-1]:
            yield "bracket", f"{left}{inner}{other[right]}"
        elements = parts(inner)
        if elements[0].strip() != elements[1].strip():
            yield "order", f"{left}{','.join([elements[1], elements[0], *elements[2:]])}{right}"
        yield "element", f"{left}{inner},7{right}"
    elif "\\cup" in gold:
        yield "bracket", re.sub(r"\(", "[", gold, count=1) if not re.match(r"(\\left)?\s*\(\s*-\s*\\infty", gold) else gold.replace(") \\cup", "] \\cup", 1)
    listed = parts(gold)
    if len(listed) > 1 and not whole and not re.search(r"\\text|\\mbox|=|\\!|\\cup|\\begin", gold):
        yield "element", ",".join(listed[:-1])
        yield "element", f"{gold},8191"
    matrix = MATRIX.fullmatch(gold)
    if matrix:
        cells = re.split(r"(&|\\\\)", matrix[2])
        at = 2 * dice.randrange((len(cells) + 1) // 2)
        cells[at] = f"{cells[at].strip()}+1"
        yield "element", matrix[1] + "".join(cells) + matrix[3]


def latex_items(golds, seed):
    """Items whose answers are LaTeX between dollars, every second form in a sentence."""
    dice = random.Random(seed)
    for number, gold in enumerate(golds):
        forms = [(rule, form, True) for rule, form in equal(gold, dice)]
        forms += [(rule, form, False) for rule, form in unequal(gold, dice) if form != gold]
        for index, (rule, form, right) in enumerate(forms):
            yield {"gold": f"${gold}$", "answer": f"${form}$", "equal": right, "rule": rule}
            if index % 2 == 0:
                sentence = SENTENCES[(number + index) % len(SENTENCES)].format(form)
                yield {"gold": f"${gold}$", "answer": sentence, "equal": right, "rule": rule + ", in a sentence"}


def plain_items(golds, seed):
    """Items whose answers are plain numbers."""
    dice = random.Random(seed)
    for number, gold in enumerate(golds):
        n = int(gold.replace(",", ""))
        changed = another_digit(str(n), dice)
        right = [str(n), f"{n:,}", f"{n}.00", f"${n}"]
        wrong = [str(n + 1), f"{n}5", f"-{n}" if n else "1", changed if int(changed) != n else str(n + 2)]
        for equal_, forms in ((True, right), (False, wrong)):
            for index, form in enumerate(forms):
                sentence = PLAIN_SENTENCES[(number + index) % len(PLAIN_SENTENCES)].format(form)
                yield {"gold": gold, "answer": form, "equal": equal_, "rule": "number"}
                yield {"gold": gold, "answer": sentence, "equal": equal_, "rule": "number, in a sentence"}


def pair_items(path):
    """The pairs of a table: `gold`, `pred`, `expected`."""
    with open(path, newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield {
                "gold": f"${row['gold']}$",
                "answer": f"${row['pred']}$",
                "equal": row["expected"] == "1",
                "rule": row["source"],
            }


def case_items(path):
    """The rows of a table of reports: `gold`, `pred`, `right`. Bare formulas stand between dollars, as both sides ask."""
    said = re.compile(r"\$|box|nswer|####|\*\*|\\\[|Thus |So |cost |makes |✅")
    with open(path, newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            pred = row["pred"]
            yield {
                "gold": f"${row['gold']}$",
                "answer": pred if said.search(pred) else f"${pred}$",
                "equal": row["right"] == "1",
                "rule": row["source"],
            }


def whole_answer(value):
    """An answer as text: competition files hold some as floats."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def golds(path, key="answer"):
    with open(path) as file:
        return [whole_answer(json.loads(line)[key]) for line in file if line.strip()]


def gsm8k_golds(path):
    return [gold.rsplit("####", 1)[1].strip() for gold in golds(path)]
