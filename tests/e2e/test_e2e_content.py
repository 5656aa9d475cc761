"""Kept content: only the private key reads it, what is erased is gone, and the trail proves the rest."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import safellm
from safellm.cli.app import app
from safellm.errors import ConfigurationError
from safellm.stores.content.keys import make_pair, parse_public, read_private
from safellm.stores.content.store import FILE_NAME, read
from safellm.stores.journal.files import find, verify_directory
from safellm.stores.journal.open import JOURNALS
from safellm.testing.canary import make_canary, sweep


@pytest.fixture
def private(tmp_path):
    """The file of a private key that the guarded program doesn't know."""
    return tmp_path / "far away" / "content.key"


@pytest.fixture
def public(private):
    """Its public half."""
    private.parent.mkdir()
    return make_pair(private)


def run(*arguments):
    done = CliRunner().invoke(app, ["audit", *arguments])
    return done.exit_code, done.output


def keeping(face, provider, public, how="redacted", **more):
    settings = {"audit.content": how, "audit.content_key": public, **more}
    return face.client(provider, safellm=settings)


def ids(records):
    return [one["event.id"] for one in records() if one["event.name"] == "call.intent"]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("how", ["redacted", "full"])
def test_l_6_only_the_private_key_reads_what_was_kept(face, provider, records, home, public, private, stream, how):
    """Redacted is what the provider saw, full what the program did; no file of this machine has either in the clear."""
    mail, word = f"{make_canary()}@example.com".lower(), "the old lighthouse keeper"
    client = keeping(face, provider, public, how)
    assert mail in face.ask(client, f"{mail} {word}", stream=stream)
    (id_,) = ids(records)
    request = read(home / "audit", read_private(private), id_, "in")
    answer = read(home / "audit", read_private(private), id_, "out")
    if how == "redacted":
        assert json.loads(request.data)["messages"] == json.loads(provider.requests[0].body)["messages"]
    assert (mail in request.data.decode()) == (how == "full")
    assert word in request.data.decode()
    assert answer.length == len(answer.data) > 0
    if not stream:
        assert (mail in answer.data.decode()) == (how == "full")
    for secret in (mail, word):
        assert sweep(secret, paths=[home]) == []


def test_records_name_what_is_kept(face, provider, records, home, public):
    """By the SHA-256 of what is on the disk, in intent and outcome; `verify` holds one against the other."""
    face.ask(keeping(face, provider, public))
    intent, outcome = records()
    with sqlite3.connect(home / "audit" / FILE_NAME) as database:
        found = {
            part: hashlib.sha256(data).hexdigest() for part, data in database.execute("SELECT part, data FROM content")
        }
        database.execute("UPDATE content SET data = data || 'x' WHERE part = 'out'")
    database.close()
    assert found == {"in": intent["safellm.content.sealed_in"], "out": outcome["safellm.content.sealed_out"]}
    code, text = run("verify")
    assert code == 1
    assert "1 were CHANGED" in text.replace("\n", " ")
    (home / "audit" / FILE_NAME).unlink()
    code, text = run("verify", "--json")
    assert code == 1
    assert len(json.loads(text)["content"]["missing"]) == 2


def test_another_key_reads_nothing(face, provider, records, home, public, tmp_path):
    """And the answer says why."""
    face.ask(keeping(face, provider, public))
    make_pair(tmp_path / "other.key")
    with pytest.raises(ConfigurationError, match="can't be opened"):
        read(home / "audit", read_private(tmp_path / "other.key"), ids(records)[0], "in")


def test_what_is_erased_is_gone_and_the_rest_is_proved(face, provider, records, home, public, private):
    """The sealed key is in no file any more, the chain has the erasure, and a kept checkpoint still fits."""
    client = keeping(face, provider, public)
    words = ["the old lighthouse", "a green bicycle"]
    for word in words:
        face.ask(client, word)
    JOURNALS.clear()
    first, second = ids(records)
    with sqlite3.connect(home / "audit" / FILE_NAME) as database:
        (sealed,) = database.execute("SELECT sealed FROM keys WHERE id = ? AND part = 'in'", (first,)).fetchone()
    database.close()
    checkpoint = home / "kept"
    assert run("checkpoint", "--out", str(checkpoint))[0] == 0
    assert run("erase", "--call", first, "--yes")[0] == 0
    assert all(sealed not in path.read_bytes() for path in (home / "audit").iterdir() if path.is_file())
    code, text = run("verify", "--checkpoint", str(checkpoint))
    assert code == 0, text
    assert "2 parts are as they were kept, 2 were erased on record" in text.replace("\n", " ")
    record = records()[-1]
    assert (record["event.name"], record["safellm.content.erased"]) == ("content.erase", 2)
    code, text = run("content", "--key", str(private))
    assert code == 0
    assert words[0] not in text
    assert words[1] in text
    with sqlite3.connect(home / "audit" / FILE_NAME) as database:  # erased by another hand, with the note forged
        database.execute("INSERT INTO erased SELECT id, part, digest, 'x' FROM content")
        database.execute("DELETE FROM content")
    database.close()
    code, text = run("verify")
    assert code == 1
    assert "2 are MISSING" in text.replace("\n", " ")
    assert second in text.replace("\n", " ")


