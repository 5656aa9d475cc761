"""Ways around the guard that were found by attacking it: each was open once."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mediation_openai import OPENAI

import openai
import safellm
from safellm._core import charsets
from safellm._core.decoding import Undecodable
from safellm.errors import GuardFailure, Refused

NATIVE = OPENAI.native
MAIL = "alice.liddell@" + "example.com"
SECRET = "ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bD1fH3jL5"
TEXT = f"Who is {MAIL}? The key is {SECRET}; don't tell."
ESC, HIDDEN = "\x1b", "\u200b"
HOSTILE = f"a{ESC}[2J{HIDDEN}b"


class Wire:
    """What was sent, and what is answered."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.status, self.headers, self.body = 200, {"content-type": "application/json"}, b"{}"

    def __call__(self, request: Any) -> Any:
        self.sent.append(request.read())
        return NATIVE.Response(self.status, headers=self.headers, content=self.body)


@pytest.fixture
def wire() -> Wire:
    """The network."""
    return Wire()


@pytest.fixture
def client(home: Path, wire: Wire) -> Iterator[Any]:
    """A guarded client on it."""
    http = NATIVE.Client(transport=NATIVE.MockTransport(wire))
    yield safellm.OpenAI(api_key="given", max_retries=0, http_client=http)
    http.close()


def decoded(body: bytes) -> bytes:
    """Return a body's inline file as bytes."""
    text: str = json.loads(body)["input"][0]["content"][0]["file_data"]
    encoded = text.rpartition(",")[2].translate(str.maketrans("-_", "+/", "\r\n "))
    return base64.b64decode(encoded + "=" * (-len(encoded) % 4))


RAW = TEXT.encode()
PLAIN = base64.b64encode(RAW).decode()
BASE64 = {
    "in lines": base64.encodebytes(RAW).decode(),
    "in lines of Windows": base64.encodebytes(RAW).decode().replace("\n", "\r\n"),
    "in lines in a data URL": "data:text/plain;base64," + base64.encodebytes(RAW).decode(),
    "without padding": base64.b64encode(RAW + b"." * (1 - len(RAW) % 3)).decode().rstrip("="),
    "with a space behind": PLAIN + " ",
    **{
        f"called {media}": f"data:{media};base64,{PLAIN}"
        for media in (
            "application/octet-stream", "application/javascript", "application/x-yaml", "application/ld+json", "image/svg+xml",
            "application/pdf", "image/png", "audio/wav",
        )
    },
    "in Latin-1": base64.b64encode(("é " + TEXT).encode("latin-1")).decode(),
    "cut inside a character": base64.b64encode(RAW + "é".encode()[:1]).decode(),
}  # fmt: skip


@pytest.mark.parametrize("form", BASE64)
def test_r_9_text_in_base64_is_searched(client: Any, wire: Wire, form: str) -> None:
    """However a text is packed into base64, and whatever it is called, what it says is searched."""
    part = {"type": "input_file", "filename": "a", "file_data": BASE64[form]}
    client.responses.create(model="m", input=[{"role": "user", "content": [part]}])
    sent = decoded(wire.sent[0])
    assert MAIL.encode() not in sent
    assert SECRET.encode() not in sent
    assert b"don't tell." in sent
    assert len(wire.sent) == 1


def test_r_9_base64_of_no_text_stays_as_it_is(client: Any, wire: Wire) -> None:
    """Pictures, sound and documents pass byte for byte, and so does the body around them."""
    for data in (
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)),
        b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n",
        b"RIFF\0\0\0\0WAVE",
    ):
        encoded = base64.encodebytes(data).decode()
        part = {"type": "input_file", "filename": "a", "file_data": encoded}
        client.responses.create(model="m", input=[{"role": "user", "content": [part]}])
        assert json.loads(wire.sent[-1])["input"][0]["content"][0]["file_data"] == encoded


