"""`safellm scan`: find secrets where they leak."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from safellm.cli.show import PROBLEM, AsJson, cell, make_console, make_table, print_json, say
from safellm.errors import ConfigurationError

if TYPE_CHECKING:
    from safellm.scan.leaks import Leak, Report
    from safellm.scan.sources import Source

_STYLES: Final = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "dim"}
_HOOK: Final = '#!/bin/sh\n# Keeps secrets out of commits.\nexec "{python}" -m safellm scan --staged\n'


def scan(  # noqa: PLR0913 - the places and forms of a report
    paths: Annotated[list[Path] | None, typer.Argument(help="Files and folders. Default: this folder.")] = None,
    *,
    staged: Annotated[
        bool, typer.Option("--staged", help="What the next git commit would take, and nothing else.")
    ] = False,
    history: Annotated[
        bool, typer.Option("--history", help="Every version that this git repository ever had.")
    ] = False,
    home: Annotated[
        bool, typer.Option("--home", help="Shell histories, profiles and settings of your home too.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Also folders of tools and dependencies.")] = False,
    severity: Annotated[str, typer.Option(help="Least severity: low, medium, high, critical.")] = "low",
    baseline: Annotated[Path | None, typer.Option(metavar="FILE", help="Leave out what stands in this file.")] = None,
    write_baseline: Annotated[
        Path | None, typer.Option("--write-baseline", metavar="FILE", help="Write what is found into a baseline.")
    ] = None,
    sarif: Annotated[
        bool, typer.Option("--sarif", help="Print a SARIF 2.1.0 log, for code hosts and editors.")
    ] = False,
    install_hook: Annotated[
        bool, typer.Option("--install-hook", help="Have git run this before every commit here.")
    ] = False,
    training: Annotated[
        bool, typer.Option("--training", help="The files are JSON lines for training or a batch: look at each line.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Find secrets in files, notebooks with their outputs, shell histories and git history.

    Values are shown masked. Exit code 1: there are some.
    """
    from safellm.scan.leaks import SEVERITIES

    if json and sarif:
        raise ConfigurationError("--json and --sarif exclude each other", remedy="Choose one.")
    if severity not in SEVERITIES:
        raise ConfigurationError("There is no such severity", remedy=f"Use one of {', '.join(SEVERITIES)}.")
    if training:
        _training(paths or [], json=json)
        return
    if install_hook:
        _install_hook(Path())
        return
    report = _search(paths or [Path()], staged=staged, history=history, home=home, everything=everything)
    least = SEVERITIES.index(severity)
    report = replace(report, leaks=tuple(one for one in report.leaks if SEVERITIES.index(one.severity) >= least))
    if baseline is not None:
        from safellm.scan.baseline import read_baseline

        known = read_baseline(baseline)
        fresh = tuple(one for one in report.leaks if one.fingerprint not in known)
        report = replace(report, leaks=fresh, known=len(report.leaks) - len(fresh))
    if write_baseline is not None:
        from safellm.scan.baseline import write_baseline as write

        write(write_baseline, report.leaks)
        say(f"Wrote {len(report.leaks)} finding{_s(len(report.leaks))} into {write_baseline}.")
        return
    if sarif:
        from safellm.scan.sarif import to_sarif

        print_json(to_sarif(report))
    elif json:
        rows = [asdict(one) for one in report.leaks]
        print_json(
            {
                "texts": report.texts,
                "bytes": report.bytes,
                "known": report.known,
                "unread": report.unread,
                "leaks": rows,
            }
        )
    else:
        _print(report)
    if report.leaks:
        raise typer.Exit(PROBLEM)


