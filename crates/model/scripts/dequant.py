"""Random quantised blocks and what gguf-py makes of them: tests/fixtures/dequant.json.

    python crates/model/scripts/dequant.py

Any bytes are valid blocks; only the f16 scales are kept finite. Block values are written as the bits
of f32, so that the comparison is exact.
"""

import importlib.metadata

import common
import gguf
import numpy as np

# Places of f16 scales within a block.
SCALES = {
    "F32": [], "F16": [0], "BF16": [], "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0],
    "IQ3_XXS": [0], "IQ3_S": [0], "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ1_S": [0], "IQ1_M": [],
    "TQ1_0": [52], "TQ2_0": [64], "MXFP4": [],
}  # fmt: skip


def main():
    random = np.random.default_rng(7)
    cases = []
    for name, places in SCALES.items():
        kind = gguf.GGMLQuantizationType[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = 16 if elements == 1 else 2
        if name == "F32":
            data = random.standard_normal(blocks).astype("<f4").view(np.uint8)
        elif name == "BF16":
            data = (random.standard_normal(blocks).astype("<f4").view("<u4") >> 16).astype("<u2").view(np.uint8)
        else:
            data = random.integers(0, 256, (blocks, size), dtype=np.uint8)
            for place in places:
                scale = random.standard_normal((blocks, 1)).astype("<f2")
                data[:, place : place + 2] = scale.view(np.uint8)
            if name == "IQ1_M":  # its scale is spread over the top nibbles of four words; the highest is the exponent's
                data[:, 55] = data[:, 55] & 0xBF
            if name == "MXFP4":
                data[:, 0] = [0, 130][:blocks]
            data = data.reshape(-1)
        values = gguf.quants.dequantize(data, kind).reshape(-1).astype("<f4")
        cases.append({"type": name, "bytes": data.tobytes().hex(), "f32": values.tobytes().hex()})
    common.write("dequant.json", {"reference": f"gguf {importlib.metadata.version('gguf')}", "cases": cases})


main()
