# Crashes the interpreter.
# ends: signal
import ctypes
ctypes.string_at(0)
