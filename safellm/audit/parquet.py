"""Rows as a Parquet file, for tools that read tables: pandas, DuckDB, Spark. Needs the extra `parquet` (pyarrow)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

from safellm.errors import ConfigurationError

_AT_ONCE: Final = 65_536  # rows in a group, and in memory


def write_parquet(
    path: Path, columns: Mapping[str, type[str | int]], rows: Iterable[Mapping[str, str | int | None]]
) -> Path:
    """Write rows to a file, which is there whole or not at all, and return its path.

    Args:
        path: The file; one that is there is replaced.
        columns: Names and types: texts, or whole numbers of 64 bits.
        rows: Values by column; one that is missing is null.

    Raises:
        ConfigurationError: pyarrow isn't installed, or the file can't be written.
    """
    try:
        import pyarrow  # noqa: ICN001, PLC0415 - an extra, and large
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError(
            "Parquet is written by pyarrow, which is not installed", remedy="pip install 'safellm[parquet]'"
        ) from None
    kinds = {str: pyarrow.string(), int: pyarrow.int64()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        # Only its user reads it: who used what is nobody else's business.
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        try:
            with (
                os.fdopen(descriptor, "wb") as file,
                pyarrow.parquet.ParquetWriter(file, schema, compression="zstd") as out,
            ):
                for group in _groups(rows):
                    table = {name: [row.get(name) for row in group] for name in columns}
                    out.write_table(pyarrow.table(table, schema=schema))
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The file can't be written: {error.strerror}", remedy="Give another file.", where=str(path)
        ) from None
    return path


def _groups(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    waiting = iter(rows)
    while group := list(islice(waiting, _AT_ONCE)):
        yield group
