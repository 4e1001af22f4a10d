"""Chat templates of this Python's packages, idioms and the files named, rendered as transformers renders them: JSON Lines."""

import ast
import datetime
import importlib.util
import json
import pathlib
import sys

from transformers.utils import chat_template_utils
from transformers.utils.chat_template_utils import _compile_jinja_template


class Clock(datetime.datetime):
    """A clock that stands."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 2, 29, 13, 2, 3)


chat_template_utils.datetime = Clock

SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the wéather of a <place>.",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "A town", "enum": ["Paris", "Zürich"]},
                "days": {"type": ["integer", "null"], "description": "How many days", "default": 1},
                "spots": {"type": "array", "items": {"type": "number"}},
                "how": {"type": "object", "properties": {"unit": {"type": "string"}}, "required": ["unit"]},
            },
            "required": ["place"],
        },
        "return": {"type": "string", "description": "The weather"},
    },
}
CALL = {"id": "call00001", "type": "function", "function": {"name": "weather", "arguments": {"place": "Paris", "days": 2, "x": 1.5, "ok": True, "no": None}}}
TEXT_CALL = {"id": "call00002", "type": "function", "function": {"name": "weather", "arguments": '{"place": "Paris"}'}}


def say(role, content, **more):
    return {"role": role, "content": content, **more}


USER = say("user", "  What is 2+2? <b>é</b> & 'x' \"y\"\n")
CONVERSATIONS = {
    "user": ([USER], {}),
    "system": ([say("system", " Be short. "), USER], {}),
    "turns": (
        [say("system", "Be short."), USER, say("assistant", "<think>\nTwo and two.\n</think>\n\n4"), say("user", "And 3+3?"),
         say("assistant", "6 "), say("user", "Thanks\r\nbye")],
        {},
    ),
    "answered": ([USER, say("assistant", "4", reasoning_content="Two and two.", thinking="Two and two.")], {}),
    "tools": ([say("system", "Be short."), USER], {"tools": [TOOL]}),
    "calls": (
        [USER, say("assistant", None, tool_calls=[CALL]), say("tool", "Sunny", tool_call_id="call00001", name="weather"),
         say("assistant", "It is sunny."), say("user", "And then?")],
        {"tools": [TOOL]},
    ),
    "calls in text": (
        [USER, say("assistant", "", tool_calls=[TEXT_CALL]), say("tool", '{"sky": "blue"}', tool_call_id="call00002", name="weather")],
        {"tools": [TOOL]},
    ),
    "two calls": (
        [USER, say("assistant", "I look.", tool_calls=[CALL, dict(CALL, id="call00003")]),
         say("tool", "Sunny", tool_call_id="call00001", name="weather"), say("tool", "Rain", tool_call_id="call00003", name="weather")],
        {"tools": [TOOL, TOOL]},
    ),
    "parts": ([say("user", [{"type": "text", "text": "What is this?"}, {"type": "image"}, {"type": "text", "text": " Say."}])], {}),
    "no content": ([USER, say("assistant", None), say("user", "?")], {}),
    "empty": ([], {}),
    "no thinking": ([USER], {"enable_thinking": False, "thinking": False, "reasoning_effort": "low"}),
    "thinking": ([say("system", "Be short. /think"), USER], {"enable_thinking": True, "thinking": True, "reasoning_effort": "high"}),
    "documents": ([USER], {"documents": [{"title": "T", "text": "One.", "contents": "One."}], "date_string": "01 Jan 2026"}),
    "alternation": ([USER, USER, say("assistant", "4"), say("assistant", "5")], {}),
    "developer": ([say("developer", "Be short."), USER], {"tools": []}),
}


# Idioms of which each is a template: what Python does where an engine of another language may differ.
IDIOMS = [
    "{{ none is iterable }}{{ x is iterable }}{{ 3 is iterable }}{{ 'a' is iterable }}{{ {} is iterable }}{{ true is iterable }}",
    "{{ x | length }}{{ x | count }}{{ messages[0].nothing | length }}", "{{ none | length }}", "{{ 3 | length }}",
    "{{ {'b': 1, 'a': ['é', none, 1.5, 1e16, 1e-5, true, '<&>']} | tojson }}",
    "{{ {'b': 1, 'a': ['é', {}, [], {'c': 'd'}]} | tojson(indent=2) }}", "{{ {'b': 1, 'a': 'é😀'} | tojson(ensure_ascii=True, sort_keys=True) }}",
    "{{ [1, {'a': 2}] | tojson(separators=(',', ':')) }}", "{{ [1, {'a': 2}] | tojson(separators=(',', ':'), indent=1) }}", "{{ x | tojson }}",
    "{{ [1, 2] | tojson(true) }}{{ 'é' | tojson(True) }}", "{{ {2: 2, none: 3, true: 4} | tojson }}", "{{ [x] | tojson }}", "{{ 'a\x07\x7f\u2028' | tojson }}",
    "{{ [1] | tojson(indent='\t') }}", "{{ [1] | tojson(indent=0) }}", "{{ (1, 2) | tojson }}", "{{ range(3) | tojson }}",
    "{{ 'a,b,,c'.rsplit(',', 1) }}{{ 'a b  c '.split() }}{{ 'a b  c '.split(none, 1) }}{{ ' a b c'.rsplit(maxsplit=1) }}{{ 'a b  c '.split(' ') }}",
    "{{ 'a--b--c'.split('--', maxsplit=1) }}{{ 'a'.split(',') }}{{ ''.split(',') }}{{ ''.split() }}", "{{ 'a'.split('') }}",
    "{{ 'k=v=w'.partition('=') | list }}{{ 'k=v=w'.rpartition('=')[0] }}{{ 'kv'.partition('=')[2] }}{{ 'kv'.rpartition('=')[2] }}",
        "{{ 'prefix-x'.removeprefix('prefix-') }}{{ 'x.py'.removesuffix('.py') }}{{ 'x'.removeprefix('y') }}",
    "{{ 'héllo'.index('l') }}{{ 'héllo'.find('l') }}{{ 'héllo'.rfind('l') }}{{ 'héllo'.find('l', 3) }}{{ 'héllo'.find('z') }}{{ 'abc'.find('c', -1) }}", "{{ 'abc'.index('z') }}",
    "{{ [1, 2, 3].index(2) }}{{ [1, 1].count(1) }}", "{{ [1].index(2) }}", "{{ '{} and {}'.format(1, 'b') }}{{ '{0}{1}{0}'.format('a', 'b') }}{{ '{x}'.format(x=3) }}",
    "{{ '{:>5}|{:<5}|{:^5}|{:05.2f}|{:,}'.format('a', 'b', 'c', 3.14159, 1234567) }}", "{{ '{:d}%'.format(5) }}{{ '{{}}'.format() }}",
    "{{ '%s is %d' % ('a', 3) }}", "{{ '%s' % 'a' }}{{ '%5.1f|%-5s|%03d|%x' % (3.14159, 'ab', 7, 255) }}", "{{ '%s' % none }}{{ '%s' % true }}", "{{ '%(a)s' % {'a': 1} }}",
    "{{ '%s-%s' | format('a', 'b') }}", "{{ '%s %s' | format(none, true) }}", "{{ 7 % 3 }}{{ -7 % 3 }}{{ 7 // 2 }}{{ -7 // 2 }}{{ 7 / 2 }}{{ 4 / 2 }}{{ 2 ** 3 }}{{ 1.0 }}{{ 2 * 1.5 }}",
    "{{ 'ab'.upper() }}{{ 'AB'.lower() }}{{ 'hello world'.title() }}{{ \"it's\".title() }}{{ 'hELLO'.capitalize() }}{{ 'aB'.swapcase() }}",
    "{{ ''.isdigit() }}{{ '12'.isdigit() }}{{ ''.isupper() }}{{ 'A1'.isupper() }}{{ 'a1'.islower() }}{{ ' '.isspace() }}{{ ''.isspace() }}{{ ''.isalpha() }}",
    "{{ '7'.zfill(3) }}{{ '-7'.zfill(4) }}{{ 'a'.ljust(3) }}|{{ 'a'.rjust(3, '*') }}|{{ 'a'.center(4) }}|{{ 'ab'.center(5, '-') }}",
    "{{ 'a\nb\r\nc\n'.splitlines() }}{{ 'a\nb'.splitlines(true) }}{{ '\x1c a \x1f'.strip() }}{{ 'xxaxx'.strip('x') }}{{ 'abc'.rstrip('cb') }}",
    "{{ ', '.join(['a', 'b']) }}", "{{ ', '.join([1]) }}", "{{ [1, none, true, 'a'] | join('|') }}{{ messages | join(', ', attribute='role') }}", "{{ none | join }}",
    "{{ 'a' ~ none ~ true ~ 1.0 ~ [1, 'b'] ~ x ~ {'a': none} }}", "{{ 1 + 2 ~ 3 * 4 }}", "{{ -1 ~ 2 }}", "{{ 'a' ~ 'b' | upper ~ 'c' }}", "{{ ('a' ~ true) | lower }}",
    "{% set a = 'a' ~ (true if 1 else 2) ~ [none ~ 1][0] %}{{ a }}", "{% if 'a' ~ true == 'aTrue' and not 'b' ~ 1 == 'c' %}y{% endif %}", "{{ f(1) }}", "{{ messages[0].content ~ messages[0]['x'] ~ '~' }}",
    "{%- set x = 1 ~ true -%} {{- x -}} ", "{{ {'a': 1 ~ none, 'b': 2}['a'] }}{{ 'ab' ~ 'cd'[0:1] }}", "{{ 1 ~ true if true else 2 ~ none }}",
    "{% for a in none %}x{% endfor %}", "{% for a in x %}x{% else %}none{% endfor %}", "{% for a in 3 %}x{% endfor %}", "{% for a in messages if a.role == 'user' %}{{ a.role }}{% endfor %}",
    "{% for k, v in {'a': 1, 'b': none}.items() %}{{ k }}={{ v }};{{ loop.index0 }}{{ loop.last }}{% endfor %}", "{% for a in [1, [2, [3]]] recursive %}{{ loop(a) if a is iterable else a }}{% endfor %}",
    "{% for a in 'abc' %}{{ a }}{% endfor %}", "{% for a in 1, 2 %}{{ a }}{% endfor %}", "{%- for a in messages -%}\n  {{ loop.previtem.role if loop.previtem is defined }}{{ loop.nextitem.role }}\n{%- endfor -%}",
    "{{ [1, 'a', none, true, 1.5, {'k': 'v'}, \"it's\", 'q\"', 'both\\'\"', 'n\n\té'] }}", "{{ {'a': [x]} }}", "{{ none }}{{ true }}{{ x }}{{ 1e20 }}{{ 0.1 }}{{ 1e-7 }}{{ 100000000000000000000 }}",
    "{{ 'a' | upper }}{{ true | upper }}{{ none | string }}{{ [1] | string | length }}{{ ' a ' | trim }}{{ 'xax' | trim('x') }}{{ 'hello wORLD' | title }}{{ 'hELLO' | capitalize }}{{ none | lower }}",
    "{{ x.y }}", "{{ x + 'a' }}", "{{ 'a' + x }}", "{{ x == none }}{{ x is defined }}{{ x is none }}{{ not x }}{{ x in ['a'] }}", "{{ 'a' in x }}", "{{ 'a' in none }}", "{{ 'a' + 1 }}", "{{ 'a' + none }}", "{{ 'a' * 3 }}{{ [1] * 2 }}",
    "{{ messages[0]['content'][:3] }}{{ 'héllo'[1:3] }}{{ 'abc'[-1] }}{{ [1, 2, 3][::-1] }}{{ [1, 2, 3][-2:] }}{{ 'abc'[::-1] }}", "{{ [1][5] }}", "{{ 'abc'[7] }}",
    "{{ {'a': 1}.get('b') }}{{ {'a': 1}.get('b', 2) }}{{ {'a': 1}.keys() | list }}{{ {'a': 1}.values() | list }}", "{{ {'items': 1}.items() | length }}{{ {'items': 1}['items'] }}",
    "{{ [3, 1, 2] | sort }}{{ ['b', 'A'] | sort }}{{ [1, 2, 3] | sum }}{{ [1, 2] | first }}{{ [1, 2] | last }}{{ [] | first }}",
    "{{ messages | map(attribute='role') | list }}{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ messages | rejectattr('role', 'in', ['user']) | map(attribute='role') | join(',') }}",
    "{{ [1, none, 0, 'a'] | select | list }}{{ ['a', 'b'] | map('upper') | list }}{{ [1, 2, 2] | unique | list }}{{ [3, 1] | min }}{{ [3, 1] | max }}{{ 'abc' | reverse }}{{ [1, 2] | reverse | list }}",
    "{{ x | default('d') }}{{ '' | default('d', true) }}{{ none | default('d') }}{{ none | d('e', boolean=true) }}", "{{ '3' | int }}{{ 'x' | int }}{{ 'x' | int(7) }}{{ '1.5' | float }}{{ 3.7 | int }}{{ 3.456 | round(1) }}{{ 3.5 | round }}{{ 2.5 | round | int }}{{ -3 | abs }}",
    "{{ 'a\nb' | indent }}{{ 'a\nb' | indent(2, true) }}{{ 'a\n\nb' | indent(2, first=true, blank=true) }}", "{{ 'a b c' | replace(' ', '-') }}{{ 'aaa'.replace('a', 'b', 1) }}{{ 'aaa' | replace('a', 'b', 2) }}{{ '<a>' | e }}{{ '<a>' | safe }}",
    "{% set ns = namespace(a=1, b=[]) %}{% for m in messages %}{% set ns.a = ns.a + 1 %}{% set ns.b = ns.b + [m.role] %}{% endfor %}{{ ns.a }}{{ ns.b }}", "{% set a = 1 %}{% for i in [1] %}{% set a = 2 %}{% endfor %}{{ a }}", "{% set a %}x{{ 1 }}{% endset %}{{ a }}{{ a | length }}",
    "{% macro f(a, b='d', c=none) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ f(1) }}{{ f(1, c=true) }}{{ f('x', 'y') ~ f(2) }}", "{% macro f(a) %}{{ caller() }}{{ a }}{% endmacro %}{% call f(1) %}in{% endcall %}", "{% generation %}{% set a = 1 %}{{ a }}{% endgeneration %}{{ a }}",
    "{% raw %}{{ a ~ b }}{% for %}{% endraw %}{# {{ #}{{ '{{' }}{{ '%}' }}{{ \"{%\" }}", "a\r\nb\rc\n{{ 'x\r\ny' }}\n", "  {% if true %}\n  a\n  {% endif %}\nb\n\n", "{%+ if true %} a{% endif %}", "{{ 1 }}\n\n", "{% if true -%}\n  a\n{%- endif %}  b",
    "{{ messages is sequence }}{{ 'a' is string }}{{ {} is mapping }}{{ 1 is number }}{{ 1 is integer }}{{ 1.0 is float }}{{ true is boolean }}{{ true is number }}{{ none is none }}{{ 'a' is sequence }}{{ x is undefined }}{{ true is true }}{{ 3 is odd }}{{ 4 is divisibleby(2) }}{{ 'a' is in 'abc' }}{{ 1 is sameas 1 }}",
    "{{ 1 == 1.0 }}{{ 1 == true }}{{ 'a' == 'a' }}{{ [1] == [1] }}{{ none == false }}{{ '1' == 1 }}{{ 1 < 2 < 3 }}{{ 'a' < 'b' }}{{ 1 in [1.0] }}", "{{ [1, 2] + [3] }}", "{{ true + 1 }}{{ true and 'a' }}{{ '' or 'b' }}{{ none or 0 }}",
    "{{ range(3) | list }}{{ range(1, 7, 2) | list }}{{ dict(a=1) }}", "{{ strftime_now('%d %b %Y') }}{{ strftime_now('%Y-%m-%d %H:%M:%S %A %B %j %I %p %-d %F %T') }}", "{{ raise_exception('no ' ~ 1) }}", "{{ bos_token ~ eos_token }}{{ unk_token }}",
    "{{ messages[0].content.strip().split('?')[0] | trim | length }}", "{% for m in messages %}{% if loop.index0 == 1 %}{% continue %}{% endif %}{% if loop.index0 == 3 %}{% break %}{% endif %}{{ m.role }}{% endfor %}", "{% if messages[0]['role'] == 'system' and messages[1:] | length > 2 %}y{% else %}n{% endif %}",
    "{{ 'é' | length }}{{ '😀'[0] }}{{ 'ß'.upper() }}{{ 'İ'.lower() | length }}", "{{ 'a' if false }}|{{ ('a' if false) is undefined }}", "{{ messages[0].pop('role') }}", "{{ [].append(1) }}", "{{ {}.update({}) }}", "{{ messages.0.role }}", "{{ messages[0]|attr('role') }}",
    "{% with a = 1, b = 2 %}{{ a ~ b }}{% endwith %}{{ a }}", "{% filter upper %}a{{ 'b' }}{% endfilter %}", "{{ [1, 2, 3, 4] | batch(2) | list }}{{ [1, 2, 3] | slice(2) | list }}{{ [{'a': 1}, {'a': 2}] | groupby('a') | length }}", "{{ 'x' | pprint }}{{ [1, 'x'] | pprint }}", "{{ 'a\\nb' }}{{ 'a\\'b' }}{{ 'a\\\\b' }}{{ '\\u00e9' }}{{ '\\x41' }}",
    "{{ 1_000 }}{{ 0x1f }}{{ 1.5e3 }}", "{{ 'a' 'b' }}", "{{ not true }}{{ not none ~ 'a' }}", "{{ True }}{{ None }}{{ False }}", "", "{{ 'abc' | list }}{{ {'a': 1} | list }}{{ 'a' | string is string }}", "{{ 'ab' is eq 'ab' }}{{ 1 is ne 2 }}{{ 3 is gt 2 }}", "{{ {'a': 1, 'b': 2} | length }}{{ {'a': 1} == {'a': 1} }}",
]


def sources():
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            yield path, file.read()
    for index, source in enumerate(IDIOMS):
        yield f"idiom {index}", source
    for package in ["trl", "transformers"]:
        spec = importlib.util.find_spec(package)
        if spec is None:
            continue
        root = pathlib.Path(spec.origin).parent
        for path in sorted(root.rglob("*.jinja")):
            yield f"{package}/{path.relative_to(root)}", path.read_text(encoding="utf-8")
        for path in sorted(root.rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            if "{%" not in source:
                continue
            for node in ast.walk(ast.parse(source)):
                text = node.value if isinstance(node, ast.Constant) else None
                if isinstance(text, str) and "{%" in text and "message" in text and "```" not in text:
                    yield f"{package}/{path.relative_to(root)}:{node.lineno}", text


def render(template, messages, arguments, answer):
    if template is None:
        return {"error": "no template"}
    # As PreTrainedTokenizerBase.apply_chat_template hands them over.
    given = {"tools": None, "documents": None, **arguments}
    try:
        text = template.render(messages=messages, add_generation_prompt=answer, **given, **SPECIALS)
        return {"text": text}
    except Exception as error:  # noqa: BLE001: whatever jinja2 raises is the outcome
        return {"error": f"{type(error).__name__}: {error}"}


def main():
    seen = set()
    for name, source in sources():
        if source in seen:
            continue
        seen.add(source)
        try:
            template = _compile_jinja_template(source)
        except Exception:  # noqa: BLE001: a piece of a template, or a text about one
            if not name.startswith("idiom"):
                continue
            template = None
        renders = [
            {"name": label, "messages": messages, "arguments": arguments, "answer": answer, **render(template, messages, arguments, answer)}
            for label, (messages, arguments) in CONVERSATIONS.items()
            for answer in (True, False)
            if not name.startswith("idiom") or (label == "turns" and answer)
        ]
        print(json.dumps({"name": name, "source": source, "specials": SPECIALS, "renders": renders}))


main()
