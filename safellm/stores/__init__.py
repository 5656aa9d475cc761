"""Effects on the world outside: one folder per seam, `interface.py` plus one file per implementation."""
