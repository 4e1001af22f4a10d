"""Makes tests/fixtures/sampling.json: distributions that transformers' logits processors make of fixed logits.

    PYTHON crates/model/scripts/sampling.py

The processors run in the order in which `generate` runs them. Presence and frequency penalties, which transformers does
not have, follow OpenAI's formula: logit - count * frequency - (count > 0) * presence, over the answer's tokens.
"""

import importlib.metadata

import common
import torch
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.generation import logits_process as hf

VOCAB = 48
PROMPT = [3, 7, 7, 12, 40]
ANSWER = [5, 7, 20, 20, 20, 1]


class Counted(LogitsProcessor):
    def __init__(self, presence, frequency):
        self.presence, self.frequency = presence, frequency

    def __call__(self, input_ids, scores):
        counts = torch.zeros_like(scores)
        counts[0] = torch.bincount(torch.tensor(ANSWER), minlength=VOCAB)
        return scores - counts * self.frequency - (counts > 0) * self.presence


def processors(case):
    made = LogitsProcessorList()
    if "allowed" in case:
        made.append(hf.PrefixConstrainedLogitsProcessor(lambda *_: case["allowed"], num_beams=1))
    if "logit_bias" in case:
        made.append(hf.SequenceBiasLogitsProcessor([[[int(token)], bias] for token, bias in case["logit_bias"].items()]))
    if "repetition_penalty" in case:
        made.append(hf.RepetitionPenaltyLogitsProcessor(case["repetition_penalty"]))
    if "presence_penalty" in case or "frequency_penalty" in case:
        made.append(Counted(case.get("presence_penalty", 0.0), case.get("frequency_penalty", 0.0)))
    if "temperature" in case:
        made.append(hf.TemperatureLogitsWarper(case["temperature"]))
    if "top_k" in case:
        made.append(hf.TopKLogitsWarper(case["top_k"]))
    if "top_p" in case:
        made.append(hf.TopPLogitsWarper(case["top_p"]))
    if "min_p" in case:
        made.append(hf.MinPLogitsWarper(case["min_p"]))
    return made


CASES = [
    {},
    {"temperature": 0.6},
    {"temperature": 1.7},
    {"top_k": 1},
    {"top_k": 10},
    {"top_p": 0.9},
    {"top_p": 0.3, "temperature": 2.0},
    {"min_p": 0.08},
    {"min_p": 0.3, "temperature": 1.5},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7},
    {"presence_penalty": 1.5},
    {"frequency_penalty": 0.8},
    {"frequency_penalty": -0.5},
    {"logit_bias": {"2": 4.0, "30": -100.0, "31": 1.5}},
    {"allowed": [0, 5, 7, 20, 33, 47]},
    {"top_k": 20, "top_p": 0.8, "min_p": 0.05, "temperature": 0.8},
    {
        "allowed": list(range(0, 48, 2)) + [7],
        "logit_bias": {"4": 2.0},
        "repetition_penalty": 1.2,
        "presence_penalty": 0.4,
        "frequency_penalty": 0.3,
        "temperature": 1.3,
        "top_k": 16,
        "top_p": 0.95,
        "min_p": 0.02,
    },
]


def main():
    torch.manual_seed(11)
    # Few bits, so that they are the same numbers in JSON.
    logits = (torch.randn(1, VOCAB) * 160).round() / 128
    ids = torch.tensor([PROMPT + ANSWER])
    for case in CASES:
        case["probabilities"] = processors(case)(ids, logits.clone()).double().softmax(-1)[0].tolist()
        case["probabilities"] = [round(p, 10) for p in case["probabilities"]]
    common.write(
        "sampling.json",
        {
            "reference": f"transformers {importlib.metadata.version('transformers')}",
            "prompt": PROMPT,
            "answer": ANSWER,
            "logits": logits[0].tolist(),
            "cases": CASES,
        },
    )


main()
