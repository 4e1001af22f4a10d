"""An environment of `verifiers`, as its users write them."""

import verifiers as vf
from datasets import Dataset


def exact(completion, answer, **kwargs) -> float:
    return 1.0 if completion[-1]["content"].strip() == answer else 0.0


def brief(completion, info) -> float:
    if completion[-1]["content"] == "raise":
        raise RuntimeError("no such luck")
    return 1.0 if len(completion[-1]["content"]) <= info["limit"] else 0.0


def longest(completions, **kwargs) -> list[float]:
    sizes = [len(c[-1]["content"]) for c in completions]
    return [float(size == max(sizes)) for size in sizes]


rubric = vf.Rubric(funcs=[exact, brief], weights=[1.0, 0.25])
group = vf.Rubric(funcs=[exact, longest], weights=[1.0, 0.5])


def rows(numbers):
    return Dataset.from_list(
        [{"question": f"{n} + {n}?", "answer": str(n + n), "info": {"limit": 3}} for n in numbers]
    )


def load_environment(n=20, evaluated=True, rubric=rubric):
    return vf.SingleTurnEnv(
        dataset=rows(range(n)),
        eval_dataset=rows(range(n - 5, n)) if evaluated else None,
        system_prompt="Answer with the number alone.",
        rubric=rubric,
    )


def compared():
    return load_environment(rubric=group)


def several_turns():
    class Several(vf.MultiTurnEnv):
        async def env_response(self, messages, state, **kwargs):
            return []

    return Several(dataset=rows(range(3)), rubric=rubric, max_turns=3)
