"""Content of the calls of this process, on its way beside the trail."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from safellm._core.effects import JSON, Content
from safellm.errors import ConfigurationError, GuardFailure
from safellm.stores.live import Live

if TYPE_CHECKING:
    from safellm._core.policy import Audit
    from safellm.stores.content.store import ContentStore, Part

_WHO: Final = ("user.id", "safellm.grant.id", "safellm.key.ref")
CONTENTS: Final[Live[Contents]] = Live()


class Contents:
    """Keeps requests and answers, and says by which digest the record names them.

    Args:
        store: Where they go.
        required: A call whose content can't be kept is refused; else that is told once, and it goes on without.
    """

    def __init__(self, store: ContentStore, *, required: bool) -> None:
        self._store = store
        self._required = required
        self._told = False

    def keep(self, event: str, fields: Mapping[str, JSON], content: Content, *, at_ns: int) -> dict[str, JSON]:
        """Keep what belongs to a record that is about to be written; return the fields that it gets.

        Raises:
            GuardFailure: it can't be kept, and must be.
        """
        part: Part = "in" if event == "call.intent" else "out"
        id_ = str(fields["event.id" if part == "in" else "event.parent"])
        users = tuple(str(fields[name]) for name in _WHO if fields.get(name))
        try:
            digest = self._store.keep(id_, part, content.data, length=content.length, users=users, at_ns=at_ns)
        except GuardFailure as failure:
            if self._required:
                raise
            if not self._told:
                from safellm.stores.journal.events import tell  # noqa: PLC0415 - only now

                self._told = True
                tell(f"{failure} Calls go on without it (audit.mode is best_effort).")
            return {}
        return {f"safellm.content.sealed_{part}": digest}


def open_contents(folder: Path, audit: Audit) -> Contents:
    """Return where the content of calls is kept.

    Raises:
        ConfigurationError: there is no key to encrypt it to.
    """
    if audit.content_key is None:
        raise ConfigurationError(
            "audit.content is set, and there is no key to encrypt content to",
            remedy="Make one where content shall be read, safellm audit content-key --out FILE, and set audit.content_key.",
        )
    key, required = audit.content_key, audit.mode == "required"
    return CONTENTS.get((folder, key, required), lambda: _open(folder, key, required))


def _open(folder: Path, key: str, required: bool) -> Contents:
    from safellm.stores.content.keys import parse_public  # noqa: PLC0415 - late: cryptography
    from safellm.stores.content.store import ContentStore  # noqa: PLC0415 - the same

    return Contents(ContentStore(folder, public=parse_public(key)), required=required)
