"""`safellm ask`: one guarded question; reads standard input, so that it serves in shell scripts."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from safellm.cli.show import AsJson, cell, dollars, make_console, print_json
from safellm.cli.world import look
from safellm.errors import ConfigurationError, SafeLLMError

if TYPE_CHECKING:
    from safellm.asking import Asking, Told

_MOST_INPUT: Final = 4 * 1024 * 1024  # characters; far more than a model takes


def ask(  # noqa: PLR0913 - options of one command
    words: Annotated[
        list[str] | None, typer.Argument(metavar="QUESTION", help="The question; what is piped in follows it.")
    ] = None,
    *,
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="claude-… and gemini-… reach their own SDKs. Default: ask.model of the policy."
        ),
    ] = "",
    profile: Annotated[
        str, typer.Option("--profile", "-p", help="A server of OpenAI's dialect: ollama, groq, mistral, …")
    ] = "",
    base_url: Annotated[str, typer.Option("--base-url", help="Another server of OpenAI's dialect.")] = "",
    system: Annotated[str, typer.Option("--system", "-s", help="Instructions for the model.")] = "",
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest answer.")] = 4096,
    strip: Annotated[
        bool | None,
        typer.Option(
            "--strip/--no-strip",
            help="A line on standard error: what was hidden, tokens, cost. Default: on a terminal.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a model one question, guarded, and print the answer as it comes.

    git diff | safellm ask -m claude-sonnet-5-5 "Write a commit message"
    """
    from safellm.asking import Asking, Question

    text = _text(words or [])
    usual = look().policy.ask
    if not (model or profile):
        model, profile = usual.model, usual.profile
    if not (model or profile):
        raise ConfigurationError(
            "No model is named",
            remedy="Add --model NAME or --profile ollama, or set SAFELLM_ASK_MODEL or ask.model in the policy.",
        )
    question = Question(
        text=text, model=model, profile=profile, system=system, max_tokens=max_tokens, base_url=base_url
    )
    asking = Asking(question)
    answer = _answer(asking, show=not as_json)
    if as_json:
        print_json({"answer": answer, **asdict(asking.told)})
    elif strip if strip is not None else (sys.stderr is not None and sys.stderr.isatty()):
        _strip(asking.told)


def _text(words: list[str]) -> str:
    asked = " ".join(words).strip()
    piped = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read(_MOST_INPUT + 1).strip()
    if len(piped) > _MOST_INPUT:
        raise ConfigurationError(
            "More than 4 million characters were piped in", remedy="Send a part of it, for example with head."
        )
    text = "\n\n".join(part for part in (asked, piped) if part)
    # In a locale without UTF-8, such as C in a container, Python keeps the bytes of other letters as surrogates.
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if not text:
        raise ConfigurationError(
            "There is no question", remedy='Write: safellm ask -m MODEL "question", or pipe one in.'
        )
    return text


def _answer(asking: Asking, *, show: bool) -> str:
    """Return the answer, printed while it comes. Only safe text arrives here: the guards make controls visible."""
    pieces: list[str] = []
    try:
        for piece in asking:
            pieces.append(piece)
            if show:
                sys.stdout.write(piece)
                sys.stdout.flush()
    except SafeLLMError:
        raise
    except Exception as error:  # noqa: BLE001 - the SDKs have no error in common; it ends the command
        # The SDK's errors name no key; their first line says what the provider said.
        said = (str(error).splitlines() or [type(error).__name__])[0].removesuffix(".")
        url = getattr(getattr(error, "request", None), "url", None)
        if getattr(error, "status_code", None) is None and url is not None:  # nobody answered there
            said = f"{said} ({url.scheme}://{url.netloc.decode('ascii', 'replace').rpartition('@')[2]})"
        remedy = _remedy(error, asking.question.profile or asking.question.provider)
        raise ConfigurationError(f"There is no answer: {said}", remedy=remedy) from None
    finally:
        if show and pieces and not pieces[-1].endswith("\n"):
            sys.stdout.write("\n")
            sys.stdout.flush()
    return "".join(pieces)


def _remedy(error: Exception, provider: str) -> str:
    status = getattr(error, "status_code", None) or getattr(error, "code", None)
    said = str(error).lower()
    if status in (401, 403) or "api key" in said or "api_key" in said:
        return f"Store a key with: safellm keys set {provider} (add --store file where there is no key store)."
    return "Check the address, the model's name, the key (safellm keys test) and the network."


def words(told: Told) -> list[str]:
    """Return what the guards did to one question, in parts for people."""
    parts = [told.model] if told.model else []
    if told.hidden:
        parts.append(f"hidden from the provider: {_counts(told.hidden)}")
    changed = _counts({kind.replace("_", " "): count for kind, count in told.changed.items()})
    if changed:
        parts.append(f"made harmless: {changed}")
    if told.input_tokens is not None and told.output_tokens is not None:
        parts.append(f"{told.input_tokens:,} + {told.output_tokens:,} tokens")
    if told.micro_usd:
        parts.append(dollars(told.micro_usd))
    return parts


def _counts(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counted.items()) if count)


def _strip(told: Told) -> None:
    parts = words(told)
    if parts:  # the model's name is the provider's word: it is shown as text
        make_console(stderr=True).print(cell(" · ".join(parts), "dim"), soft_wrap=True)