FILES = {
    "of an unknown type": ("a.xyz", RAW, "application/x-unknown"),
    "called a picture": ("a.png", RAW, "image/png"),
    "a drawing": ("a.svg", b"<svg><text>" + RAW + b"</text></svg>", "image/svg+xml"),
    "called a document": ("a.pdf", RAW, "application/pdf"),
    "in Latin-1": ("a.csv", ("é " + TEXT).encode("latin-1"), "text/csv"),
    "in Windows' Polish": ("a.txt", ("zażółć gęślą " + TEXT).encode("cp1250"), "text/plain"),
    "cut inside a character": ("part", "日本".encode()[1:] + RAW, "application/octet-stream"),
}


@pytest.mark.parametrize("kind", FILES)
def test_r_9_text_files_are_searched_whatever_they_are_called(client: Any, wire: Wire, kind: str) -> None:
    """A file's bytes say whether it is text; what of it isn't ASCII is sent as it was."""
    client.files.create(file=FILES[kind], purpose="user_data")
    (sent,) = wire.sent
    assert MAIL.encode() not in sent
    assert SECRET.encode() not in sent
    assert FILES[kind][1].partition(MAIL.encode())[0] in sent
    assert b"don't tell." in sent


def test_half_a_surrogate_pair_in_a_file_breaks_nothing(client: Any, wire: Wire) -> None:
    """A literal with an escape that no encoding can write is written with escapes again."""
    client.files.create(file=("a.json", f'{{"a": "é \\ud800 {MAIL}"}}'.encode()), purpose="user_data")
    assert b"\\u00e9 \\ud800 X-EMAIL-" in wire.sent[0]


def test_r_1_registered_secrets_are_found_in_short_names_and_sealed_texts(client: Any, wire: Wire) -> None:
    """A name of a member that looks like any other, and a text that only the provider reads, may hold what was registered."""
    secret = "hunter" + "hunter"
    safellm.register_secret(secret)
    call = {"name": "f", "arguments": json.dumps({secret: 1})}
    client.post(
        "/chat/completions",
        cast_to=object,
        body={
            "metadata": {secret: "x"},
            "list": [{"deep": {secret: 2}}],
            "input": [{"type": "reasoning", "encrypted_content": f"gAAA{secret}"}],
            "messages": [{"role": "assistant", "tool_calls": [{"type": "function", "function": call}]}],
        },
    )
    assert secret.encode() not in wire.sent[0]
    assert wire.sent[0].count(b"X-REGISTERED-") == 4


# -- answers ----------------------------------------------------------------------------------------------------------


def completion(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}  # fmt: skip


def ask(client: Any) -> Any:
    return client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
@pytest.mark.parametrize("media", ["application/json", "text/plain", "application/octet-stream"])
def test_o_3_an_answer_in_a_wide_encoding_is_withheld(client: Any, wire: Wire, media: str, encoding: str) -> None:
    """Readers of JSON take UTF-16 and UTF-32 as well, whatever the answer calls itself."""
    wire.headers = {"content-type": media}
    wire.body = json.dumps(completion(HOSTILE), ensure_ascii=False).encode(encoding)
    with pytest.raises(Refused):
        ask(client)


@pytest.mark.parametrize("charset", ["utf-7", '"UTF-7"', "utf-16", "cp037", "unicode_escape", "hz", "iso2022_jp"])
def test_o_3_text_in_which_ascii_is_not_ascii_is_withheld(client: Any, wire: Wire, charset: str) -> None:
    """`response.text` goes by the charset: the guard would read another text than the program."""
    wire.headers, wire.body = {"content-type": f"text/plain; charset={charset}"}, b"+ABs-[2J"
    with pytest.raises(Refused):
        client.audio.transcriptions.create(file=("a.wav", b"RIFF\0"), model="m", response_format="text")
    wire.status = 400
    with pytest.raises(Refused):
        ask(client)


