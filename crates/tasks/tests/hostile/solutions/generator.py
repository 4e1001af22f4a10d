# Answers a generator, a function, a class.
def square(x):
    return (x for _ in iter(int, 1))
