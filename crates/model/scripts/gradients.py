"""Gradients of the tiny checkpoints by transformers and autograd.

    python crates/model/scripts/gradients.py

Writes tests/fixtures/gradients.json: for a weighted sum of log-probabilities of every next token, its value and,
of each parameter's gradient, the norm and eight elements, evenly spaced from the first to the last. Run tiny.py first.
"""

import common
import torch
import transformers


def figures(x):
    return [float(f"{v:.7g}") for v in torch.as_tensor(x).double().flatten().tolist()]


def case(family, ids, weights):
    model = transformers.AutoModelForCausalLM.from_pretrained(common.FIXTURES / f"tiny-{family}", dtype=torch.float32)
    row = torch.tensor(ids)
    logp = model(row[None]).logits[0, :-1].log_softmax(-1)
    loss = (logp.gather(1, row[1:, None])[:, 0] * torch.tensor(weights)).sum()
    loss.backward()
    gradients = {}
    for name, parameter in model.named_parameters():
        flat = parameter.grad.double().flatten()
        at = [(len(flat) - 1) * i // 7 for i in range(8)]
        gradients[name] = {"norm": figures(flat.norm())[0], "at": figures(flat[at])}
    return {"loss": figures(loss)[0], "gradients": gradients}


def main():
    generator = torch.Generator().manual_seed(21)
    # Not the padding token, whose gradient transformers leaves out.
    ids = torch.randint(3, 128, (150,), generator=generator).tolist()
    weights = figures(torch.randn(149, generator=generator))
    families = {family: case(family, ids, weights) for family in ("llama", "qwen2")}
    reference = f"transformers {transformers.__version__}, torch {torch.__version__}"
    common.write("gradients.json", {"reference": reference, "ids": ids, "weights": weights, "families": families})


main()
