# Never answers.
def square(x):
    while True:
        pass
