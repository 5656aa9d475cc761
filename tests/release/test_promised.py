"""What was promised holds: settings, events, names, and files that older versions wrote (docs/compatibility.md)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import promised
import pytest
from trail_schema import problems

from safellm._core.secret import Secret
from safellm.audit.walk import sum_up
from safellm.stores.journal.files import find, verify_directory
from safellm.stores.settings import check_file
from safellm.stores.vault.sealed_file import SealedFileVault

HERE = Path(__file__).parent
OLD = sorted(path for path in (HERE / "written_by").iterdir() if path.is_dir())
HOW = "Keep it, or write a new major version: docs/compatibility.md says how"


@pytest.fixture(scope="module")
def now() -> dict[str, Any]:
    """What this version has."""
    made: dict[str, Any] = json.loads(json.dumps(promised.everything()))
    return made


@pytest.fixture(scope="module")
def before() -> dict[str, Any]:
    """What was promised."""
    made: dict[str, Any] = json.loads(promised.FILE.read_text("utf-8"))
    return made


def test_nothing_promised_is_gone_or_changed(before, now):
    """Settings, their types and defaults, events and their fields, reasons, errors, commands and options."""
    assert promised.broken(before, now) == [], HOW


def test_additions_break_nothing(before, now):
    """What is new can be promised too, and all that was promised stays in the list as it is."""
    more = promised.added(before, now)
    assert promised.broken(before, more) == []
    assert promised.broken(more, now) == []


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return what sets, or with None removes, one thing."""

    def apply(now: dict[str, Any]) -> None:
        *folders, last = path.split("/")
        for one in folders:
            now = now[one]
        if value is None:
            now.pop(last)
        else:
            now[last] = value

    return apply


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (change("settings/budget.webhook", None), "setting budget.webhook: is gone"),
        (change("settings/audit.console/types", ["string"]), "setting audit.console: has another type"),
        (change("settings/audit.console/default", True), "setting audit.console: has another default"),
        (change("settings/audit.sync/values", ["group"]), "setting audit.sync: knows other values"),
        (
            change("settings/limits.json_depth/maximum", 100),
            "setting limits.json_depth: takes less than before (maximum)",
        ),
        (change("settings/budget.run.calls/minimum", 5), "setting budget.run.calls: takes less than before (minimum)"),
        (change("settings/budget.new", {"types": ["string"], "needed": True}), "setting budget.new: must be given now"),
        (change("settings/metrics/pattern", "on"), "setting metrics: has another pattern"),
        (change("events/grant.issue", None), "event grant.issue is gone"),
        (change("events/call.intent/fields", []), "event call.intent: safellm.key.ref is gone"),
        (change("events/key.remove/always", ["v"]), "event key.remove: other fields than before are always there"),
        (change("fields/seq", None), "field seq is gone"),
        (change("fields/seq/types", ["string"]), "field seq: has another type"),
        (change("fields/seq/types", ["integer", "null"]), "field seq: has another type"),
        (change("fields/decision/values", ["allow", "deny"]), "field decision: knows other values"),
        (change("names/reasons", []), "reasons: budget.exceeded is gone"),
        (change("names/python", ["OpenAI"]), "python: Refused is gone"),
        (change("names/commands", []), "commands: safellm scan --staged is gone"),
        (change("names/errors", []), "errors: Refused(SafeLLMError) is gone"),
    ],
)
def test_what_breaks_a_promise_is_found(before, damage, said):
    """Each kind of break is told by name."""
    now = copy.deepcopy(before)
    damage(now)
    assert said in promised.broken(before, now)


@pytest.mark.parametrize(
    "growth",
    [
        change("settings/budget.new", {"types": ["string"]}),
        change("settings/audit.console/types", ["boolean", "string"]),
        change("settings/audit.sync/values", ["each", "group", "none", "often"]),
        change("settings/limits.json_depth/maximum", 1000),
        change("settings/new[].name", {"types": ["string"], "needed": True}),
        change("events/new.event", {"always": ["v"], "fields": ["v"]}),
        change("fields/reason/values", ["z.new"]),
    ],
)
def test_growth_is_no_break(before, growth):
    """New settings, wider ones, new events and new codes are no break."""
    now = copy.deepcopy(before)
    if "reason" in before["fields"]:
        now["fields"]["reason"]["values"] = [*before["fields"]["reason"]["values"]]
    kept = copy.deepcopy(now["fields"]["reason"]["values"])
    growth(now)
    now["fields"]["reason"]["values"] = sorted({*kept, *now["fields"]["reason"]["values"]})
    assert promised.broken(before, now) == []


@pytest.mark.parametrize("version", OLD, ids=lambda path: path.name)
def test_an_old_trail_is_verified_and_read(version, tmp_path):
    """Its chain holds, each record fits today's schema, and the sums are those of its own time."""
    folder = tmp_path / "audit"
    shutil.copytree(version / "audit", folder)
    found = verify_directory(folder)
    assert found.ok, found.explain()
    sums = json.loads((version / "sums.json").read_text("utf-8"))
    assert (found.records, found.head) == (sums["records"], sums["head"])
    for file in find(folder):
        for line in file.path.read_bytes().splitlines():
            assert problems(json.loads(line)) == []
    summary, _ = sum_up(folder, tmp_path)
    assert summary.records == sums["records"]


@pytest.mark.parametrize("version", OLD, ids=lambda path: path.name)
def test_an_old_policy_is_still_a_policy(version):
    """A file with a value for most settings has no problem."""
    assert check_file(version / "policy.toml") == []


@pytest.mark.parametrize("version", OLD, ids=lambda path: path.name)
def test_an_old_encrypted_file_of_keys_opens(version, tmp_path):
    """With its passphrase, and the key is bound to the same address."""
    (file,) = (version / "keys").iterdir()
    shutil.copy(file, tmp_path / file.name)
    (tmp_path / file.name).chmod(0o600)
    key = SealedFileVault(tmp_path, lambda _: Secret("a passphrase of long ago")).get("openai")
    assert key is not None
    assert key.secret == Secret("an-example-" + "key-of-long-ago")
    assert [str(one) for one in key.origins] == ["https://api.openai.com"]


def test_a_released_version_promises_all_that_it_has(before, now):
    """While the changelog says "unreleased", new things may still change; after that they are in the list."""
    changes = (HERE.parents[1] / "CHANGELOG.md").read_text("utf-8")
    newest = next(line for line in changes.splitlines() if line.startswith("## "))
    if not newest.endswith("(unreleased)"):
        assert promised.added(before, now) == before, "PYTHONPATH=tests/support python tests/support/promised.py"
