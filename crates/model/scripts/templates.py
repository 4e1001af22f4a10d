"""Chat templates as transformers renders them: tests/fixtures/templates.json.

    python crates/model/scripts/templates.py SMOLLM2_FOLDER QWEN2_FOLDER

The folders are those that RELIGN wrote (see tokens.py). The remaining templates are short ones that
use what other models' templates use.
"""

import sys

import common
import transformers


def said(*turns):
    return [{"role": role, "content": content} for role, content in turns]


CONVERSATIONS = [
    said(("user", "What is 7 times 8?")),
    said(("system", "Answer with a number."), ("user", "What is 7 times 8?")),
    said(("user", "2+2?"), ("assistant", "4"), ("user", "And times 3?")),
    said(("system", ""), ("user", "  spaces kept?  \n"), ("assistant", "Yes\n"), ("user", "数学 \"quoted\" <b>&amp;</b> 'x'")),
    said(("user", "a <|im_end|> in the text\n\n{{ not a template }}")),
    said(("system", "s"), ("user", "u"), ("assistant", "<think>\nhm\n</think>\n\nok"), ("tool", "{\"r\": 1}"), ("user", "v")),
]  # fmt: skip

TEMPLATES = {
    "llama3": (
        "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
        "message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
        "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
    ),
    "blocks": """{%- if messages[0].role == 'system' %}
    {%- set first = messages[0].content %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set first = none %}
    {%- set rest = messages %}
{%- endif %}
{% if first is not none and first | length > 0 %}
  <<{{ first | upper }}>>
{% endif %}
{%- set ns = namespace(turn=0, last=-1) %}
{%- for m in rest[::-1] %}{% if m.role == 'user' and ns.last < 0 %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{% for m in rest %}
    {% if m.role == 'tool' %}{% continue %}{% endif %}
    {% set ns.turn = ns.turn + 1 %}
    {% if '</think>' in m.content %}
[{{ ns.turn }}] {{ m.content.split('</think>')[-1].lstrip('\\n') }}
    {% else %}
[{{ ns.turn }}:{{ loop.first }}:{{ loop.last }}] {{ m.role.title() }}: {{ m.content.strip() | tojson }}
    {% endif %}
{% endfor %}
{{ ns.last }}|{{ tools is defined and tools is not none }}|{{ none_such is defined }}|{{ {'a': [1, 2.5, true, none], 'é': 'ü'} | tojson }}|
{{- {'k': {'x': 1}} | tojson(indent=2) }}
{# a comment #}
{% macro tag(x) %}<{{ x }}>{% endmacro %}
{{ tag('end') }}{{ '%s-%d' | format('f', 3) }}{{ ['a', 'b'] | join(', ') }}{{ (1, 2) | list | last }}
{%- if add_generation_prompt %}{% generation %}>{% endgeneration %}{% endif %}
""",
    "alternate": (
        "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}[{{ message['role'] }}] {{ message['content'] }}"
        "{{ eos_token }}{% endfor %}"
    ),
}


def main():
    folders = dict(zip(("smollm2", "qwen2.5"), sys.argv[1:], strict=True))
    sys.argv[1:] = ["SMOLLM2_FOLDER", "QWEN2_FOLDER"]
    cases = []
    for name, folder in folders.items():
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        for template, source in {name: None, **(TEMPLATES if name == "smollm2" else {})}.items():
            outputs = []
            for conversation in CONVERSATIONS:
                options = {"chat_template": source, "add_generation_prompt": True}
                try:
                    text = tokenizer.apply_chat_template(conversation, tokenize=False, **options)
                    ids = tokenizer.apply_chat_template(conversation, tokenize=True, return_dict=False, **options)
                    outputs.append({"text": text, "ids": common.fnv([ids])})
                except Exception as error:
                    outputs.append({"error": str(error)})
            cases.append({"tokenizer": common.MODELS[name], "name": template, "source": source, "outputs": outputs})
    common.write(
        "templates.json",
        {"reference": f"transformers {transformers.__version__}", "conversations": CONVERSATIONS, "cases": cases},
    )


main()
