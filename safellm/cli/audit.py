"""`safellm audit`: look at the trail, and check that it is whole."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safellm.cli import audit_alerts, audit_content, audit_use
from safellm.cli.audit_show import records_table
from safellm.cli.show import PROBLEM, AsJson, cell, make_console, make_table, print_json, say
from safellm.cli.world import look
from safellm.errors import ConfigurationError

if TYPE_CHECKING:
    from safellm._core.effects import JSON
    from safellm._core.note import VerifierKey
    from safellm._core.verify import KnownHead, Verification
    from safellm.audit.contents import ContentCheck, Named
    from safellm.stores.journal.proof import Proof

app = typer.Typer(help="Look at the audit trail and check that it is whole.", no_args_is_help=True)

_SHOWN_PROBLEMS = 20
_MOST_RECORDS = 100_000  # they are held in memory


@app.command()
def tail(
    directory: Annotated[Path | None, typer.Argument(help="Folder of the trail; default: yours.")] = None,
    *,
    count: Annotated[int, typer.Option("-n", min=1, max=_MOST_RECORDS, help="How many records.")] = 20,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new records until interrupted.")] = False,
    json: AsJson = False,
) -> None:
    """Show the last records."""
    from safellm.stores.journal.files import tail as read

    folder = directory or look().trail
    try:
        records = read(folder, count)
    except OSError as error:
        raise ConfigurationError(
            f"The audit trail can't be read: {error.strerror}", remedy="Run this as its owner.", where=str(folder)
        ) from None
    if follow:
        _follow(folder, records, json=json)
    elif json:
        print_json(records)
    elif not records:
        say(f"There are no records in {folder} yet.")
    else:
        make_console().print(records_table(records))


def _follow(folder: Path, records: list[dict[str, JSON]], *, json: bool) -> None:
    from itertools import chain

    from safellm.audit.reading import follow
    from safellm.cli.audit_show import print_line

    for record in chain(records, follow(folder)):
        print_line(record, json=json)


@app.command()
def verify(  # noqa: PLR0913 - one for each thing to check against
    directory: Annotated[Path | None, typer.Argument(help="Folder of the trail; default: yours.")] = None,
    *,
    head: Annotated[
        str | None,
        typer.Option(metavar="SEQ:HASH", help="Last record of an earlier check, that you kept elsewhere."),
    ] = None,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE", help="Signed checkpoints that you kept elsewhere, or postgresql://…; may be repeated."
        ),
    ] = None,
    words: Annotated[
        list[str] | None, typer.Option(metavar="WORDS", help="A checkpoint as words; may be repeated.")
    ] = None,
    public_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", help="The key that `safellm audit key` printed, or a file with it. Default: this machine's."
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Check that no record was edited, inserted, deleted or reordered.

    With checkpoints that were kept elsewhere, also that the whole trail was not written anew or cut off. Needs the files and
    the public key, nothing else. Exit code 1: the trail is broken.
    """
    from safellm.audit.contents import Named
    from safellm.stores.journal.files import verify_directory

    folder = directory or look().trail
    named = Named()
    found = verify_directory(folder, known=_known(head), each=lambda record: named.add(record.fields))
    contents = _contents(folder, named)
    pruned = _pruned(folder, found, public_key)
    proof = _proof(folder, found, checkpoint or [], words or [], public_key)
    if json:
        checkpoints = None if proof is None else proof_as_json(proof)
        kept = None if contents is None else {**asdict(contents), "ok": contents.ok}
        print_json({**as_json(folder, found), "pruned": pruned or None, "checkpoints": checkpoints, "content": kept})
    else:
        kept_elsewhere = bool(checkpoint or words)
        _print(folder, found, proved=kept_elsewhere and proof is not None and proof.proof.ok and proof.proof.proved > 0)
        if pruned:
            make_console().print(cell(pruned))
        if proof is not None:
            style = "bold green" if proof.proof.ok else "bold red"
            make_console().print(cell(f"{proof.where}: {proof.proof.explain()}", style))
        if contents is not None:
            make_console().print(cell(contents.explain(), "" if contents.ok else "bold red"))
    if not found.ok or (proof is not None and not proof.proof.ok) or (contents is not None and not contents.ok):
        raise typer.Exit(PROBLEM)


@app.command()
def checkpoint(
    *,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append the checkpoint to this file as well, best on another machine."),
    ] = None,
    words: Annotated[
        bool, typer.Option("--words", help="Print it as words, to be written down or read aloud.")
    ] = False,
) -> None:
    """Sign what the trail is now, and print the note. Keep it elsewhere: it proves everything before it."""
    from safellm._core.spoken import to_words
    from safellm.stores.journal.checkpoints import make_checkpoint, read_signed, signing_key, verifier_key
    from safellm.stores.journal.keepers import keep, kept_last
    from safellm.stores.tls import authorities_of

    world = look()
    if not world.trail.is_dir():
        raise ConfigurationError(
            "There is no audit trail", remedy="It begins with the first guarded call.", where=str(world.trail)
        )
    private = signing_key(world.state)
    made = make_checkpoint(world.trail, private, now_ns=time.time_ns())
    if made is None:
        uid = _uid(world.trail)
        made = read_signed(world.trail, uid, verifier_key(private, uid))[-1]
    for place in (*world.policy.audit.checkpoint_to, *(() if out is None else (str(out.absolute()),))):
        if kept_last(place) != made.note:
            keep(made.note, place, trust=authorities_of(world.policy))
    typer.echo(to_words(made.checkpoint.size, made.checkpoint.root) if words else made.note, nl=words)


