"""Token ids by someone else's tokenizer, as hashes: tests/fixtures/tokens-NAME-REFERENCE.json.

    python crates/model/scripts/tokens.py smollm2 llama.cpp
    python crates/model/scripts/tokens.py smollm2 transformers FOLDER

llama.cpp reads the GGUF file. transformers reads FOLDER, which RELIGN wrote from that file:

    relign convert FILE.gguf --out FOLDER --type f32
"""

import sys

import common


def llama_cpp(name):
    import llama_cpp

    llama = llama_cpp.Llama(str(common.model(name)), vocab_only=True, verbose=False)

    def encode(text, special):
        return llama.tokenize(text.encode(), add_bos=False, special=special) if text else []

    return f"llama-cpp-python {llama_cpp.__version__}", encode


def transformers(folder):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def encode(text, special):
        return tokenizer.encode(text, add_special_tokens=False, split_special_tokens=not special)

    return f"transformers {transformers.__version__}", encode


def main():
    name, kind, *rest = sys.argv[1:]
    reference, encode = llama_cpp(name) if kind == "llama.cpp" else transformers(*rest)
    sys.argv[3:] = ["FOLDER"] if rest else []
    sample = common.sample()
    common.write(
        f"tokens-{name}-{kind}.json",
        {
            "reference": reference,
            "model": common.MODELS[name],
            "sample_plain": [common.fnv([encode(text, False)]) for text in sample],
            "sample_special": [common.fnv([encode(text, True)]) for text in sample],
            "files": [
                {
                    "file": file,
                    "records": records,
                    "texts": sum(len(texts) for texts in common.chunks(file, records)),
                    "chunks": [common.fnv(encode(t, False) for t in texts) for texts in common.chunks(file, records)],
                }
                for file, records in common.FILES
            ],
        },
    )


main()
