"""Numbers that states give to people and firms: one function per number says whether its check digits and parts can be right.

Every function takes the compact number (capitals and digits, without separators, of the shape that `data/words/kinds.toml`
gives) and returns whether it can have been issued. Sources: the issuing authority's published rule, named at each function.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from safellm._core.detection.national.americas import AMERICAS
from safellm._core.detection.national.asia import ASIA
from safellm._core.detection.national.europe_east import EUROPE_EAST
from safellm._core.detection.national.europe_west import EUROPE_WEST
from safellm._core.detection.national.medical import MEDICAL
from safellm._core.detection.national.nordic import NORDIC

NUMBERS: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    {**AMERICAS, **ASIA, **EUROPE_EAST, **EUROPE_WEST, **MEDICAL, **NORDIC}
)
