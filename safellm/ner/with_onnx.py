"""Models for token classification in ONNX, with `onnxruntime` and `tokenizers`: a few megabytes, no framework."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from safellm._core.plugged import Found

_EDGE: Final = 48  # tokens at a cut whose labels are taken from the next window, which sees more around them
_CHARACTERS: Final = 50_000  # characters that are split into tokens at once
_OVERLAP: Final = 500
_JOINING: Final = frozenset({"", " ", "-", "'", "\u2019", ". "})  # between two parts of one name
_JOINING_PLACES: Final = _JOINING | {", ", ",", "\n"}  # and of one address
_TRIMMED: Final = " \t\r\n,;:"


class OnnxEngine:
    """Implements `safellm.ner.Engine`.

    Args:
        folder: With config.json and tokenizer.json.
        file: The network.
        confidence: A token counts from this share on.
        threads: That the runtime may use.
    """

    def __init__(self, folder: Path, file: Path, *, confidence: float, threads: int) -> None:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        names = [str(config["id2label"][str(number)]) for number in range(len(config["id2label"]))]
        self._names = [_without_prefix(one) for one in names]
        self.labels = frozenset(one for one in self._names if one != "O")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # What stands before and after a text, as the tokenizer of this model has it: [CLS] and [SEP], <s> and </s>.
        self._before, self._after = _frame(self._tokenizer)
        longest = int(config.get("max_position_embeddings") or 512)
        self._length = min(longest - 2, 512) - len(self._before) - len(self._after)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, threads)
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # its messages would land on standard error
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._inputs = {one.name for one in self._session.get_inputs()}
        self._least = confidence

    def windows(self, text: str, types: Mapping[str, str]) -> Iterator[list[Found]]:
        """Return what is in a text, window by window."""
        kinds = sorted(set(types.values()))
        columns = [[n for n, name in enumerate(self._names) if types.get(name) == kind] for kind in kinds]
        start = 0
        while start < len(text):
            end = min(len(text), start + _CHARACTERS)
            yield from self._part(text, start, end, kinds, columns)
            start = end if end == len(text) else end - _OVERLAP

    def _part(
        self, text: str, start: int, end: int, kinds: Sequence[str], columns: Sequence[Sequence[int]]
    ) -> Iterator[list[Found]]:
        encoded = self._tokenizer.encode(text[start:end], add_special_tokens=False)
        ids, offsets = encoded.ids, encoded.offsets
        step = self._length - 2 * _EDGE
        tagged: list[tuple[int, int, str, float]] = []
        for first in range(0, max(1, len(ids)), step):
            last = first + self._length
            shares = self._shares(ids[first:last])
            # Tokens at a cut are left to the window that has them in its middle.
            low = first if first == 0 else first + _EDGE
            high = len(ids) if last >= len(ids) else last - _EDGE
            for place in range(low, min(high, len(ids))):
                sums = [float(shares[place - first, column].sum()) for column in columns]
                best = max(range(len(kinds)), key=sums.__getitem__)
                if sums[best] >= self._least:
                    a, b = offsets[place]
                    tagged.append((start + a, start + b, kinds[best], sums[best]))
            if last >= len(ids):
                break
            yield []  # the caller looks at its clock
        yield _joined(text, tagged)

    def _shares(self, ids: Sequence[int]) -> Any:
        row = np.array([[*self._before, *ids, *self._after]], dtype=np.int64)
        given = {"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": np.zeros_like(row)}
        logits = self._session.run(None, {name: value for name, value in given.items() if name in self._inputs})[0][0]
        logits = logits[len(self._before) : len(self._before) + len(ids)]
        raised = np.exp(logits - logits.max(-1, keepdims=True))
        return raised / raised.sum(-1, keepdims=True)


def _joined(text: str, tagged: list[tuple[int, int, str, float]]) -> list[Found]:
    """Return whole words, and neighbours of one type as one: a given name and a surname, the parts of an address."""
    found: list[Found] = []
    for start, end, kind, share in tagged:
        start, end = _whole_word(text, start, end)  # noqa: PLW2901 - half a name must not stay behind
        last = found[-1] if found else None
        joining = _JOINING_PLACES if kind == "LOCATION" else _JOINING
        if last is not None and last.type == kind and (start <= last.end or text[last.end : start] in joining):
            found[-1] = Found(last.start, max(end, last.end), kind, max(share, last.confidence))
        else:
            found.append(Found(start, end, kind, share))
    trimmed = [_trimmed(text, one) for one in found]
    return [one for one in trimmed if one.start < one.end]


def _whole_word(text: str, start: int, end: int) -> tuple[int, int]:
    if start >= end or _is_joined_script(text[start]):
        return start, end
    while start > 0 and text[start].isalnum() and text[start - 1].isalnum() and not _is_joined_script(text[start - 1]):
        start -= 1
    while end < len(text) and text[end - 1].isalnum() and text[end].isalnum() and not _is_joined_script(text[end]):
        end += 1
    return start, end


def _is_joined_script(letter: str) -> bool:
    """Return whether a letter is of a script that has no spaces between words (Chinese, Japanese, Thai and their like)."""
    return "\u0e00" <= letter <= "\u0eff" or "\u3040" <= letter <= "\u9fff" or "\U00020000" <= letter <= "\U0003ffff"


def _trimmed(text: str, one: Found) -> Found:
    part = text[one.start : one.end]
    start = one.start + len(part) - len(part.lstrip(_TRIMMED))
    return Found(start, start + len(part.strip(_TRIMMED)), one.type, one.confidence)


def _without_prefix(label: str) -> str:
    return label[2:] if label[:2] in ("B-", "I-", "E-", "S-", "L-", "U-") else label


def _frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    framed = tokenizer.encode("a").ids
    for place in range(len(framed) - len(plain) + 1):
        if framed[place : place + len(plain)] == plain:
            return framed[:place], framed[place + len(plain) :]
    return [], []
