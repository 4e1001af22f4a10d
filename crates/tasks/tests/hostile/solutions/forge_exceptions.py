# Raises what a harness might swallow.
def square(x):
    raise KeyboardInterrupt