def _training(paths: list[Path], *, json: bool) -> None:
    """Print what there is to say of each line of training files: doubles, hidden characters, orders, secrets, personal data."""
    from safellm._core.detection.scanner import compile_scanner
    from safellm._core.textfiles import decode
    from safellm._core.training import review

    if not paths:
        raise ConfigurationError("There is no file to look at", remedy="safellm scan --training FILE.jsonl")
    scanner = compile_scanner()
    rows: list[dict[str, object]] = []
    for path in paths:
        try:
            decoded = decode(path.read_bytes())
        except OSError as error:
            raise ConfigurationError("The file can't be read", remedy="Give a file.", where=str(path)) from error
        if decoded is None:
            raise ConfigurationError("The file is no text", remedy="Give JSON lines in UTF-8.", where=str(path))
        rows += [{"file": path.as_posix(), **asdict(one)} for one in review(decoded.text, scanner)]
    if json:
        print_json(rows)
    else:
        console = make_console()
        table = make_table("place", "what", "note")
        for row in rows:
            table.add_row(cell(f"{row['file']}:{row['line']}"), cell(str(row["what"])), cell(str(row["note"])))
        console.print(table if rows else cell("Nothing to remark.", "green"))
    if rows:
        raise typer.Exit(PROBLEM)


def _search(paths: list[Path], *, staged: bool, history: bool, home: bool, everything: bool) -> Report:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from safellm.scan.leaks import Report, find_leaks, secret_scanner

    scanner = secret_scanner()
    unread: list[str] = []
    leaks: dict[str, Leak] = {}
    texts = size = 0
    console = make_console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[found]} found"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("searching", total=None, found=0)

        def tick(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        sources = (
            _staged() if staged else _everywhere(paths, unread, tick, history=history, home=home, everything=everything)
        )
        for source in sources:
            texts += 1
            size += len(source.text)
            for leak in find_leaks(source, scanner):
                leaks.setdefault(leak.fingerprint, leak)
            progress.update(task, found=len(leaks))
    found = (_with_commit(one, paths) if history else one for one in leaks.values())
    return Report(leaks=tuple(found), texts=texts, bytes=size, unread=tuple(unread))


def _staged() -> Iterator[Source]:
    from safellm.scan.sources import from_staged

    return from_staged(Path())


def _everywhere(  # noqa: PLR0913 - what a person may ask for
    paths: list[Path],
    unread: list[str],
    tick: Callable[[int, int], None],
    *,
    history: bool,
    home: bool,
    everything: bool,
) -> Iterator[Source]:
    from safellm.scan import sources

    def note(file: str, why: str) -> None:
        unread.append(f"{file}: {why}")

    for path in paths:
        yield from sources.from_path(path, unread=note, everything=everything)
        if history:
            yield from sources.from_history(path, tick=tick)
    if home:
        yield from sources.from_home(Path.home(), unread=note)


def _with_commit(leak: Leak, paths: list[Path]) -> Leak:
    from safellm.scan.sources import commit_of

    if not leak.commit:
        return leak
    commit = commit_of(paths[0], leak.commit)
    return replace(leak, commit=commit, place=leak.place.replace(leak.commit[:12], commit[:12]))


def _print(report: Report) -> None:
    console = make_console()
    if report.leaks:
        table = make_table("severity", "place", "what", "value")
        for one in report.leaks:
            what = f"{one.rule}{f' ({one.provider})' if one.provider else ''}{f': {one.note}' if one.note else ''}"
            table.add_row(cell(one.severity, _STYLES[one.severity]), cell(one.place), cell(what), cell(one.masked))
        console.print(table)
        for remedy in dict.fromkeys(one.remedy for one in report.leaks):
            console.print(cell(remedy, "dim"), soft_wrap=True)
    for file in report.unread:
        console.print(cell(f"not read: {file}", "yellow"))
    known = f", {report.known} known" if report.known else ""
    count = len(report.leaks)
    links = sum(one.is_link for one in report.leaks)
    what = f"{count - links} secret{_s(count - links)}" + (f" and {links} link{_s(links)}" if links else "")
    console.print(
        cell(
            f"{what} in {report.texts} text{_s(report.texts)}, {report.bytes / 1e6:.1f} MB{known}.",
            "bold" if count else "green",
        )
    )


def _install_hook(folder: Path) -> None:
    from safellm.scan.sources import hooks_folder

    path = hooks_folder(folder) / "pre-commit"
    if path.exists():
        raise ConfigurationError(
            "There is a pre-commit hook already", remedy="Add to it: safellm scan --staged", where=str(path)
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_HOOK.format(python=sys.executable), encoding="utf-8")
    path.chmod(0o755)
    say(f"Installed {path}.")


def _s(count: int) -> str:
    return "" if count == 1 else "s"
