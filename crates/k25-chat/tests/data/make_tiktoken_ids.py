"""Writes tiktoken_ids.json: ids by Python's tiktoken (0.14.0), the oracle of tests/tokenizer_reference.rs.

    pip install tiktoken==0.14.0 && python make_tiktoken_ids.py

Two vocabularies: `fixture` is fixtures/tokenizer; `pairs` has the 256 bytes and then every pair of
bytes, so that the ids show where the pieces end. Ids are kept as their number and a checksum
(FNV-1a, 64 bits, over the ids as little-endian 32-bit integers). Texts are lists of [unit, repeat].
`plain` is the encoding with specials disallowed, `specials` with all of them allowed; both cut the
text first as the family's stock tokenizer does.
"""

import base64
import json
import random
from pathlib import Path

import tiktoken

HERE = Path(__file__).parent
FIXTURE = HERE / "../../../../fixtures/tokenizer"
PATTERN = json.loads((FIXTURE / "vectors.json").read_text())["pattern"]

ATOMS = [
    "a", "b", "s", "t", "re", "LL", "'", "'s", "'Ve", "'ſ", "ſ", "A", "B", "É", "é", "ǅ", "ʰ", "ƻ",
    "한", "か", "ー", "々", "〇", "漢", "字", "⼀", "𠀀", "\u0301", "\u094d", "\U00016ff0", "1", "23",
    "4567", "Ⅷ", "½", "３", ".", ",", "!!", "<|", "_", "🚀", "\u200d", "\ufeff", "\0", "\x1c", " ",
    "  ", "\t", "\xa0", "\u3000", "\x85", "\u2028", "\x0b", "\n", "\r", "\r\n",
]
SPECIALS = ["<|im_end|>", "</think>", "[BOS]", "<|im_en", "d|>", "<|reserved_token_1029|>", "<"]


def fixture_encoding():
    ranks = {}
    for line in (FIXTURE / "tiktoken.model").read_text().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    config = json.loads((FIXTURE / "tokenizer_config.json").read_text())
    names = {int(i): t["content"] for i, t in config["added_tokens_decoder"].items()}
    n = len(ranks)
    specials = {names.get(i, f"<|reserved_token_{i}|>"): i for i in range(n, n + 256)}
    return tiktoken.Encoding("fixture", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=specials)


def pairs_encoding():
    ranks = {bytes([a]): a for a in range(256)}
    ranks |= {bytes([a, b]): 256 + 256 * a + b for a in range(256) for b in range(256)}
    return tiktoken.Encoding("pairs", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})


def slices(text, max_chars=400_000, max_run=25_000):
    for begin in range(0, len(text), max_chars):
        part = text[begin : begin + max_chars]
        start, run, blank = 0, 0, None
        for i, c in enumerate(part):
            run = run + 1 if c.isspace() == blank else 1
            blank = c.isspace()
            if run > max_run:
                yield part[start:i]
                start, run = i, 1
        yield part[start:]


def summary(ids):
    checksum = 0xCBF29CE484222325
    for byte in b"".join(i.to_bytes(4, "little") for i in ids):
        checksum = (checksum ^ byte) * 0x100000001B3 % 2**64
    return {"count": len(ids), "fnv1a": f"{checksum:016x}"}


def case(encodings, parts):
    text = "".join(unit * repeat for unit, repeat in parts)
    fixture, pairs = encodings
    plain = lambda e: [i for s in slices(text) for i in e.encode(s, disallowed_special=())]
    return {
        "parts": parts,
        "pairs": summary(plain(pairs)),
        "plain": summary(plain(fixture)),
        "specials": summary([i for s in slices(text) for i in fixture.encode(s, allowed_special="all")]),
    }


def main():
    rng = random.Random(20261121)
    encodings = fixture_encoding(), pairs_encoding()
    cases = []
    for _ in range(700):
        atoms = ATOMS + SPECIALS * rng.randrange(2)
        cases.append(case(encodings, [["".join(rng.choices(atoms, k=rng.randrange(1, 20))), 1]]))
    for _ in range(150):
        text = "".join(chr(rng.choice([rng.randrange(0x3000), rng.randrange(0xE000, 0x110000)])) for _ in range(12))
        cases.append(case(encodings, [[text, 1]]))
    for unit in ["a", "A", " ", "\n", "\t", "漢", "🚀", "\u0301", "e\u0301", "1", "!", "\x1c", "한", "aB", " x", "\n ", "'s"]:
        cases.append(case(encodings, [[unit, 1_000_000 // len(unit.encode())], ["x", 1]]))
    for before in [24_990, 24_995, 24_996, 24_997, 24_998, 24_999, 25_000]:
        cases.append(case(encodings, [["a", before], ["[BOS]", 1], ["b", 10]]))
    for before in [133_330, 133_331, 133_332, 133_333]:
        cases.append(case(encodings, [["ab ", before], ["</think>", 3], ["x", 30_000]]))
    for repeat in [24_999, 25_000, 25_001, 50_001]:
        cases.append(case(encodings, [[" ", repeat], ["\n", 2], [" ", repeat], ["x", 1], ["\u3000", repeat]]))
    (HERE / "tiktoken_ids.json").write_text(
        "[\n" + ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases) + "\n]\n"
    )


main()
