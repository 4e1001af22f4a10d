# Is no program.
def square(x:
    return x * x
