"""How far the audit trail is signed, and whether the copies of its checkpoints arrived."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Final

from safellm.cli.doctor_finding import Finding, Level

if TYPE_CHECKING:
    from safellm.cli.world import World

_LATE: Final = 3  # times `checkpoint_seconds`: then something keeps checkpoints from being made
_KEEP: Final = 'Keep copies on another machine\'s disk: audit.checkpoint_to = ["/mnt/other/checkpoints"].'


def checkpoint_findings(area: str, world: World, uid: str) -> Iterator[Finding]:
    """Yield the age of the last checkpoint, the tail that none proves, and copies that are missing."""
    from safellm._core.note import MalformedNote
    from safellm.errors import ConfigurationError
    from safellm.stores.journal.checkpoints import KEY_NAME, signing_key, standing, verifier_key
    from safellm.stores.journal.keepers import can_be_asked, kept_last

    if not (world.state / KEY_NAME).exists():
        what = "the trail was never signed: whoever can write it could write all of it anew"
        remedy = "It is signed after calls by itself, or: safellm audit checkpoint"
        yield Finding(area=area, level=Level.HINT, what=what, remedy=remedy)
        return
    try:
        found = standing(world.trail, uid, verifier_key(signing_key(world.state), uid))
    except (MalformedNote, OSError) as error:
        what = f"the last checkpoint can't be trusted: {error}"
        yield Finding(area=area, level=Level.BROKEN, what=what, remedy="See: safellm audit verify --checkpoint FILE")
        return
    if found.last is None:
        what = f"none of the {found.lines_after} records is signed"
        yield Finding(area=area, level=Level.HINT, what=what, remedy="See: safellm audit checkpoint")
        return
    audit = world.policy.audit
    age = time.time() - _seconds(found.time)
    later = found.lines_after
    tail = f"{later} record{'s' * (later > 1)} after it not proved" if later else "no record after it"
    late = found.lines_after > 0 and age > _LATE * audit.checkpoint_seconds
    yield Finding(
        area=area,
        level=Level.HINT if late else Level.OK,
        what=f"last checkpoint {_ago(age)} ago, of {found.last.checkpoint.size} records; {tail}",
        remedy="Run: safellm audit checkpoint. It says what is in the way." if late else "",
    )
    for place in audit.checkpoint_to:
        try:
            kept = kept_last(place)
        except ConfigurationError as error:
            yield Finding(area=area, level=Level.DANGER, what=f"{place}: {error.problem}", remedy=error.remedy)
            continue
        if kept is not None and kept != found.last.note:
            what = f"the newest checkpoint is not in {place}"
            yield Finding(
                area=area, level=Level.DANGER, what=what, remedy="Mend the place, then: safellm audit checkpoint"
            )
        elif kept is None and can_be_asked(place):
            what = f"there is no copy of a checkpoint in {place}"
            yield Finding(
                area=area, level=Level.DANGER, what=what, remedy="Mend the place, then: safellm audit checkpoint"
            )
    if not audit.checkpoint_to:
        what = "no copy of a checkpoint is kept elsewhere, so a rewrite of the whole trail would not show"
        yield Finding(area=area, level=Level.HINT, what=what, remedy=_KEEP)


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def _ago(seconds: float) -> str:
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {name}{'' if count == 1 else 's'}"
    return "less than a minute"
