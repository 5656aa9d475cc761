"""Canaries: random secrets that are easy to find again, and the search for them, raw and encoded.

canary = make_canary()
...                                     # run the program with the canary as its key or in its prompt
assert sweep(canary, paths=[log_folder], texts=provider.received) == []
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

_ALPHABET = "ABCDEFGHJKMNPQRSTVWXYZ23456789"
_LETTERS = 24  # of about 4.9 bits: no two tests meet, no text has one by chance
_READ_BYTES = 1 << 20
# Found in any case: percent and hexadecimal digits are written in both, and names of hosts and headers are lowered.
_ANY_CASE = ("raw", "url", "hex")
_MINIMUM = 8  # characters; shorter forms are found by chance


def make_canary(*, special: bool = False) -> str:
    """Return a random secret that appears nowhere else.

    Args:
        special: Add characters that JSON, URLs and UTF-8 write in other ways, so that each encoded form differs from
            the raw one.
    """
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(_LETTERS))
    return f'Canary{letters[:12]}"\\/é +&<{letters[12:]}' if special else f"Canary{letters}"


def encodings(canary: str) -> dict[str, bytes]:
    """Return the forms in which a text may hide, by name.

    Hexadecimal and percent forms are in lower case: search them in lowered bytes. Base64 forms are the middle that
    stays the same whatever stands before and after, one for each of the three alignments, in both alphabets.

    Raises:
        ValueError: The canary is shorter than 8 characters; its forms would be found by chance.
    """
    if len(canary) < _MINIMUM:
        message = f"a canary needs {_MINIMUM} characters or more"
        raise ValueError(message)
    raw = canary.encode("utf-8", "surrogatepass")
    forms = {
        "raw": raw,
        "json": json.dumps(canary)[1:-1].encode(),
        "json, unicode kept": json.dumps(canary, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass"),
        "json, slashes escaped": json.dumps(canary)[1:-1].replace("/", "\\/").encode(),
        "json twice": json.dumps(json.dumps(canary)[1:-1])[1:-1].encode(),
        "url": quote(raw, safe="").lower().encode(),
        "url, slashes kept": quote(raw).lower().encode(),
        "url, form": quote_plus(raw).lower().encode(),
        "url, every byte": "".join(f"%{byte:02x}" for byte in raw).encode(),
        "hex": raw.hex().encode(),
        "utf-16": canary.encode("utf-16-le", "surrogatepass"),
        "python": repr(canary)[1:-1].encode("utf-8", "surrogatepass"),
    }
    for alignment in range(3):
        middle = _base64_middle(raw, alignment)
        forms[f"base64, alignment {alignment}"] = middle
        forms[f"base64 for urls, alignment {alignment}"] = middle.translate(bytes.maketrans(b"+/", b"-_"))
    return forms


def sweep(canary: str, *, paths: Iterable[str | os.PathLike[str]] = (), texts: Iterable[str | bytes] = ()) -> list[str]:
    """Return every place where the canary stands, raw or encoded; an empty list is what a test wants.

    Args:
        canary: The secret.
        paths: Files, and folders with everything below them. Symbolic links below a folder are not followed.
        texts: Outputs, log lines, `repr`s, received bytes.

    Returns:
        Places such as `logs/a.jsonl: json` or `text 3: base64, alignment 1`; of forms that look alike the first one.

    Raises:
        OSError: A path can't be read: an unread file would prove nothing.
    """
    forms = _needles(encodings(canary))
    places = [f"text {index}: {name}" for index, text in enumerate(texts) for name in _names(forms, (_bytes(text),))]
    for path in paths:
        for file in _files(Path(path)):
            try:
                places += [f"{file}: {name}" for name in _names(forms, _windows(file, forms))]
            except FileNotFoundError:
                if file == Path(path):
                    raise
                # It was there when the folder was listed and is gone now, as journals of databases are.
    return places


def _base64_middle(raw: bytes, alignment: int) -> bytes:
    """Return the base64 characters that depend on `raw` alone when `alignment` bytes (0, 1, 2) stand before it."""
    coded = base64.b64encode(b"\0" * alignment + raw).rstrip(b"=")
    first = (alignment * 8 + 5) // 6  # characters that also hold bits of what stands before
    last = (alignment + len(raw)) * 8 // 6  # after this one, characters hold bits of what follows
    return coded[first:last]


def _needles(forms: dict[str, bytes]) -> dict[str, bytes]:
    """Return the distinct forms to search for, those of `_ANY_CASE` in lower case."""
    kept: dict[str, bytes] = {}
    for name, form in forms.items():
        needle = form.lower() if name.startswith(_ANY_CASE) else form
        if not {needle, needle.lower()} & set(kept.values()):
            kept[name] = needle
    return kept


def _names(forms: dict[str, bytes], windows: Iterable[bytes]) -> list[str]:
    found: set[str] = set()
    for window in windows:
        lowered = window.lower()
        for name, form in forms.items():
            if form in (lowered if name.startswith(_ANY_CASE) else window):
                found.add(name)
    return [name for name in forms if name in found]


def _bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, _, names in os.walk(path, onerror=_raise):
        for name in sorted(names):
            file = Path(folder, name)
            if file.is_file() and not file.is_symlink():
                yield file


def _raise(error: OSError) -> None:
    raise error


def _windows(file: Path, forms: dict[str, bytes]) -> Iterator[bytes]:
    """Yield the file in pieces that overlap by the longest form, so that a border hides nothing."""
    overlap = max(map(len, forms.values())) - 1
    with file.open("rb") as opened:
        kept = b""
        while piece := opened.read(_READ_BYTES):
            kept += piece
            yield kept
            kept = kept[-overlap:]
