"""All of `google.generativeai`, guarded: `import safellm.google.generativeai as genai`.

The SDK is not maintained any more: new programs use `from safellm.google import genai`. It keeps one configuration per process, so
that plain imports of it in the same process are guarded too.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import warnings as _warnings
from collections.abc import Mapping as _Mapping
from importlib.util import find_spec as _find_spec
from typing import Any as _Any

from safellm.errors import ConfigurationError as _ConfigurationError

if _find_spec("google") is None or _find_spec("google.generativeai") is None:
    raise _ConfigurationError(
        "The SDK google-generativeai is not installed", remedy="Run: pip install 'safellm[google-generativeai]'"
    )


class UnmaintainedSDK(FutureWarning):
    """The category of the note that `google-generativeai` has a successor; filter it by this name."""


_warnings.warn(
    "google-generativeai is not maintained any more; its successor is guarded too: from safellm.google import genai",
    UnmaintainedSDK,
    stacklevel=2,
)
with _warnings.catch_warnings():
    _warnings.simplefilter("ignore", FutureWarning)  # the SDK says the same once more
    import google.generativeai as _genai

from safellm.attribute import attach as _attach  # noqa: E402 - after the note and the SDK
from safellm.submodules import mirror as _mirror  # noqa: E402 - the same
from safellm_google_generativeai.manager import MANAGER as _MANAGER  # noqa: E402 - the same
from safellm_google_generativeai.manager import install as _install  # noqa: E402 - the same

_install()
_attach("google.generativeai")

_mirror(globals(), _genai)  # before it is filled: the SDK's own modules, since the SDK itself is guarded

# The public face of the SDK, taken as it is, whatever the SDK's version.
globals().update({name: value for name, value in vars(_genai).items() if not name.startswith("_")})

__version__ = _genai.__version__


def configure(*, safellm: _Mapping[str, object] | None = None, **options: _Any) -> None:
    """Set what the SDK's `configure` sets, and policy values for this process (`safellm=`)."""
    _MANAGER.configure(safellm=safellm, **options)


def __getattr__(name: str) -> _Any:
    return getattr(_genai, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(_genai)})
