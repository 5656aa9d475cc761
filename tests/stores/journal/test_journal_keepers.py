"""Second places for checkpoints: each gets the note, and nothing it holds can be changed by whoever writes."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import http.server
import socket
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.spoken import from_words, to_words
from safellm.errors import ConfigurationError
from safellm.stores.journal import keeper_s3, keepers
from safellm.stores.journal.checkpoints import make_checkpoint, signing_key, verifier_key
from safellm.stores.journal.jsonl import JsonlJournal
from safellm.stores.journal.keepers import check_place, keep, kept_last
from safellm.stores.journal.proof import prove, read_kept, read_words

NOW = 1_790_000_000_000_000_000


@pytest.fixture
def signed(tmp_path):
    """A trail, two of its checkpoints, and its public key."""
    journal = JsonlJournal(tmp_path / "audit", sync="none")
    private, made = signing_key(tmp_path), []
    for number in range(2):
        for _ in range(3):
            journal.append("test.event", {"number": number}, time_ns=NOW)
        made.append(make_checkpoint(tmp_path / "audit", private, now_ns=NOW))
    journal.close()
    uid = made[0].checkpoint.origin.rpartition("/")[2]
    return tmp_path / "audit", [one.note for one in made], verifier_key(private, uid)


def test_l_2_a_table_keeps_checkpoints_for_good(signed, postgres_server):
    """The table is made; nothing in it can be changed or removed; what it holds proves the trail, and finds a cut."""
    import psycopg

    trail, notes, key = signed
    for note in (*notes, notes[1]):
        keep(note, postgres_server.url)
    assert kept_last(postgres_server.url) == notes[1]
    for change in (
        "UPDATE safellm_checkpoints SET note = ''",
        "DELETE FROM safellm_checkpoints",
        "TRUNCATE safellm_checkpoints",
    ):
        with psycopg.connect(postgres_server.url) as connection, pytest.raises(psycopg.errors.RaiseException):
            connection.execute(change)
    points = read_kept(postgres_server.url, key)
    assert [one.size for one in points] == [3, 6]
    assert prove(trail, points).ok
    (file,) = trail.glob("trail-*.jsonl")
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:4]))
    assert not prove(trail, points).ok


def test_a_database_that_is_not_there_is_told(tmp_path):
    """With what to do, and no more than a few seconds."""
    with pytest.raises(ConfigurationError, match="table of checkpoints can't be used"):
        keep("a note", f"postgresql://nobody@/none?host={tmp_path}")


class Bucket(http.server.BaseHTTPRequestHandler):
    objects: dict[str, bytes]
    heads: list[dict[str, str]]

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.heads.append({name.lower(): value for name, value in self.headers.items()})
        there = self.path in self.objects
        if not there:
            self.objects[self.path] = body
        self.send_response(
            412 if there and self.headers["If-None-Match"] == "*" else 200 if "%" not in self.path else 403
        )
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def bucket():
    """A server that keeps objects, and refuses to write one twice."""
    handler = type("Handler", (Bucket,), {"objects": {}, "heads": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield handler, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_l_2_a_bucket_keeps_each_checkpoint_once_and_locked(signed, bucket, monkeypatch):
    """A name of its own for each, no overwriting, a lock until a day; a second copy of the same is no error."""
    _, notes, key = signed
    handler, endpoint = bucket
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AK" + "IA" + "X" * 16)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s" * 40)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a token")
    place = f"s3://my-bucket/some/where?region=eu-central-1&lock_days=400&endpoint={endpoint}"
    for note in (*notes, notes[1]):
        keep(note, place)
    assert list(handler.objects.values()) == [note.encode() for note in notes]
    assert sorted(handler.objects)[1] == f"/my-bucket/some/where/{key.name}/0000000000000006.txt"
    head = handler.heads[0]
    assert (head["if-none-match"], head["x-amz-object-lock-mode"], head["x-amz-security-token"]) == (
        "*",
        "COMPLIANCE",
        "a token",
    )
    assert head["x-amz-content-sha256"] == hashlib.sha256(notes[0].encode()).hexdigest()
    secret = keeper_s3.authorization(
        {name: head[name] for name in head["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")},
        min(handler.objects), "eu-central-1", "AK" + "IA" + "X" * 16, "s" * 40,
    )  # fmt: skip
    assert secret == head["authorization"]


def test_requests_to_buckets_are_signed_as_published():
    """The example of the Amazon S3 API reference, "Authenticating requests: using the Authorization header", PUT object."""
    body = b"Welcome to Amazon S3."
    headers = {
        "date": "Fri, 24 May 2013 00:00:00 GMT", "host": "examplebucket.s3.amazonaws.com",
        "x-amz-content-sha256": hashlib.sha256(body).hexdigest(), "x-amz-date": "20130524T000000Z",
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
    }  # fmt: skip
    key, secret = "AK" + "IAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI" + "/K7MDENG/" + "bPxRfiCYEXAMPLEKEY"
    found = keeper_s3.authorization(headers, "/test%24file.text", "us-east-1", key, secret)
    assert found.endswith("Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd")


def test_a_bucket_that_refuses_is_told(signed, bucket, monkeypatch):
    """Its status, or that there are no credentials."""
    _, notes, _ = signed
    handler, endpoint = bucket
    with pytest.raises(ConfigurationError, match="no credentials"):
        keep(notes[0], f"s3://my-bucket?endpoint={endpoint}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with pytest.raises(ConfigurationError, match="status 403"):
        keep(notes[0], f"s3://my-bucket/a%20b?endpoint={endpoint}")
    with pytest.raises(ConfigurationError, match="can't be kept"):
        keep(notes[0], "s3://my-bucket?endpoint=http://127.0.0.1:1")
    assert len(handler.heads) == 1


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ("relative", "can't be kept there"),
        ("s3://", "no address of a bucket"),
        ("s3://b@d/x", "no address of a bucket"),
        ("s3://bucket/x?lock_days=never", "no address of a bucket"),
        ("s3://bucket/x?unknown=1", "no address of a bucket"),
        ("s3://bucket/x", "not one of egress.origins"),
        ("postgresql://me:" + "pw" + "@host/db", "no password"),
        ("postgresql://host/db?user=x&password=" + "pw", "no password"),
    ],
)
def test_wrong_places_are_refused(place, what):
    """Before anything is sent, without repeating what may be a password."""
    with pytest.raises(ConfigurationError, match=what) as caught:
        check_place(place, ())
    assert "pw" not in str(caught.value)
    check_place("s3://bucket/x?region=eu-west-1", ("https://s3.eu-west-1.amazonaws.com",))


def test_l_2_the_system_log_gets_checkpoints(signed, monkeypatch):
    """One line each, from which they can be read again."""
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("a system without Unix sockets")
    trail, notes, key = signed
    folder = tempfile.TemporaryDirectory(prefix="slm")
    with folder as name, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(f"{name}/log")
        log.settimeout(10)
        monkeypatch.setattr(keepers, "_SOCKETS", (f"{name}/log",))
        for note in notes:
            keep(note, "syslog")
        lines = [log.recv(65536).decode().rstrip("\0") for _ in notes]
        kept = Path(name, "messages")
        kept.write_text("\n".join(["Nov 23 10:00:00 host other: x", *lines]) + "\n")
        assert prove(trail, read_kept(kept, key)).ok


def test_l_2_opentelemetry_gets_checkpoints(signed):
    """As a log record whose body can be read again, and whose attribute is the note."""
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry import _logs
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    before = _logs._internal._LOGGER_PROVIDER
    _logs._internal._LOGGER_PROVIDER = provider
    try:
        keep(signed[1][0], "otel")
    finally:
        _logs._internal._LOGGER_PROVIDER = before
        provider.shutdown()
    (found,) = exporter.get_finished_logs()
    assert found.log_record.attributes["safellm.checkpoint.note"] == signed[1][0]


@given(st.integers(1, 10**15), st.binary(min_size=32, max_size=32))
def test_words_say_a_checkpoint(size, root):
    """There and back, however they are typed."""
    words = to_words(size, root)
    assert from_words(words) == (size, root)
    assert from_words(words.upper().replace(" ", "-")) == (size, root)
    assert all(len(word) == 5 for word in words.split()[1:])


@given(st.binary(min_size=32, max_size=32), st.integers(0, 16), st.text("bdfghjklmnprstvzaiou", min_size=5, max_size=5))
def test_a_word_that_was_written_down_wrong_is_found(root, place, other):
    """But for one in 65,536 that fits by chance."""
    words = to_words(7, root).split()
    if words[place + 1] == other:
        return
    words[place + 1] = other
    try:
        found = from_words(" ".join(words))
    except ValueError:
        return
    assert found != (7, root)


@pytest.mark.parametrize("place", range(18))
def test_each_word_and_the_number_are_checked(place):
    """One of them exchanged for another that would be possible."""
    words = to_words(7, bytes(range(32))).split()
    words[place] = "8" if place == 0 else "lusab"
    with pytest.raises(ValueError, match="don't fit together"):
        from_words(" ".join(words))


def test_l_2_words_on_paper_prove_the_trail(signed):
    """And find that a line before them was changed."""
    trail, notes, key = signed
    (point,) = [one for one in _points(notes, key) if one.size == 6]
    words = to_words(point.size, point.root)
    assert prove(trail, [read_words(words, key)]).ok
    (file,) = trail.glob("trail-*.jsonl")
    file.write_bytes(file.read_bytes().replace(b'"number":0', b'"number":5', 1))
    assert not prove(trail, [read_words(words, key)]).ok
    with pytest.raises(ConfigurationError, match="word 3"):
        read_words(words.replace(words.split()[3], "queue"), key)


def _points(notes, key):
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "kept")
        path.write_text("\n".join(notes))
        return read_kept(path, key)
