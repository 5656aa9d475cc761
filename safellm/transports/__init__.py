"""Shells that move bytes: each runs one `Exchange` per wire attempt and decides nothing."""
