"""`%%ask MODEL` and `%safellm`."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shlex
import time
from typing import Any, Final

from safellm.errors import ConfigurationError, SafeLLMError

_REFRESH_S: Final = 0.1
_USE: Final = (
    "%safellm key NAME   store a key, typed unseen (openai, anthropic, google, groq, …)\n"
    "%safellm show       show personal data in outputs from now on; it is saved with the notebook\n"
    "%safellm hide       hide it again\n"
    "%safellm budget     what is left\n"
    "%%ask MODEL         ask the cell's text, guarded; --system TEXT, --profile NAME, --max-tokens N"
)


def register(shell: Any) -> None:
    """Add the magics."""
    shell.register_magic_function(_safellm, magic_kind="line", magic_name="safellm")
    shell.register_magic_function(_ask, magic_kind="cell", magic_name="ask")


def _safellm(line: str) -> None:
    from IPython.core.error import UsageError  # noqa: PLC0415

    from safellm.notebook import keys, outputs, strip  # noqa: PLC0415

    words = line.split()
    match words:
        case ["key", name]:
            typed = keys.ask_person(f"Key for {name} (not shown): ", hidden=True)
            if typed and typed.strip():
                keys.store(name, typed)
        case ["show"]:
            outputs.state.show_personal = True
            print("safellm: personal data is shown in outputs, and saved with them. %safellm hide ends it.")  # noqa: T201
        case ["hide"]:
            outputs.state.show_personal = False
        case ["budget"]:
            print("\n".join(strip.left()) or "No limit is set.")  # noqa: T201
        case [_, *_] if words != ["help"]:
            raise UsageError(f"There is no %safellm {line.strip()}. There is:\n{_USE}")
        case _:
            print(_USE)  # noqa: T201


def _ask(line: str, cell: str) -> Any:
    from IPython import display as shows  # noqa: PLC0415
    from IPython.core.error import UsageError  # noqa: PLC0415

    from safellm.asking import Asking  # noqa: PLC0415
    from safellm.notebook import outputs  # noqa: PLC0415
    from safellm.notebook.strip import Strip  # noqa: PLC0415
    from safellm.sinks import markdown  # noqa: PLC0415

    display: Any = shows.display  # its types say nothing
    shown: Any = None
    said, last = "", 0.0

    def show() -> None:
        nonlocal shown, last
        bundle = {"text/markdown": str(markdown(said)), "text/plain": said}
        if shown is None:
            shown = display(bundle, raw=True, display_id=True)
        else:
            shown.update(bundle, raw=True)
        last = time.monotonic()

    try:
        asking = Asking(_question(line, cell))
        for piece in asking:
            said += piece
            if time.monotonic() - last > _REFRESH_S:
                show()
    except SafeLLMError as error:
        raise UsageError(str(error)) from None
    if said:
        show()
    display(Strip(asking.told, covered=outputs.covers(said)))


def _question(line: str, cell: str) -> Any:
    from safellm.asking import Question  # noqa: PLC0415
    from safellm.stores.settings import load_policy  # noqa: PLC0415

    if not cell.strip():
        raise ConfigurationError("There is no question", remedy="Write it below %%ask.")
    usual = load_policy(environ=_environ()).policy.ask
    given: dict[str, Any] = {"model": "", "profile": ""}
    words = iter(shlex.split(line))
    for word in words:
        if word.startswith("--"):
            name = word[2:].replace("-", "_")
            if name not in {"system", "profile", "max_tokens", "base_url"}:
                raise ConfigurationError(
                    f"There is no option {word}", remedy="There are --system, --profile, --max-tokens."
                )
            value = next(words, "")
            given[name] = int(value) if name == "max_tokens" else value
        else:
            given["model"] = word
    if not (given["model"] or given["profile"]):
        given |= {"model": usual.model, "profile": usual.profile}
    if not (given["model"] or given["profile"]):
        raise ConfigurationError("No model is named", remedy="Write: %%ask MODEL, or set ask.model in the policy.")
    return Question(text=cell.strip(), **given)


def _environ() -> dict[str, str]:
    import os  # noqa: PLC0415

    return dict(os.environ)