def test_an_erasure_that_can_not_be_recorded_does_not_happen(face, provider, records, home, public, monkeypatch):
    """The trail is broken: the content stays."""
    face.ask(keeping(face, provider, public))
    JOURNALS.clear()
    monkeypatch.setenv("SAFELLM_AUDIT_MODE", "off")
    assert run("erase", "--all", "--yes")[0] == 2
    monkeypatch.delenv("SAFELLM_AUDIT_MODE")
    assert run("verify")[0] == 0
    assert run("erase")[0] == 2
    assert run("erase", "--all", "--yes") == (0, "Erased 2 kept requests or answers.\n")
    assert run("verify")[0] == 0


def test_erasure_by_user_takes_answers_too(face, provider, records, home, public):
    """The key stands in the intent only; the answer follows it."""
    face.ask(keeping(face, provider, public))
    JOURNALS.clear()
    assert run("erase", "--user", "nobody", "--yes")[1] == "No kept content fits.\n"
    assert run("erase", "--user", "code", "--yes")[1].startswith("Erased 2 ")


def test_content_that_can_not_be_kept_refuses_the_call(face, provider, home, public):
    """Required: nothing is sent. Best effort: it is told once, and the call goes on."""
    (home / "audit" / FILE_NAME).mkdir(parents=True)
    (home / "audit").chmod(0o700)
    with pytest.raises(safellm.GuardFailure, match="Content can't be kept"):
        face.ask(keeping(face, provider, public))
    assert provider.requests == []
    assert face.ask(keeping(face, provider, public, **{"audit.mode": "best_effort"}))
    assert verify_directory(home / "audit").ok


def test_content_is_cut_at_the_limit(face, provider, records, home, public, private):
    """Its length says that there was more."""
    face.ask(keeping(face, provider, public, **{"audit.content_bytes": 20}))
    kept = read(home / "audit", read_private(private), ids(records)[0], "in")
    assert len(kept.data) == 20
    assert kept.length > 20


def test_content_without_a_key_is_a_wrong_setting(provider, home, private, public):
    """Both at once: no key, and a private one where the public one belongs."""
    for wrong, what in (({}, "no key to encrypt"), ({"audit.content_key": private.read_text()}, "private key")):
        with pytest.raises(ConfigurationError, match=what):
            safellm.OpenAI(base_url=provider.base_url, api_key="x", safellm={"audit.content": "redacted", **wrong})
    assert len(parse_public(public)) == 32


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_processes_and_children_share_the_file(home, provider, public, records, private):
    """Two programs, one of which forks, at once: all is kept, and read."""
    program = (
        "import os, sys, safellm\n"
        "settings = {'audit.content': 'redacted', 'audit.content_key': sys.argv[2]}\n"
        "def ask(n):\n"
        "    client = safellm.OpenAI(base_url=sys.argv[1], api_key='x', safellm=settings)\n"
        "    for _ in range(n): client.embeddings.create(model='m', input='hello')\n"
        "ask(2)\n"
        "child = os.fork()\n"
        "ask(5)\n"
        "if not child: os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", program, provider.base_url, public]) for _ in range(2)
    ]
    assert [one.wait(60) for one in running] == [0, 0]
    code, text = run("verify")
    assert code == 0, text
    assert len(ids(records)) == 24
    code, text = run("content", "--key", str(private), "--json")
    assert all(one["request"] and one["answer"] for one in json.loads(text))
    assert (home / "audit" / FILE_NAME).stat().st_mode & 0o077 == 0


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400), st.integers(0, 30_000), st.booleans())
def test_l_7_crafted_content_neither_crashes_nor_fools_verify(provider, home, public, data, place, whole):
    """Bytes of the file are overwritten, or all of it: verify tells a problem, or that all is as it was, in plain words."""
    path = home / "audit" / FILE_NAME
    if not path.exists():
        client = safellm.OpenAI(
            base_url=provider.base_url, api_key="x", safellm={"audit.content": "redacted", "audit.content_key": public}
        )
        client.embeddings.create(model="m", input="hello")
        client.close()
        JOURNALS.clear()
        (home / "good").write_bytes(path.read_bytes())
    good = (home / "good").read_bytes()
    bad = data if whole else good[:place] + data + good[place + len(data) :]
    path.write_bytes(bad)
    done = CliRunner().invoke(app, ["audit", "verify", "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    if done.exit_code == 0:
        with sqlite3.connect(path) as database:  # what counts is there
            parts = {
                part: hashlib.sha256(one).hexdigest()
                for part, one in database.execute("SELECT part, data FROM content")
            }
        database.close()
        (intent, outcome) = [
            json.loads(line) for file in find(home / "audit") for line in file.path.read_bytes().splitlines()
        ]
        assert parts == {"in": intent["safellm.content.sealed_in"], "out": outcome["safellm.content.sealed_out"]}
    else:
        assert done.exit_code == 1 or "safellm: " in done.stderr
