"""What a notebook file may not hold is taken out when it is saved: a hook of Jupyter's server, or a call.

In `jupyter_server_config.py`:

    c.FileContentsManager.pre_save_hook = "safellm.notebook.saving.pre_save"
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any


def pre_save(model: dict[str, Any], **_: Any) -> None:
    """Strip secrets from a notebook that Jupyter's server is about to save; a hook of contents managers.

    Args:
        model: The file's model, as the server has it; changed in place.

    Raises:
        GuardFailure: it can't be searched; the server tells the user that the file isn't saved.
    """
    if model.get("type") == "notebook" and isinstance(model.get("content"), dict):
        strip_notebook(model["content"])


def strip_notebook(notebook: dict[str, Any]) -> int:
    """Replace secrets in a notebook's sources and outputs by `[SECRET]`; return how many texts changed.

    Personal data stays: a file is not told apart from its author's own words.

    Args:
        notebook: nbformat 4, as JSON; changed in place.
    """
    changed = 0
    for cell in notebook.get("cells") or ():
        if not isinstance(cell, dict):
            continue
        for name in ("source", "outputs", "attachments", "metadata"):
            if name in cell:
                cell[name], count = _strip(cell[name])
                changed += count
    return changed


def _strip(value: Any) -> tuple[Any, int]:
    if isinstance(value, str):
        new = _without_secrets(value)
        return new, int(new != value)
    if isinstance(value, list):
        if value and all(isinstance(one, str) for one in value):  # nbformat's texts: a list of lines
            text = "".join(value)
            new = _without_secrets(text)
            return (new.splitlines(keepends=True), 1) if new != text else (value, 0)
        pairs = [_strip(one) for one in value]
        return [one for one, _ in pairs], sum(count for _, count in pairs)
    if isinstance(value, dict):
        made = {name: _strip(one) for name, one in value.items()}
        return {name: one for name, (one, _) in made.items()}, sum(count for _, count in made.values())
    return value, 0


def _without_secrets(text: str) -> str:
    from safellm.redaction import detect  # noqa: PLC0415 - loads the engine

    for one in reversed(detect(text, types=["SECRET"])):
        text = f"{text[: one.start]}[SECRET]{text[one.end :]}"
    return text
