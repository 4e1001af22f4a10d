"""Numbers and the blocks that gguf-py makes of them: tests/fixtures/quant.json.

    python crates/model/scripts/quant.py
"""

import importlib.metadata

import common
import gguf
import numpy as np


def main():
    random = np.random.default_rng(11)
    values = random.standard_normal((8, 32)).astype("<f4") * np.array([[1], [0.02], [1e-6], [300], [0.5], [1], [1], [0]])
    values = values.astype("<f4")
    values[4] = np.round(values[4] * 8) / 8  # many halves to round
    values[5, 3], values[5, 9] = 4.0, -4.0  # two of the greatest magnitude
    values[6, 0] = -values[6].__abs__().max() * 2  # a negative one
    values[0, :6] = [1.00048828125, 1.00146484375, 0.99951171875, 3.0517578125e-05, 6e-08, -0.0]  # ties of F16 and BF16
    cases = []
    for name in ("F32", "F16", "BF16", "Q8_0", "Q4_0"):
        coded = gguf.quants.quantize(values, gguf.GGMLQuantizationType[name])
        cases.append({"type": name, "bytes": coded.tobytes().hex()})
    common.write(
        "quant.json",
        {"reference": f"gguf {importlib.metadata.version('gguf')}", "f32": values.tobytes().hex(), "cases": cases},
    )


main()
