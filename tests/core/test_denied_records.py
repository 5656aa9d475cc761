"""The record of a call that was refused before anything was hidden in it."""

from __future__ import annotations

import pytest
from exchanges import HIDDEN, World, chat

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBORw0KGgoAAAANSUhEUgAA" * 4}}


@pytest.mark.parametrize(("model", "stays"), [("gpt-4o", True), (f"gpt-{HIDDEN[0]}", False)])
def test_l_6_a_refusal_names_the_model_only_where_nothing_is_found_in_its_name(model: str, stays: bool) -> None:
    """A secret or a person in a model's name reaches no record, also where the call is refused before redaction."""
    world = World({"content": {"binary": "deny"}})
    world.begin({**chat("hi"), "model": model, "messages": [{"role": "user", "content": [IMAGE]}]})
    assert world.names[-1] == "policy.deny"
    assert ("gen_ai.request.model" in world.record("policy.deny")) is stays
