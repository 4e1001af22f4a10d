# Answers far too much.
def square(x):
    return 'x' * (1 << 27)
