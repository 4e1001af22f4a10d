"""What reward models say, by transformers: heads over the tiny checkpoints of every family.

    python crates/model/scripts/heads.py

Writes tests/fixtures/heads.json: per family and kind of head its weights and its numbers for some texts. Run tiny.py
and families.py first.
"""

import common
import torch
import transformers

FAMILIES = ["llama", "mistral", "qwen2", "qwen3", "gemma3_text", "phi3", "olmo2"]
KINDS = {
    "sequence, 1 label": ("AutoModelForSequenceClassification", 1),
    "sequence, 2 labels": ("AutoModelForSequenceClassification", 2),
    "token, 2 labels": ("AutoModelForTokenClassification", 2),
}
GOOD, BAD = 7, 11


def figures(x):
    return [[float(f"{v:.6g}") for v in row] for row in x.double().tolist()]


def draw(shape, generator):
    """Numbers that bf16 holds."""
    return torch.randint(-32, 33, shape, generator=generator) / 32


def load(kind, family, **options):
    folder = common.FIXTURES / f"tiny-{family}"
    options |= {"dtype": torch.float32, "attn_implementation": "eager"}
    return getattr(transformers, kind).from_pretrained(folder, **options).eval()


def main():
    generator = torch.Generator().manual_seed(34)
    row = lambda n: torch.randint(3, 100, (n,), generator=generator).tolist()  # noqa: E731
    trunk = row(9)
    # Beginnings in common, one text that begins another, and padding at the end.
    texts = [trunk + row(12), trunk, trunk[:5] + row(8), row(17) + [0, 0]]
    places = [[3, 9, 20], [8], [0, 12], [16, 18]]
    cases = []
    for family in FAMILIES:
        for kind, (loader, labels) in KINDS.items():
            try:
                model = load(loader, family, num_labels=labels)
            except ValueError:  # Not every family has every head in transformers.
                print(f"{family}: transformers has no {loader} for it")
                continue
            tensors = {name: draw(tuple(p.shape), generator) for name, p in model.score.named_parameters()}
            model.score.load_state_dict(tensors)
            with torch.no_grad():
                # One text at a time: padding on the left or right is not what is compared here.
                logits = [model(torch.tensor([text])).logits[0] for text in texts]
            if kind.startswith("sequence"):
                numbers = [figures(value[None]) for value in logits]
            else:
                numbers = [figures(value[at]) for value, at in zip(logits, places, strict=True)]
            tensors = {f"score.{name}": value.tolist() for name, value in tensors.items()}
            cases.append({"family": family, "kind": kind, "tensors": tensors, "numbers": numbers})
        body, causal = load("AutoModel", family), load("AutoModelForCausalLM", family)
        with torch.no_grad():
            hidden = [body(torch.tensor([text])).last_hidden_state[0] for text in texts]
            logits = [causal(torch.tensor([text])).logits[0] for text in texts]
        if family == "qwen2":
            width = hidden[0].shape[1]
            head = torch.nn.Sequential(torch.nn.Linear(width, width // 2), torch.nn.ReLU(), torch.nn.Linear(width // 2, 2))
            tensors = {name: draw(tuple(p.shape), generator) for name, p in head.named_parameters()}
            head.load_state_dict(tensors)
            with torch.no_grad():
                numbers = [figures(head(value[at])) for value, at in zip(hidden, places, strict=True)]
            tensors = {f"score.{name}": value.tolist() for name, value in tensors.items()}
            cases.append({"family": family, "kind": "two layers", "tensors": tensors, "numbers": numbers})
        numbers = [figures(value[at][:, [GOOD, BAD]]) for value, at in zip(logits, places, strict=True)]
        cases.append({"family": family, "kind": "tokens", "tensors": {}, "numbers": numbers})
    reference = f"transformers {transformers.__version__}, torch {torch.__version__}"
    content = {"reference": reference, "texts": texts, "places": places, "tokens": [GOOD, BAD], "cases": cases}
    common.write("heads.json", content, compact=True)


main()
