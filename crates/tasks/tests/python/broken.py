import package_that_is_nowhere


def reward(completions, **kwargs):
    return [1.0] * len(completions)