@app.command()
def key() -> None:
    """Print the public key that checkpoints of this trail are checked with. Keep it with them."""
    from safellm.stores.journal.checkpoints import signing_key, verifier_key

    world = look()
    typer.echo(str(verifier_key(signing_key(world.state), _uid(world.trail))))


@app.command()
def pack() -> None:
    """Compress the closed files of the trail. Every command reads them as before."""
    from safellm.stores.journal.retention import pack as pack_files

    count = pack_files(look().trail)
    say(f"Packed {count} file{'' if count == 1 else 's'}.")


@app.command()
def prune(
    *,
    before: Annotated[str, typer.Option(metavar="TIME", help="Remove what is older: 2026-01-01, or a time ago: 400d.")],
) -> None:
    """Remove the oldest files of the trail without breaking the proof of the rest.

    Only whole closed files whose records are all older, and only below a checkpoint. It is recorded in the trail.
    """
    from safellm.audit.query import parse_time
    from safellm.stores.journal.checkpoints import signing_key
    from safellm.stores.journal.retention import prune as prune_files

    world = look()
    now = time.time_ns()
    done = prune_files(world.trail, signing_key(world.state), before_ns=parse_time(before, now_ns=now), now_ns=now)
    if done is None:
        say("No closed file is old enough: nothing was removed.")
        return
    world.record("audit.prune", {"safellm.prune.files": done.files, "safellm.prune.through_seq": done.through_seq})
    say(f"Removed {done.files} file{'' if done.files == 1 else 's'}: all records up to {done.through_seq}.")


