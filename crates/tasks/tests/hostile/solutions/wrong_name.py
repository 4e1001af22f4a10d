# Defines something else.
def squared(x):
    return x * x
