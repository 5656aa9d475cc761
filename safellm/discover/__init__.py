"""Find use of language models in a code base that no guard covers: `safellm discover PATH`. Reads files, runs none of them."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm.discover.findings import Finding, Level, Report
from safellm.discover.search import discover

__all__ = ["Finding", "Level", "Report", "discover"]