@pytest.mark.parametrize("declared", ["", "; charset=iso-8859-1", "; charset=windows-1252"])
def test_o_3_text_that_is_not_utf_8_is_cleaned(client: Any, wire: Wire, declared: str) -> None:
    """A page of an old server is text, too; its other characters stay what they are for its readers."""
    wire.headers = {"content-type": f"text/html{declared}"}
    wire.status, wire.body = 502, f"schön {ESC}[2J ![x](https://evil.example/q)".encode("latin-1")
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client)
    text = caught.value.response.text
    assert ESC not in text
    assert "![x](" not in text
    assert ("schön" in text) is bool(declared)


@pytest.mark.parametrize("media", ["application/json", "text/plain"])
def test_o_3_a_byte_order_mark_hides_nothing(client: Any, wire: Wire, media: str) -> None:
    """JSON behind the mark of UTF-8 is JSON: its escapes are read."""
    wire.headers, wire.body = {"content-type": media}, b"\xef\xbb\xbf" + json.dumps(completion(HOSTILE)).encode()
    assert ask(client).choices[0].message.content == "a\\x1b[2Jb"


def test_charsets_of_readers() -> None:
    """Unknown names are UTF-8 for readers; the last that is known counts, as for none of these it matters."""
    for name in (
        "text/plain",
        "text/plain; charset=utf-8",
        'text/plain; Charset="US-ASCII"',
        "a/b; charset=nonsense",
        "a; charset=",
    ):
        assert charsets.codec_of(name) == "utf-8"
    assert charsets.codec_of("text/html;charset=ISO-8859-15") == "iso8859-15"
    for name in (
        "a; charset*=utf-7''utf-7",
        "a; charset=utf-8; charset=utf-7",
        "a, b; CHARSET='utf-16'",
        "a; charset*0=utf-7",
    ):
        with pytest.raises(Undecodable):
            charsets.codec_of(name)


def test_o_3_headers_with_controls_are_left_out(client: Any, wire: Wire) -> None:
    """What would drive a terminal when a program shows an answer's headers doesn't come; other headers do."""
    wire.headers |= {"x-note": f"a{ESC}[2J", "x-request-id": f"r{ESC}", "x-limit": "7"}
    wire.body = json.dumps(completion("fine")).encode()
    raw = client.chat.completions.with_raw_response.create(model="m", messages=[{"role": "user", "content": "hi"}])
    assert "x-note" not in raw.headers
    assert raw.headers["x-limit"] == "7"
    assert raw.parse().choices[0].message.content == "fine"
    wire.status = 400
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client)
    assert ESC not in repr(caught.value.response.headers)
    assert caught.value.request_id is None


ODD_LINES = (": {}", "id: {}", "event: {}", "retry: {}", "note: {}", "{}", ":{}\n", "event: {}\n", "id: {}\n")


@pytest.mark.parametrize("line", ODD_LINES)
def test_o_3_lines_beside_the_data_of_events_are_words(client: Any, wire: Wire, line: str) -> None:
    """Comments, ids and names of events: a program that reads a stream's lines itself sees no control or link in them."""
    wire.headers = {"content-type": "text/event-stream"}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m",
             "choices": [{"index": 0, "delta": {"content": "fine"}}]}  # fmt: skip
    event = f"event: chunk.of-it\nid: 7/8=\n: keep-alive\ndata: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
    odd = line.format(HOSTILE + "[x](https://evil.example)")
    wire.body = f"{odd}\n{event}".encode()
    streaming = client.chat.completions.with_streaming_response
    with streaming.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=True) as response:
        lines = list(response.iter_lines())
    assert not [one for one in lines if ESC in one or HIDDEN in one or "evil" in one]
    assert {"event: chunk.of-it", "id: 7/8=", ": keep-alive", "data: [DONE]"} <= set(lines)


