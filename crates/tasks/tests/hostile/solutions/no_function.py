# Is a number where a function is asked for.
square = 4
