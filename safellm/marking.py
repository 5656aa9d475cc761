"""Marking what is sensitive: one value in a text, or a field of a model, where no detector could know it.

prompt = f"Write to customer {safellm.sensitive(number, 'CUSTOMER_ID')}."

class Customer(BaseModel):
number: Annotated[str, safellm.Sensitive("CUSTOMER_ID")]

prompt = f"Write to {json.dumps(safellm.mask(customer))}."
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, is_dataclass
from functools import lru_cache
from typing import Any

from safellm.errors import ConfigurationError
from safellm.stores.conversations import current_conversation
from safellm.stores.marked import mark

_masking: ContextVar[bool] = ContextVar("safellm_masking", default=False)


def sensitive(value: object, name: str) -> str:
    """Return a text that stands for a value; a guarded client sends a placeholder for it and restores the value in the answer.

    The text itself tells nothing, so a log or a client without guards gets nothing. Inside `with safellm.conversation(...)` it is
    bound to that conversation. `safellm.restore` gives the value back.

    Args:
        value: Anything; its `str` is hidden. An empty text stays empty.
        name: Its type, such as "CUSTOMER_ID"; the model reads it in the placeholder.

    Raises:
        ValueError: the name is not upper-case letters, digits and underscores.
    """
    return mark(str(value), name, current_conversation())


@dataclass(frozen=True, slots=True)
class Sensitive:
    """Marks a field: `Annotated[str, Sensitive("CUSTOMER_ID")]` in pydantic models, dataclasses and typed dictionaries.

    Nothing changes until `safellm.mask` writes the object: validation, JSON schema and `model_dump` are as without it.
    """

    name: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Return the field's schema, with a way of writing that asks whether `mask` is at work."""
        from pydantic_core import core_schema  # noqa: PLC0415 - pydantic calls this, so it is there

        def write(value: Any, default: Any) -> Any:
            return _mark_all(default(value), self.name) if _masking.get() else default(value)

        schema = handler(source)
        schema["serialization"] = core_schema.wrap_serializer_function_ser_schema(
            write, schema=schema.copy(), when_used="always"
        )
        return schema


def mask(value: object, as_type: Any = None) -> Any:
    """Return an object as plain data for JSON, with every marked field as `sensitive` would give it.

    Args:
        value: A pydantic model, a dataclass, or a list, tuple or dictionary of such.
        as_type: The type to read the marks from, where the value doesn't say: a typed dictionary, `list[Customer]`.

    Raises:
        ConfigurationError: the type can't be written as JSON.
    """
    from pydantic.errors import PydanticUserError  # noqa: PLC0415 - not before it is needed
    from pydantic_core import PydanticSerializationError  # noqa: PLC0415

    token = _masking.set(True)
    try:
        return _plain(value, as_type)
    except (PydanticUserError, PydanticSerializationError):
        raise ConfigurationError(
            f"An object of type {type(value).__name__} can't be written as JSON",
            remedy="Give its fields types that pydantic knows, or mark its values with safellm.sensitive.",
        ) from None
    finally:
        _masking.reset(token)


def _plain(value: Any, as_type: Any) -> Any:
    if as_type is not None:
        return _adapter(as_type).dump_python(value, mode="json")
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(one, None) for one in value]
    if isinstance(value, dict):
        return {str(key): _plain(one, None) for key, one in value.items()}
    if is_dataclass(value) or hasattr(type(value), "__pydantic_serializer__"):
        kind: Any = type(value)
        return _adapter(kind).dump_python(value, mode="json")
    return _adapter(Any).dump_python(value, mode="json")


@lru_cache(maxsize=256)
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter  # noqa: PLC0415 - not before it is needed

    return TypeAdapter(kind)


def _mark_all(value: Any, name: str) -> Any:
    """Mark every value of a field that was written already; its names stay."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (list, tuple)):
        return [_mark_all(one, name) for one in value]
    if isinstance(value, dict):
        return {key: _mark_all(one, name) for key, one in value.items()}
    return sensitive(value, name)