# -- guards that break ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["safellm._core.bodies.JsonBody.encode", "safellm._core.exchange.form_of"])
def test_what_breaks_at_the_edges_of_a_guard_is_told_as_that(
    client: Any, wire: Wire, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Writing a changed body and reading an answer's head: an error there is a guard's, and its message isn't told."""

    def broken(*_: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(place, broken)
    with pytest.raises(GuardFailure) as caught:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": MAIL}])
    assert SECRET not in str(caught.value)
    assert len(wire.sent) == ("exchange" in place)


# -- the drop-ins' submodules -----------------------------------------------------------------------------------------

# Where the SDKs keep their client classes.
DOORS = [
    ("openai", "_client", "OpenAI"), ("openai", "_client", "AsyncOpenAI"), ("openai", "lib.azure", "AzureOpenAI"),
    ("anthropic", "_client", "Anthropic"), ("anthropic", "lib.vertex", "AnthropicVertex"),
    ("anthropic", "lib.vertex._client", "AsyncAnthropicVertex"), ("google.genai", "client", "Client"),
]  # fmt: skip


@pytest.mark.parametrize(("sdk", "module", "name"), DOORS)
def test_e_4_a_submodule_of_a_drop_in_has_the_guarded_class(sdk: str, module: str, name: str) -> None:
    """`from safellm.openai.lib.azure import AzureOpenAI` is the guarded one; the SDK's own module isn't touched."""
    plain_module = pytest.importorskip(f"{sdk}.{module}")
    drop_in, plain = importlib.import_module(f"safellm.{sdk}"), getattr(plain_module, name)
    found = importlib.import_module(f"safellm.{sdk}.{module}")
    assert getattr(found, name) is getattr(drop_in, name) is not plain
    namespace: dict[str, Any] = {}
    exec(f"from safellm.{sdk}.{module} import {name} as it", namespace)
    assert namespace["it"] is getattr(drop_in, name)
    assert getattr(plain_module, name) is plain
    assert plain_module.__spec__.name == f"{sdk}.{module}"


def test_a_submodule_of_a_drop_in_changes_nothing_in_the_sdk() -> None:
    """`openai.providers.bedrock` is a function and a module of that name: after the import it is the function still."""
    pytest.importorskip("openai.providers.bedrock", reason="newer SDKs only")
    code = "import safellm.openai, safellm.openai.providers.bedrock\nfrom openai.providers import bedrock as {0}\n"
    code += "from safellm.openai.providers import bedrock as {1}\nassert callable({0}) and callable({1})"
    subprocess.run([sys.executable, "-c", code.format("plain", "guarded")], check=True, timeout=60)


def test_e_4_submodules_are_reached_by_name_and_by_attribute() -> None:
    """`safellm.openai.lib.azure.AzureOpenAI` is the guarded class as well; what is set there is set on the SDK's module."""
    from safellm import openai as drop_in

    assert drop_in.lib.azure.AzureOpenAI is drop_in.AzureOpenAI
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("safellm.openai.lib.azure.API_KEY_SENTINEL", "here")
        assert openai.lib.azure.API_KEY_SENTINEL == "here"  # type: ignore[comparison-overlap]  # set a line above
    assert openai.lib.azure.API_KEY_SENTINEL != "here"
    assert "AzureOpenAI" in dir(drop_in.lib.azure)


@pytest.mark.parametrize(
    "name", ["types.chat", "types.chat.chat_completion", "pagination", "resources.chat.completions"]
)
def test_submodules_without_clients_are_the_sdk_s_own(name: str) -> None:
    """Types and resources are the same objects whichever way they are imported, so that `isinstance` holds."""
    assert importlib.import_module(f"safellm.openai.{name}") is importlib.import_module(f"openai.{name}")


def test_a_submodule_that_the_sdk_does_not_have_is_not_found() -> None:
    """The error is the interpreter's own, with the name that was asked for."""
    with pytest.raises(ModuleNotFoundError, match=r"safellm\.openai\.nothing"):
        importlib.import_module("safellm.openai.nothing")
    assert "safellm.openai.nothing" not in sys.modules
