"""Requests as token ids: `chat_requests.py MODEL_DIR GSM8K.jsonl chat|tree FIRST COUNT OUT.jsonl`.

chat: a question each, as the user's turn. tree: for each of COUNT trunks (a dialogue of worked problems)
64 requests, the trunk's first 100, 200, 300 and 400 tokens 16 times each, as search would branch from its nodes.
"""

import json
import sys

from transformers import AutoTokenizer

model_dir, data, kind, first, count, out = sys.argv[1:7]
first, count = int(first), int(count)
tokenizer = AutoTokenizer.from_pretrained(model_dir)
problems = [json.loads(line) for line in open(data)]


def tokens(messages):
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)


def question(problem):
    return {"role": "user", "content": problem["question"]}


def worked(problem):
    return [question(problem), {"role": "assistant", "content": problem["answer"]}]


requests = []
if kind == "chat":
    requests = [tokens([question(problem)]) for problem in problems[first : first + count]]
else:
    for tree in range(count):
        dialogue = [turn for problem in problems[first + 8 * tree : first + 8 * tree + 8] for turn in worked(problem)]
        trunk = tokens(dialogue)
        assert len(trunk) >= 400, len(trunk)
        requests += [trunk[:depth] for depth in (100, 200, 300, 400) for _ in range(16)]
with open(out, "w") as file:
    file.writelines(json.dumps({"tokens": list(map(int, request))}) + "\n" for request in requests)
print(json.dumps({"requests": len(requests), "tokens": sum(map(len, requests))}))
