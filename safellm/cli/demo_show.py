"""How the demo looks: the program's side on the left, the provider's on the right, then the rest as small tables."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from rich import box
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from safellm.cli import demo_text
from safellm.cli.audit_show import what_of
from safellm.cli.budget import balances_table
from safellm.cli.demo_stage import DECLARED
from safellm.cli.show import cell, make_table
from safellm.stores.journal.events import escaped

if TYPE_CHECKING:
    from safellm.cli.demo_run import Refusal, Story

_STYLES: Final = {"": "", "secret": "bold red", "placeholder": "bold cyan", "hidden": "black on yellow"}
_GOOD: Final = "bold green"
_PIECES_SHOWN: Final = 400  # characters of a stream


def show(console: Console, story: Story, *, keep: bool) -> None:
    """Print everything that happened."""
    for part in _parts(console, story):
        console.print(part)
    if keep and story.stage.home is not None:
        console.print(Text(f"\nKept in {story.stage.home}. Look at it with:", style="dim"), soft_wrap=True)
        console.print(Text(f"  SAFELLM_HOME={story.stage.home} safellm audit tail"), soft_wrap=True)


def _parts(console: Console, story: Story) -> list[RenderableType]:
    parts: list[RenderableType] = [_title(story), *_loop(console, story), _stream(story)]
    if story.tool is not None:
        parts.append(_tool(story))
    return [*parts, _refusals(story), _budget(story), _audit(console, story), _checks(story)]


def _panel(title: str, content: RenderableType, style: str) -> Panel:
    return Panel(
        content, title=Text(title, style=f"bold {style}"), title_align="left", border_style=style, box=box.ROUNDED
    )


def _section(title: str, *content: RenderableType) -> RenderableType:
    return Group(Text(f"\n{title}", style="bold"), *(Padding(one, (0, 0, 0, 2)) for one in content))


def _title(story: Story) -> RenderableType:
    import openai

    return Text.assemble(
        ("safellm demo", "bold"),
        f": openai SDK {openai.__version__} and {escaped(story.stage.title)}\n",
        ("from safellm import OpenAI", "bold green"),
        "   # instead of: from openai import OpenAI\n",
    )


def _highlighted(text: str, secrets: dict[str, str]) -> Text:
    return Text.assemble(
        *((escaped(piece), _STYLES[kind]) for piece, kind in demo_text.marked(text, secrets)), overflow="fold"
    )


def _loop(console: Console, story: Story) -> list[RenderableType]:
    wire, secrets = story.wire, story.prompt.secrets
    if wire is None:
        return []
    body = wire.body.decode("utf-8", "replace")
    came = json.loads(bytes(wire.answer))["choices"][0]["message"]["content"] or ""
    sent = Group(Text("messages[0].content", style="dim"), _highlighted(story.prompt.text, secrets))
    left = Group(
        Text(f"{wire.method} /{wire.url.partition('://')[2].partition('/')[2]}", style="dim", overflow="fold"),
        Text(f"authorization: {_masked(wire.headers.get('authorization', ''))}", style="dim", overflow="fold"),
        _highlighted(body, secrets),
    )
    got = Group(Text("choices[0].message.content", style="dim"), _highlighted(story.answer, secrets))
    back = Group(Text("choices[0].message.content", style="dim"), _highlighted(came, secrets))
    grid = Table.grid(expand=True, padding=(0, 1, 0, 0))
    wide = console.width >= 76  # noqa: PLR2004 - two panels of text need that much
    panels = (
        (_panel("1  the program sent  >", sent, "green"), _panel("2  > left this machine", left, "blue")),
        (_panel("4  < the program got", got, "green"), _panel("3  the provider answered  <", back, "blue")),
    )
    if not wide:
        flat = (panels[0][0], panels[0][1], panels[1][1], panels[1][0])
        return [*flat]
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    for row in panels:
        grid.add_row(*row)
    held = Text.assemble(
        "client.api_key is ", (escaped(str(story.stage.client.api_key)), "bold"), ": the SDK never holds the real key."
    )
    legend = Text.assemble(
        ("secret", _STYLES["secret"]),
        "  ",
        ("placeholder", _STYLES["placeholder"]),
        "  ",
        ("invisible characters", _STYLES["hidden"]),
    )
    own = story.stage.home is not None
    return [grid, Padding(Columns([legend]), (0, 0, 0, 2)), *([Padding(held, (0, 0, 0, 2))] if own else [])]


def _masked(header: str) -> str:
    """Return a credential header with only the end of its value."""
    scheme, _, value = header.rpartition(" ")
    return f"{scheme} {'*' * 8}{value[-4:] if len(value) >= 20 else ''}".strip()  # noqa: PLR2004 - as Secret.hint


def _stream(story: Story) -> RenderableType:
    rows = Table.grid(padding=(0, 2, 0, 0))
    rows.add_column(no_wrap=True, style="dim")
    rows.add_column(overflow="fold")
    for title, pieces, style in (
        (f"{len(story.pieces_wire)} pieces came", story.pieces_wire, _STYLES["placeholder"]),
        (f"{len(story.pieces_got)} pieces given", story.pieces_got, _STYLES["secret"]),
    ):
        rows.add_row(Text(title), _cut(pieces, story.prompt.secrets, style))
    lines: list[RenderableType] = [rows]
    if story.garbled:
        lines.append(
            Text(
                f"The model garbled a placeholder in {story.garbled} conversation(s); nothing is restored then.",
                style="dim",
            )
        )
    return _section("Streaming: a placeholder that comes in pieces is restored before it is shown", *lines)


def _cut(pieces: tuple[str, ...], secrets: dict[str, str], style: str) -> Text:
    """Return pieces with marks between them; what lies in a placeholder or a value is coloured."""
    whole = "".join(pieces)
    kinds: list[str] = []
    for text, kind in demo_text.marked(whole, secrets):
        kinds += [kind] * len(text)
    out = Text(overflow="fold")
    position = 0
    for number, piece in enumerate(pieces):
        if position > _PIECES_SHOWN:
            out.append(" ...", style="dim")
            break
        if number:
            out.append("|", style="dim")
        for character in piece:
            kind = kinds[position] if position < len(kinds) else ""
            out.append(escaped(character), style=style if kind else "")
            position += 1
    return out


def _tool(story: Story) -> RenderableType:
    tool = story.tool
    if tool is None:
        return Text()
    table = make_table("parameter", "declared", "the model asked for", "the tool got")
    for name, asked in tool.asked.items():
        declared = f"{tool.name}.{name}" == DECLARED
        table.add_row(
            cell(f"{tool.name}.{name}"),
            Text("yes", style=_GOOD) if declared else Text("no"),
            _highlighted(asked, story.prompt.secrets),
            _highlighted(tool.got.get(name, ""), story.prompt.secrets),
        )
    title = "Tool call: only a declared parameter gets the real value"
    return _section(title, table)


def _refusals(story: Story) -> RenderableType:
    return _section("Refused, before a byte left", *(_refusal(one) for one in story.refusals))


def _refusal(one: Refusal) -> RenderableType:
    sdk = next((kind for kind in one.kinds if kind.startswith("openai.")), "openai.APIStatusError")
    raised = Text.assemble(
        (sdk, "bold red"), f", HTTP {one.error.status}; also ", ("safellm.Refused", "bold red"), f", {one.error.reason}"
    )
    said = Text(f"{escaped(one.error.what)}. {escaped(one.error.remedy)}", style="dim", overflow="fold")
    return Group(Text(one.tried, style="bold"), Padding(Group(raised, said), (0, 0, 0, 4)))


def _budget(story: Story) -> RenderableType:
    content: list[RenderableType] = [balances_table(story.balances)]
    if not any(one.limit.unit.value == "micro_usd" for one in story.balances):
        content.append(Text("No price is known for this model, so only tokens are limited.", style="dim"))
    return _section("Budget: an upper bound is held before a call, what was billed is charged after", *content)


def _audit(console: Console, story: Story) -> RenderableType:
    wide = console.width >= 96  # noqa: PLR2004 - room for the hashes
    table = make_table("seq", "event", "decision", "what", *(["hash"] if wide else []), numbers=("seq",))
    for record in story.records:
        decision = str(record.get("decision", ""))
        style = "red" if decision == "deny" else "cyan" if decision == "modify" else ""
        row: list[Any] = [
            cell(record.get("seq", "?")),
            cell(record.get("event.name", "")),
            cell(decision, style),
            cell(what_of(record)),
        ]
        table.add_row(*row, *([cell(str(record.get("hash", ""))[:8], "dim")] if wide else []))
    found, tampered = story.verification, story.tampered
    lines: list[RenderableType] = []
    if found is not None:
        good = f"verified: {found.records} records, chain intact" if found.ok else "BROKEN"
        lines.append(Text(good, style=_GOOD if found.ok else "bold red"))
    if tampered is not None and tampered.problems:
        first = tampered.problems[0]
        lines.append(
            Text.assemble(
                "the same with one word changed in a copy: ",
                ("broken", "bold red"),
                f" at line {first.line}: {first.what}",
            )
        )
    return _section("Audit trail: what was asked, decided and billed; no content", table, *lines)


def _checks(story: Story) -> RenderableType:
    lines = [Text.assemble(("ok   ", _GOOD) if one.ok else ("FAIL ", "bold red"), one.claim) for one in story.checks]
    held = sum(one.ok for one in story.checks)
    end = Text(f"{held} of {len(story.checks)} checks held", style=_GOOD if story.ok else "bold red")
    return _section("Checked just now, on the bytes above", *lines, end)
