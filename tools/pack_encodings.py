"""Writes the packed vocabularies of `safellm.stores.encodings`: `python tools/pack_encodings.py [--wheel FILE]`.

`tiktoken` fetches its vocabularies from the network when they are first used; a guard can't do that. `litellm`'s wheel carries
the very files under the names of tiktoken's cache. They are taken from there, believed only if their SHA-256 is the one that the
installed tiktoken pins, and packed: one byte of length for each token, then the bytes of all tokens in the order of their ranks.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import base64
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import tiktoken_ext.openai_public as public

NAMES = ("o200k_base", "cl100k_base")
TARGET = Path(__file__).parent.parent / "safellm" / "stores" / "encodings"


def main() -> None:
    """Pack all encodings and print the SHA-256 of what is in them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, help="a wheel of litellm; downloaded if not given")
    wheel = parser.parse_args().wheel
    with tempfile.TemporaryDirectory() as folder:
        archive = zipfile.ZipFile(wheel or _download(Path(folder)))
        for name in NAMES:
            data = pack(name, archive)
            (TARGET / f"{name}.bin").write_bytes(zlib.compress(data, 9))
            print(f'    "{name}": "{hashlib.sha256(data).hexdigest()}",')
        archive.close()


def pack(name: str, archive: zipfile.ZipFile) -> bytes:
    """Return one encoding: the length of its description, the description (JSON), lengths, bytes."""
    found: dict[bytes, int] = {}

    def load(url: str, expected_hash: str) -> dict[bytes, int]:
        cached = hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()
        member = next(one for one in archive.namelist() if one.endswith(f"/{cached}"))
        data = archive.read(member)
        if hashlib.sha256(data).hexdigest() != expected_hash:
            sys.exit(f"{member} is not what tiktoken pins for {name}")
        found.update(_ranks(data))
        return found

    loading = public.load_tiktoken_bpe
    public.load_tiktoken_bpe = load
    try:
        parts: dict[str, Any] = getattr(public, name)()
    finally:
        public.load_tiktoken_bpe = loading
    tokens = sorted(found, key=found.__getitem__)
    if [found[token] for token in tokens] != list(range(len(tokens))):
        sys.exit(f"The ranks of {name} have gaps")
    described = {"pat_str": parts["pat_str"], "special_tokens": parts["special_tokens"], "tokens": len(tokens)}
    description = json.dumps(described, sort_keys=True).encode()
    return b"".join([len(description).to_bytes(4, "big"), description, bytes(len(token) for token in tokens), *tokens])


def _ranks(data: bytes) -> dict[bytes, int]:
    lines = (line.split() for line in data.splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), "litellm"]
    subprocess.run(command, check=True)  # noqa: S603 - fixed words
    return next(folder.glob("litellm-*.whl"))


if __name__ == "__main__":
    main()
