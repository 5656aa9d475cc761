"""`safellm audit content-key | content | erase`: requests and answers that were kept, for whoever has the private key."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safellm.cli.show import AsJson, cell, make_console, print_json, say
from safellm.cli.world import look
from safellm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safellm._core.effects import JSON
    from safellm.cli.world import World
    from safellm.stores.content.store import Kept, Part

_MOST = 1000


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("content-key")(content_key)
    app.command()(content)
    app.command()(erase)


def content_key(
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="New file for the private key; keep it elsewhere.")],
) -> None:
    """Make the key pair of content: the private half goes into a file, the public half is printed for the policy."""
    from safellm.stores.content.keys import make_pair

    public = make_pair(out.absolute())
    typer.echo(public)
    if sys.stderr.isatty():
        typer.echo('Put it into the policy: [audit] content = "redacted", content_key = "…"', err=True)


def content(  # noqa: PLR0913 - one for each condition
    directory: Annotated[Path | None, typer.Argument(help="Folder of the trail; default: yours.")] = None,
    *,
    key: Annotated[Path, typer.Option(metavar="FILE", help="The private key.")],
    call: Annotated[str | None, typer.Option(metavar="ID", help="Of this call: the event.id of its intent.")] = None,
    user: Annotated[str | None, typer.Option(help="User, grant or key that made the calls.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="From then on: 2026-11-01, 2h, 7d.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before that.")] = None,
    limit: Annotated[int, typer.Option("-n", min=1, max=100_000, help="How many calls at most.")] = _MOST,
    json: AsJson = False,
) -> None:
    """Show what was sent and answered, oldest first. Needs the private key."""
    from safellm.audit.query import Query, parse_time
    from safellm.stores.content.keys import read_private
    from safellm.stores.content.store import read

    private = read_private(key)
    folder, now = directory or look().trail, time.time_ns()
    wanted = Query(
        since_ns=None if since is None else parse_time(since, now_ns=now),
        until_ns=None if until is None else parse_time(until, now_ns=now),
        event="call.intent",
        user=user,
    )
    shown: list[dict[str, Any]] = []
    for record in _calls(folder, wanted, call):
        if len(shown) >= limit:
            break
        id_ = str(record["event.id"])
        parts: dict[Part, Kept | None] = {part: read(folder, private, id_, part) for part in _PARTS}
        one = {
            "call": id_,
            "time": record.get("time"),
            "model": record.get("gen_ai.request.model"),
            **{_PARTS[part]: _as_json(kept) for part, kept in parts.items()},
        }
        shown.append(one)
        if not json:
            _print(one)
    if json:
        print_json(shown)
    elif not shown:
        say("No call with kept content fits.")


def erase(  # noqa: PLR0913 - one for each condition
    directory: Annotated[Path | None, typer.Argument(help="Folder of the trail; default: yours.")] = None,
    *,
    call: Annotated[str | None, typer.Option(metavar="ID", help="Of this call: the event.id of its intent.")] = None,
    user: Annotated[str | None, typer.Option(help="Of this user, grant or key.")] = None,
    before: Annotated[str | None, typer.Option(metavar="TIME", help="Older than this: 2026-01-01, 30d.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Erase kept content for good: its keys are deleted. The trail stays whole, and records that it was done."""
    from safellm.audit.query import parse_time
    from safellm.stores.content.store import Erasure
    from safellm.stores.content.store import erase as delete

    world, now = look(), time.time_ns()
    folder = directory or world.trail
    if folder.resolve() != world.trail.resolve():
        raise ConfigurationError(
            "Content is erased where its trail is written, so that it is recorded there",
            remedy="Set audit.directory to that folder, for instance by SAFELLM_AUDIT_DIRECTORY.",
            where=str(folder),
        )
    before_ns = parse_time(before, now_ns=now) if before is not None else 2**63 - 1 if everything else None
    what = Erasure(id=call, user=user, before_ns=before_ns)
    if not yes and what != Erasure():
        typer.confirm("Erase this content for good?", abort=True)
    count = delete(folder, what, record=lambda parts, digest: _recorded(world, parts, digest))
    say("No kept content fits." if not count else f"Erased {count} kept request{'s' if count > 1 else ''} or answers.")


_PARTS: dict[Part, str] = {"in": "request", "out": "answer"}


def _recorded(world: World, parts: int, digest: str) -> str:
    from safellm.audit.contents import ERASE
    from safellm.stores.ids import random_name

    if world.policy.audit.mode == "off":
        raise ConfigurationError(
            "An erasure must be recorded, and the audit trail is off", remedy="Set audit.mode = 'required'."
        )
    id_ = random_name().hex()
    fields: dict[str, JSON] = {
        "event.id": id_,
        "safellm.content.erased": parts,
        "safellm.content.erased_sha256": digest,
    }
    world.record(ERASE, fields)
    return id_


def _calls(folder: Path, wanted: Any, call: str | None) -> Iterator[dict[str, Any]]:
    from safellm.audit.query import select
    from safellm.audit.reading import records

    for record in select(records(folder), wanted):
        if "safellm.content.sealed_in" in record and (call is None or record.get("event.id") == call):
            yield record


def _as_json(kept: Kept | None) -> dict[str, object] | None:
    if kept is None:
        return None
    return {"text": kept.data.decode("utf-8", "replace"), "bytes": kept.length, "kept_bytes": len(kept.data)}


def _print(one: dict[str, Any]) -> None:
    console = make_console()
    when = str(one["time"] or "")[:19].replace("T", " ")
    console.print(cell(f"{when}  {one['model'] or ''}  {one['call']}", "bold"), soft_wrap=True)
    for name in _PARTS.values():
        kept = one[name]
        if kept is None:
            console.print(cell(f"  {name}: erased, or not kept"))
            continue
        cut = f", the first {kept['kept_bytes']}" if kept["kept_bytes"] < kept["bytes"] else ""
        console.print(cell(f"  {name} ({kept['bytes']} bytes{cut}):"))
        for line in kept["text"].splitlines() or [""]:
            console.print(cell(f"    {line}"), soft_wrap=True)
