"""`python -m safellm`: the command line, where its script isn't on the path."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm.cli import main

if __name__ == "__main__":
    main()