audit_use.add_to(app)
audit_content.add_to(app)
app.command()(audit_alerts.alerts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proved:
    """What was proved, and with which checkpoints, in words."""

    proof: Proof
    where: str


def proof_as_json(found: _Proved) -> dict[str, object]:
    """Return a proof as a JSON value."""
    return {
        "ok": found.proof.ok,
        "explanation": found.proof.explain(),
        "source": found.where,
        "lines": found.proof.lines,
        "proved": found.proof.proved,
        "signed_at": found.proof.signed_at or None,
        "fits": [{"lines": one.size, "extra": list(one.extra), "fit": fit.value} for one, fit in found.proof.fits],
    }


def _proof(
    folder: Path, found: Verification, kept: list[str], words: list[str], public_key: str | None
) -> _Proved | None:
    """Return what checkpoints prove; without any, those that stand beside the trail, if this machine signed them."""
    from safellm._core.note import MalformedNote, VerifierKey
    from safellm.stores.journal.checkpoints import checkpoint_file, origin_of, read_signed
    from safellm.stores.journal.proof import prove, read_kept, read_words

    if found.chain_uid is None or not (kept or words or checkpoint_file(folder, found.chain_uid).exists()):
        return None
    if words and not kept and public_key is None:
        verifier: VerifierKey | None = VerifierKey(name=origin_of(found.chain_uid), public=b"")  # words are not signed
    else:
        verifier = _verifier(found.chain_uid, public_key)
    if verifier is None:
        return None
    if kept or words:
        points = [point for path in kept for point in read_kept(path, verifier)]
        points += [read_words(text, verifier) for text in words]
        return _Proved(
            proof=prove(folder, points), where=f"{len(points)} kept checkpoint{'' if len(points) == 1 else 's'}"
        )
    try:
        beside = [one.checkpoint for one in read_signed(folder, found.chain_uid, verifier)]
    except MalformedNote as error:
        raise ConfigurationError(
            f"The checkpoints beside the trail can't be trusted: {error}",
            remedy="Check with checkpoints that you kept elsewhere: --checkpoint FILE --public-key KEY.",
            where=str(folder),
        ) from None
    where = f"{len(beside)} checkpoint{'' if len(beside) == 1 else 's'} beside the trail (copies elsewhere prove more)"
    return _Proved(proof=prove(folder, beside), where=where)


def _pruned(folder: Path, found: Verification, public_key: str | None) -> str:
    """Return in words what was removed from the trail, after checking the note's signature where the key is at hand."""
    from safellm._core import note
    from safellm.stores.journal.checkpoints import check_signature
    from safellm.stores.journal.pruned import read_start

    start = read_start(folder)
    if start is None or found.chain_uid is None:
        return ""
    verifier = _verifier(found.chain_uid, public_key)
    what = f"Records 1 to {start.seq} were pruned"
    if verifier is None:
        return f"{what}; whether that was signed is not checked: give --public-key KEY."
    try:
        note.open_note(start.note, verifier, check_signature)
    except note.MalformedNote as error:
        raise ConfigurationError(
            f"The note that records 1 to {start.seq} were pruned is not signed by this trail's key: {error}",
            remedy="Somebody may have removed records. Check with a copy of the trail.",
            where=str(folder),
        ) from None
    return f"{what}, and the note of that is signed."


def _contents(folder: Path, named: Named) -> ContentCheck | None:
    from safellm.audit.contents import compare
    from safellm.stores.content.store import Standing, standing

    if not named.parts:
        return None
    return compare(standing(folder) or Standing(kept={}, erased={}), named)


def _verifier(uid: str, text: str | None) -> VerifierKey | None:
    from safellm._core.note import MalformedNote, read_key
    from safellm.stores.journal.checkpoints import KEY_NAME, origin_of, signing_key, verifier_key

    if text is None:
        state = look().state
        return verifier_key(signing_key(state), uid) if (state / KEY_NAME).exists() else None
    path = Path(text)
    try:
        found = read_key(path.read_text(encoding="utf-8") if "+" not in text and path.is_file() else text)
    except (OSError, UnicodeDecodeError, MalformedNote):
        raise ConfigurationError(
            "This is not a public key of an audit trail", remedy="Give the line that `safellm audit key` printed."
        ) from None
    if found.name != origin_of(uid):
        raise ConfigurationError(
            "The public key is of another trail", remedy="Give the key that was printed for this one."
        )
    return found


def _uid(folder: Path) -> str:
    from safellm.stores.journal.files import tail as read

    for record in read(folder, 1):
        if isinstance(record.get("chain.uid"), str):
            return str(record["chain.uid"])
    raise ConfigurationError("There is no record yet", remedy="Make a call first.", where=str(folder))


def as_json(folder: Path, found: Verification) -> dict[str, object]:
    """Return a verification as a JSON value."""
    return {
        "directory": str(folder),
        "ok": found.ok,
        "explanation": found.explain(),
        "chain": found.chain_uid,
        "records": found.records,
        "first_seq": found.first_seq,
        "last_seq": found.last_seq,
        "head": f"{found.last_seq}:{found.head}" if found.last_seq is not None else None,
        "open_intents": [{"seq": one.seq, "event_id": one.event_id} for one in found.open_intents],
        "recovered": [
            {"file": one.file, "line": one.line, "bytes": one.bytes, "named_by_seq": one.named_by_seq}
            for one in found.recovered
        ],
        "problem_count": found.problem_count,
        "problems": [{"file": one.file, "line": one.line, "seq": one.seq, "what": one.what} for one in found.problems],
    }


def _known(text: str | None) -> KnownHead | None:
    if text is None:
        return None
    from safellm._core.verify import KnownHead

    match = re.fullmatch(r"([1-9][0-9]{0,15}):([0-9a-f]{64})", text.strip())
    if match is None:
        raise ConfigurationError(
            "The kept head is not of the form SEQ:HASH", remedy="Give the line `head` of an earlier check as it was."
        )
    return KnownHead(seq=int(match[1]), hash=match[2])


def _print(folder: Path, found: Verification, *, proved: bool) -> None:
    """Print what the chain proves; what it doesn't only where no checkpoint says it better (`proved`)."""
    console = make_console()
    if found.ok:
        console.print(cell(f"verified: {found.records} records, chain intact", "bold green"))
    else:
        where = found.problems[0] if found.problems else None
        place = f", first at {where.file}:{where.line}" if where else ""
        console.print(cell(f"BROKEN: {found.problem_count} problem(s){place}", "bold red"))
        table = make_table("file:line", "record", "what", numbers=("record",))
        for one in found.problems[:_SHOWN_PROBLEMS]:
            table.add_row(cell(f"{one.file}:{one.line}"), cell("" if one.seq is None else one.seq), cell(one.what))
        console.print(table)
        if found.problem_count > _SHOWN_PROBLEMS:
            console.print(cell(f"and {found.problem_count - _SHOWN_PROBLEMS} more (--json lists up to 1000)"))
    console.print(cell(found.explain().partition(" Not proved:")[0] if proved else found.explain()))
    for left in found.recovered:
        where_left = f"{left.file}:{left.line}"
        console.print(cell(f"After a crash: {left.bytes} bytes at {where_left}, named by record {left.named_by_seq}."))
    if found.open_intents:
        console.print(cell(f"{len(found.open_intents)} call(s) without an outcome: under way, or their program died."))
    console.print(cell(f"trail  {folder}"), soft_wrap=True)
    if found.last_seq is not None:
        console.print(cell(f"head   {found.last_seq}:{found.head}"), soft_wrap=True)
