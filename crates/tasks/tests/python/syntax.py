def reward(completions, **kwargs)
    return 1
