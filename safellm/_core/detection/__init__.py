"""Finds secrets and personal data in text. Entry points: `scanner.compile_scanner`, `canonical.canonicalise`."""
