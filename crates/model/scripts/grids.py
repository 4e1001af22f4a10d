"""The points of the IQ types, from gguf-py: src/gguf/dequant/grids.bin.

    python crates/model/scripts/grids.py

Tables in the order of `src/gguf/dequant/iq.rs`; a row is two bytes, eight coordinates of two bits or
four of four.
"""

import common
import gguf

ORDER = ["IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ1_S"]


def main():
    signs = gguf.quants.IQ2_XXS.ksigns
    assert all(byte == i | (i.bit_count() & 1) << 7 for i, byte in enumerate(signs))
    tables = []
    for name in ORDER:
        table = getattr(gguf.quants, name)
        raw = bytes.fromhex(table.grid_hex.decode())
        assert len(raw) == 2 * table.grid_shape[0], name
        tables.append(raw)
    (common.CRATE / "src/gguf/dequant/grids.bin").write_bytes(b"".join(tables))


main()
