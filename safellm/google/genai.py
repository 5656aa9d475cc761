"""All of `google.genai`, with a guarded client: `from safellm.google import genai`.

Types, errors and helpers are the SDK's own objects, and its submodules can be imported from here too
(`from safellm.google.genai import types`, `from safellm.google.genai.types import Part`).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib as _importlib
import pkgutil as _pkgutil
from importlib.util import find_spec as _find_spec
from typing import TYPE_CHECKING
from typing import Any as _Any

from safellm.errors import ConfigurationError as _ConfigurationError

if _find_spec("google") is None or _find_spec("google.genai") is None:
    raise _ConfigurationError("The SDK google-genai is not installed", remedy="Run: pip install 'safellm[google]'")

from google import genai as _genai

if TYPE_CHECKING:
    from google.genai import chats as chats
    from google.genai import errors as errors
    from google.genai import files as files
    from google.genai import models as models
    from google.genai import pagers as pagers
    from google.genai import types as types
    from google.genai import version as version

from safellm.attribute import attach as _attach
from safellm.submodules import mirror as _mirror
from safellm_google_genai.clients import Client as Client

_attach("google.genai")
_guarded = _mirror(globals(), _genai)
__version__ = _genai.__version__
__all__ = list(_genai.__all__)
# Modules that a program reaches by `Client`; the guarded one is in `client`, too.
_UNGUARDED = frozenset({"client", "live", "live_music", "local_tokenizer"})
_PUBLIC = frozenset(
    one.name
    for one in _pkgutil.iter_modules(_genai.__path__)
    if not one.name.startswith("_") and one.name not in _UNGUARDED
)


def __getattr__(name: str) -> _Any:
    if name in _PUBLIC:
        return _guarded(_importlib.import_module(f"google.genai.{name}"))
    return _guarded(getattr(_genai, name))


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC, *dir(_genai)})
