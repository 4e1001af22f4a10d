# Answers something endlessly deep.
def square(x):
    deep = []
    deep.append(deep)
    return deep
