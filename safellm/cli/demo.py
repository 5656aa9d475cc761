"""`safellm demo`: all guards at work in a few seconds, without a key, an account or a byte to the internet."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safellm.cli.show import PROBLEM, AsJson, make_console, print_json
from safellm.errors import ConfigurationError

if TYPE_CHECKING:
    from safellm.cli.demo_run import Story


def demo(
    *,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="local|NAME",
            help="local: a real model on this machine. NAME: that model of your own provider, with your key and policy.",
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave ledger and trail, and say where they are.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Also save what is printed as a picture.")] = None,
    json: AsJson = False,
) -> None:
    """Show all guards at work: needs no key and sends nothing to the internet.

    Everything that is printed really happened. Exit code 1: one of the claims at the end did not hold.
    """
    import openai
    from safellm.cli.demo_run import run
    from safellm.cli.demo_show import show
    from safellm.cli.demo_stage import open_stage

    try:
        with open_stage(model, keep=keep) as stage:
            story = run(stage)
            if json:
                print_json(_as_json(story))
            else:
                console = make_console(plain=no_color, record=svg is not None)
                show(console, story, keep=keep)
                if svg is not None:
                    _save(console.export_svg(title="safellm demo", code_format=_picture()), svg)
    except openai.OpenAIError as error:
        # The SDK's message may quote the provider's answer, and that may quote the request.
        status = getattr(error, "status_code", None)
        if type(error) is openai.OpenAIError and "api_key" in str(error):  # the SDK's word for none, without a status
            raise ConfigurationError(
                "There is no key for the provider",
                remedy="Store one: safellm keys set openai (without a key store: add --store file). "
                "`safellm demo` alone needs none.",
            ) from None
        raise ConfigurationError(
            f"The provider did not answer as it should ({type(error).__name__}{f', {status}' if status else ''})",
            remedy="Check its address and your key: safellm doctor, safellm keys test. `safellm demo` needs neither.",
        ) from None
    if not story.ok:
        raise typer.Exit(PROBLEM)


def _picture() -> str:
    """Return rich's SVG template without the fonts that it would load from the internet."""
    import re

    from rich._export_format import CONSOLE_SVG_FORMAT

    return re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def _save(picture: str, file: Path) -> None:
    try:
        file.write_text(picture, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"The picture can't be written: {error.strerror}",
            remedy="Name a file in a folder of yours.",
            where=str(file),
        ) from None


def _as_json(story: Story) -> dict[str, object]:
    return {
        "ok": story.ok,
        "checks": [{"claim": one.claim, "ok": one.ok} for one in story.checks],
        "refused": [{"tried": one.tried, "reason": str(one.error.reason), "sent": one.sent} for one in story.refusals],
        "records": len(story.records),
        "home": str(story.stage.home) if story.stage.home is not None else None,
    }
