"""Stage 5, for files: how many lines an upload has and how many of them stand in it twice (THREATS K.9, poisoned training data).

The lines' texts are cleaned, scored, searched and hidden by the guards beside this one, like all text.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm._core.bodies import MultipartBody
from safellm._core.call import Call
from safellm._core.textfiles import decode
from safellm._core.training import is_lines, repeats

NAME = "uploads"


def guard(call: Call) -> None:
    """Count the lines of files in a form."""
    if not isinstance(call.body, MultipartBody):
        return
    for part, _ in call.body.texts:
        decoded = decode(part.content) if part.file_name is not None else None
        if decoded is not None and is_lines(decoded.text):
            lines, doubled = repeats(decoded.text)
            counts = call.upload_counts
            counts["lines"] = counts.get("lines", 0) + lines
            counts["duplicates"] = counts.get("duplicates", 0) + doubled
