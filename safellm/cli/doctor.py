"""`safellm doctor`: whether the guards work here, what they cover, and what around them is dangerous."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Final

import typer
from rich.text import Text

from safellm.cli.doctor_checks import examine
from safellm.cli.doctor_finding import Finding, Level
from safellm.cli.show import PROBLEM, AsJson, cell, make_console, print_json

_STYLES: Final = {Level.OK: "green", Level.HINT: "cyan", Level.DANGER: "bold yellow", Level.BROKEN: "bold red"}
_INDENT: Final = 8

# What passes the guard, and what is refused because it would not (THREATS E.10).
COVERED: Final = (
    "OpenAI, AsyncOpenAI, AzureOpenAI, AsyncAzureOpenAI, module-level API: every HTTP call, stream, upload, retry, redirect",
    "BedrockOpenAI, AsyncBedrockOpenAI, provider= (Bedrock, Vertex): guarded, then signed; X.509 identities, but their exchange",
    "Anthropic, AsyncAnthropic, google.genai, google.generativeai: the same, by the seams of each SDK",
    "with_options(), copy(), with_raw_response, with_streaming_response, parse(): the same guarded transport",
    "an http_client that you pass (httpx or httpx2, DefaultAioHttpClient too): its transport and all of its mounts",
    "endpoints that are not in the table: all text in them is searched, and they are refused in strict mode",
    "websockets of Responses, Realtime (Azure's, beta's, translations), OpenAI's and Google's live sessions, event by event",
)
REFUSED: Final = (
    "all other websockets: they bypass the HTTP transport",
    "a provider= that safellm doesn't know: nobody knows what it signs",
    "an http_client of another kind (aiohttp.ClientSession, requests): it can't be wrapped",
)
UNGUARDED: Final = (
    "clients of the plain SDKs and raw HTTP, except under `safellm run`, `safellm.install()` or `%load_ext safellm`",
    "SDKs that safellm has no adapter for",
    "what is inside images, audio and files (content.binary = 'deny' refuses them)",
)


def doctor(*, json: AsJson = False) -> None:
    """Check that the guards work here, and name what is dangerous.

    Exit code 1: something is broken or dangerous.
    """
    found = examine()
    bad = [one for one in found if one.level in (Level.DANGER, Level.BROKEN)]
    if json:
        print_json(
            {
                "ok": not bad,
                "findings": [
                    {"level": one.level.value, "area": one.area, "what": one.what, "remedy": one.remedy}
                    for one in found
                ],
                "guarded": list(COVERED),
                "refused": list(REFUSED),
                "not_guarded": list(UNGUARDED),
            }
        )
    else:
        _print(found, bad)
    if bad:
        raise typer.Exit(PROBLEM)


def _print(found: list[Finding], bad: list[Finding]) -> None:
    console = make_console()
    area = ""
    for one in found:
        if one.area != area:
            area = one.area
            console.print(Text(f"\n{area}", style="bold"))
        _paragraph(one.level.value, _STYLES[one.level], one.what)
        if one.remedy:
            _paragraph("", "", f"-> {one.remedy}")
    for title, lines, mark, style in (
        ("Guarded", COVERED, "yes", "green"),
        ("Refused", REFUSED, "no", "cyan"),
        ("Not guarded", UNGUARDED, "open", "yellow"),
    ):
        console.print(Text(f"\n{title}", style="bold"))
        for line in lines:
            _paragraph(mark, style, line)
    if bad:
        count = f"{len(bad)} thing{'s' if len(bad) > 1 else ''} to mend"
        console.print(Text(f"\n{count}: {', '.join(dict.fromkeys(one.area for one in bad))}.", style="bold red"))
    else:
        console.print(Text("\nNothing is broken or dangerous.", style="bold green"))


def _paragraph(mark: str, style: str, text: str) -> None:
    """Print text with a mark before it, wrapped lines indented as the first."""
    console = make_console()
    for number, line in enumerate(cell(text).wrap(console, console.width - _INDENT)):
        head = mark if number == 0 else ""
        console.print(Text.assemble((f"{head:<{_INDENT}}", style), line))
