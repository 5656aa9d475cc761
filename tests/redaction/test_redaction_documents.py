"""PDF and office files through a real client: nothing can be hidden in them, so they are refused or counted."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from documents_support import docx, pdf

import safellm
from safellm.testing.provider import LoopbackProvider

KEY = "a-key-for-tests"
SECRET = "sk-" + "proj-" + "A1b2" * 10
MAIL = "ann.lee@corp-mail.org"


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackProvider]:
    """A provider on this machine."""
    monkeypatch.setenv("SAFELLM_HOME", str(tmp_path))
    with LoopbackProvider(api_key=KEY) as running:
        yield running


def _client(provider: LoopbackProvider, settings: dict[str, Any] | None = None) -> Any:
    return safellm.OpenAI(base_url=provider.base_url, api_key=KEY, max_retries=0, safellm=settings or {})


def _ask(client: Any, data: bytes) -> None:
    url = f"data:application/pdf;base64,{base64.b64encode(data).decode()}"
    part = {"type": "input_file", "filename": "a", "file_data": url}
    client.responses.create(
        model="gpt-4o", input=[{"role": "user", "content": [part, {"type": "input_text", "text": "Sum up."}]}]
    )


@pytest.mark.parametrize("data", [docx(f"the key {SECRET}"), pdf(f"the key {SECRET}")], ids=["docx", "pdf"])
def test_r_9_documents_with_a_secret_are_refused(provider: LoopbackProvider, data: bytes) -> None:
    """A secret in a file stops the call and the upload, the refusal doesn't show it, and the policy can say not to look."""
    client = _client(provider)
    with pytest.raises(safellm.Refused, match="SECRET") as refused:
        _ask(client, data)
    assert refused.value.reason is safellm.Reason.CONTENT_DENIED
    assert SECRET not in str(refused.value)
    with pytest.raises(safellm.Refused, match="SECRET"):
        client.files.create(file=("a.bin", io.BytesIO(data)), purpose="user_data")
    assert not provider.requests
    _ask(_client(provider, {"content": {"documents": "pass"}}), data)
    assert len(provider.requests) == 1


def test_documents_with_personal_data_are_counted_or_refused(provider: LoopbackProvider) -> None:
    """Personal data in a file passes by default, byte for byte; it is refused with `refuse`, in strict mode, and by `block`."""
    data = docx(f"Write to {MAIL}.")
    _ask(_client(provider), data)
    assert base64.b64encode(data) in provider.requests[-1].body
    for settings in ({"content": {"documents": "refuse"}}, {"redaction": {"types": {"EMAIL": "block"}}}):
        with pytest.raises(safellm.Refused, match="EMAIL"):
            _ask(_client(provider, settings), data)
    _ask(_client(provider, {"content": {"documents": "refuse"}, "redaction": {"types": {"EMAIL": "allow"}}}), data)
    assert len(provider.requests) == 2


def test_documents_that_cannot_be_opened_pass_unless_the_policy_refuses_them(provider: LoopbackProvider) -> None:
    """A damaged file is content that can't be searched: it follows `content.binary`, and `refuse` doesn't let it through."""
    data = b"%PDF-1.7\nnothing of a PDF file"
    _ask(_client(provider), data)
    for settings in ({"content": {"documents": "refuse"}}, {"content": {"binary": "deny"}}):
        with pytest.raises(safellm.Refused):
            _ask(_client(provider, settings), data)
    assert len(provider.requests) == 1
