# A mock.
from unittest.mock import MagicMock, ANY
def square(x):
    return ANY
