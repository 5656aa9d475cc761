"""`safellm usage`: sums by what is asked for, as a table, CSV, JSON and a page that runs nothing."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import getpass
import io
import json
import os
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import safellm as library

MODELS = ("gpt-4o", "gpt-4o-mini", "=2+3", "<script>alert(1)</script>")


@pytest.fixture
def calls(home: Path, provider: Any) -> None:
    """Two calls of each model."""
    client = library.OpenAI(base_url=provider.base_url, api_key="given-in-code")
    for model in MODELS * 2:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hello there"}])
    client.close()


def sums(safellm: Any, *arguments: str) -> dict[str, Any]:
    return dict(json.loads(safellm("usage", "--json", *arguments).stdout))


@pytest.mark.usefixtures("calls")
def test_usage_sums_up_by_what_is_asked_for(safellm: Any) -> None:
    """The same totals, however they are cut; ledger and trail agree."""
    whole = sums(safellm)
    assert whole["requests"] == 8
    for by in ("model", "day", "week,provider", "month", "user,model", "key", "grant", "server,operation"):
        found = sums(safellm, "--by", by)
        assert found["by"] == by.split(",")
        for name in ("requests", "input_tokens", "output_tokens", "micro_usd", "unpriced_requests"):
            assert sum(one[name] for one in found["usage"]) == found[name] == whole[name], (by, name)
    models = sums(safellm, "--by", "model")["usage"]
    assert {one["model"]: one["requests"] for one in models} == dict.fromkeys(MODELS, 2)
    assert models[0]["model"] == "gpt-4o", "the dearest first"
    assert sums(safellm, "--by", "user")["usage"][0]["user"] == getpass.getuser()


@pytest.mark.usefixtures("calls")
def test_usage_since_a_time(safellm: Any) -> None:
    """A day, or a time ago; anything else is misuse."""
    assert sums(safellm, "--since", "7d")["requests"] == 8
    assert sums(safellm, "--since", "7d", "--by", "user")["requests"] == 8
    assert sums(safellm, "--since", "2999-01-01")["requests"] == 0
    assert sums(safellm, "--since", "2999-01-01", "--by", "user")["requests"] == 0
    assert safellm("usage", "--since", "soon").exit_code == 2
    assert safellm("usage", "--by", "mood").exit_code == 2
    assert safellm("usage", "--by", ",").exit_code == 2
    assert safellm("usage", "--by", "No label").exit_code == 2


def test_usage_by_users_and_labels(safellm: Any, provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels as the program said them; users whom a limit knows by their names, others by pseudonyms."""
    monkeypatch.setenv("SAFELLM_BUDGET_LIMITS", '[{ requests = 100, window = "day", per = ["user"] }]')
    client = library.OpenAI(base_url=provider.base_url, api_key="given-in-code")
    for team, user in (("red", "jane"), ("red", "joan"), ("blue", "jane"), ("", "jane")):
        with library.labels(user=user, **({"team": team} if team else {})):
            client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hello there"}])
    client.close()

    def counts(by: str) -> dict[tuple[str, ...], int]:
        return {
            tuple(one[name] for name in by.split(",")): one["requests"] for one in sums(safellm, "--by", by)["usage"]
        }

    assert counts("team") == {("red",): 2, ("blue",): 1, ("",): 1}
    assert counts("user") == {("jane",): 3, ("joan",): 1}
    assert counts("team,user")["red", "joan"] == 1
    monkeypatch.delenv("SAFELLM_BUDGET_LIMITS")
    assert sorted(name[0][:2] for name in counts("user")) == ["u-", "u-"]
    misspelt = safellm("usage", "--by", "taem")
    assert misspelt.exit_code == 2
    assert "team" in misspelt.stderr


@pytest.mark.usefixtures("calls")
def test_usage_as_parquet_is_read_back(safellm: Any, tmp_path: Path) -> None:
    """Names and whole numbers, in a file that only its user reads; a second one replaces it."""
    parquet = pytest.importorskip("pyarrow.parquet")
    target = tmp_path / "usage.parquet"
    for by in ("day", "model,user"):
        assert safellm("usage", "--parquet", str(target), "--by", by).exit_code == 0
    rows = parquet.read_table(target).to_pylist()
    wanted = sums(safellm, "--by", "model,user")["usage"]
    assert rows == wanted
    assert sum(row["requests"] for row in rows) == 8
    if os.name == "posix":
        assert target.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.glob(".*parquet*")) == []
    assert safellm("usage", "--parquet", str(tmp_path / "no" / "x.parquet")).exit_code == 2


@pytest.mark.usefixtures("calls")
def test_usage_as_text_has_bars_and_no_escape_codes(safellm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar for each line, the longest for the dearest."""
    monkeypatch.setenv("NO_COLOR", "1")
    shown = safellm("usage", "--by", "model").stdout
    assert "\x1b" not in shown
    lines = {line.split()[0]: line for line in shown.splitlines() if line.startswith(("gpt", "=2"))}
    filled = {name: sum(line.count(mark) for mark in "█#") for name, line in lines.items()}
    assert filled["gpt-4o"] > filled["gpt-4o-mini"] > filled["=2+3"] == 0
    assert "no price" in lines["=2+3"]


@pytest.mark.usefixtures("calls")
def test_usage_as_csv_is_read_back_and_runs_nothing(safellm: Any) -> None:
    """Numbers as numbers; a name that a spreadsheet would run is quoted."""
    rows = list(csv.DictReader(io.StringIO(safellm("usage", "--csv", "--by", "model").stdout)))
    assert {row["model"] for row in rows} == {"gpt-4o", "gpt-4o-mini", "'=2+3", "<script>alert(1)</script>"}
    assert sum(int(row["requests"]) for row in rows) == 8


class Tags(HTMLParser):
    """Notes the elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.links += [name for name, _ in attrs if name in ("src", "href") or name.startswith("on")]


@pytest.mark.usefixtures("calls")
@pytest.mark.parametrize("by", ["model", "day,user"])
def test_usage_as_a_page_loads_and_runs_nothing(safellm: Any, tmp_path: Path, by: str) -> None:
    """One file with plots; names from outside are text in it."""
    target = tmp_path / "usage.html"
    assert safellm("usage", "--html", str(target), "--by", by).exit_code == 0
    page = target.read_text("utf-8")
    tags = Tags()
    tags.feed(page)
    assert "svg" in tags.names
    assert not tags.names & {"script", "link", "img", "iframe", "object"}
    assert tags.links == []
    assert "default-src &#x27;none&#x27;" in page or "default-src &#39;none&#39;" in page
    assert ("alert(1)" in page) == (by == "model")


def test_usage_of_nothing(safellm: Any, tmp_path: Path) -> None:
    """No ledger and no trail are no error."""
    assert "Nothing was used yet" in safellm("usage").stdout
    assert "Nothing was used yet" in safellm("usage", "--by", "user").stdout
    assert sums(safellm)["usage"] == []
    assert safellm("usage", "--html", str(tmp_path / "page.html")).exit_code == 0
    assert safellm("usage", "--html", str(tmp_path / "no" / "page.html")).exit_code == 2
