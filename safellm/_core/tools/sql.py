"""One SQL statement that only reads, recognised strictly: what isn't known to be harmless in every dialect is refused.

No parser of one dialect is right for another: MySQL runs what stands in `/*! */`, PostgreSQL has functions that read files and
modifying statements inside `WITH`, SQL Server needs no semicolon between two statements. So the text is cut into words, and

* it begins with SELECT, WITH, VALUES or `(`, and a semicolon ends it or isn't there;
* comments, backslashes, dollar quotes, brackets, parameters of clients and control characters are refused;
* each word in front of a parenthesis is a function that is listed, without a schema, or a keyword that may stand there;
* what is read from is a name: some databases read the file or the address that stands there as a text or in quotes;
* no word anywhere, unless quoted, begins a statement or a clause that writes, locks, runs, loads or sets.

This limits what a statement does, not what it reads: use a database user that may do no more. Source: THREATS A.2, A.6.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Final

_TOKEN = re.compile(
    r"""\s+
    | (?P<text>'(?:[^'\\\x00]|'')*+')
    | (?P<quoted>"(?:[^"\\\x00]|"")*+"|`[^`\\\x00]*+`)
    | (?P<number>[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+)
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*+)
    | (?P<sign>::|\|\||<=|>=|<>|!=|[-+*/%=<>(),.;])""",
    re.VERBOSE,
)
_BEGINS: Final = frozenset({"SELECT", "WITH", "VALUES", "("})
_FORBIDDEN: Final = frozenset(
    {"INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "UPSERT", "INTO", "CREATE", "ALTER", "DROP", "TRUNCATE",
     "RENAME", "GRANT", "REVOKE", "DENY", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "BEGIN", "START", "ABORT",
     "LOCK", "UNLOCK", "SET", "RESET", "USE", "ATTACH", "DETACH", "PRAGMA", "VACUUM", "ANALYZE", "REINDEX", "COPY",
     "LOAD", "IMPORT", "EXPORT", "UNLOAD", "CALL", "EXEC", "EXECUTE", "DO", "PREPARE", "DEALLOCATE", "DECLARE",
     "HANDLER", "KILL", "SHUTDOWN", "BACKUP", "RESTORE", "DBCC", "BULK", "OPENROWSET", "OPENQUERY", "OPENDATASOURCE",
     "OUTFILE", "DUMPFILE", "INFILE", "PROCEDURE", "FUNCTION", "TRIGGER", "LISTEN", "NOTIFY", "UNLISTEN", "CLUSTER",
     "REFRESH", "CHECKPOINT", "DISCARD", "INSTALL", "SUMMARIZE", "EXPLAIN", "DESCRIBE", "SHOW", "FLUSH", "PURGE",
     "OPTIMIZE", "REPAIR", "WAITFOR", "RECONFIGURE", "PRINT", "RAISERROR", "THROW", "GO", "SHARE", "NOWAIT",
     "RETURNING", "UTL_FILE", "UTL_HTTP", "DBMS_LOCK", "NEXTVAL", "WHILE", "GOTO", "WRITETEXT", "UPDATETEXT", "REVERT",
     "SETUSER", "TABLOCK", "TABLOCKX", "XLOCK", "UPDLOCK", "HOLDLOCK"}
)  # fmt: skip
_FUNCTIONS: Final = frozenset(
    {"COUNT", "SUM", "AVG", "MIN", "MAX", "ABS", "ROUND", "FLOOR", "CEIL", "CEILING", "COALESCE", "NULLIF", "IFNULL",
     "LOWER", "UPPER", "LENGTH", "CHAR_LENGTH", "TRIM", "LTRIM", "RTRIM", "SUBSTR", "SUBSTRING", "CONCAT", "CAST",
     "DATE", "TIME", "DATETIME", "TIMESTAMP", "YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND", "EXTRACT",
     "DATE_TRUNC", "STRFTIME", "NOW", "ROW_NUMBER", "RANK", "DENSE_RANK", "NTILE", "LAG", "LEAD", "FIRST_VALUE",
     "LAST_VALUE", "GREATEST", "LEAST", "MOD", "POWER", "SQRT", "SIGN", "GROUP_CONCAT", "STRING_AGG", "LEFT", "RIGHT",
     "POSITION", "TOTAL", "DECIMAL", "NUMERIC", "VARCHAR", "CHAR"}
)  # fmt: skip
# Keywords after which a parenthesis begins an expression or a statement.
_BEFORE: Final = frozenset(
    {"SELECT", "FROM", "WHERE", "AND", "OR", "NOT", "IN", "AS", "ON", "JOIN", "VALUES", "OVER", "PARTITION", "BY",
     "HAVING", "WHEN", "THEN", "ELSE", "CASE", "EXISTS", "ANY", "ALL", "SOME", "UNION", "EXCEPT", "INTERSECT",
     "BETWEEN", "LIKE", "ILIKE", "USING", "WITH", "DISTINCT", "FILTER", "LIMIT", "OFFSET", "LATERAL", "MATERIALIZED",
     "IS", "INTERVAL", "GROUPING", "SETS", "ROLLUP", "CUBE", "TOP"}
)  # fmt: skip
_LONGEST: Final = 20_000
_MOST_QUERIES: Final = 128  # in one statement
_DEEPEST: Final = 64  # joins in parentheses


def problem(statement: str, *, functions: Collection[str] = (), tables: Collection[str] = ()) -> str | None:
    """Return why a statement isn't known to only read, or None where it is.

    Args:
        statement: SQL of whatever dialect.
        functions: Names that may be called besides the common ones.
        tables: The only tables that may stand after FROM and JOIN; none: all.
    """
    tokens = _cut(statement)
    if isinstance(tokens, str):
        return tokens
    while tokens and tokens[-1] == ("sign", ";"):
        tokens.pop()
    words = [text.upper() if kind == "word" else text for kind, text in tokens]
    kinds = [kind for kind, _ in tokens]
    if not words or words[0] not in _BEGINS or kinds[0] == "text" or not {"SELECT", "VALUES"}.intersection(words):
        return "it doesn't begin as a query does"
    if ("sign", ";") in tokens or _second_statement(words, kinds):
        return "it is more than one statement"
    found = _words_problem(words, kinds, _FUNCTIONS | _BEFORE | {name.upper() for name in functions})
    found = found or _files_problem(words, kinds)
    return found if found is not None or not tables else _tables_problem(words, kinds, tables)


def _words_problem(words: list[str], kinds: list[str], callable_: Collection[str]) -> str | None:
    for index, (word, kind) in enumerate(zip(words, kinds, strict=True)):
        following = index + 1 < len(words)
        if kind == "word" and (word in _FORBIDDEN or (word == "NEXT" and words[index + 1 : index + 2] == ["VALUE"])):
            return f"the word {word} is not one of a query that only reads"
        if kind == "word" and word == "USING" and following and kinds[index + 1] == "text":
            return "it names a program"  # Hive and Spark run it: MAP a USING '…'
        if words[index + 1 : index + 2] == ["("] and index > 1 and words[index - 1] == "." and kind == "word":
            # A listed name in another schema is somebody else's function.
            if f"{words[index - 2]}.{word}" not in callable_:
                return "it calls a function that is not listed"
            continue
        is_before = kind in ("word", "quoted") and words[index + 1 : index + 2] == ["("]
        if is_before and not _is_column_list(words, index) and (kind == "quoted" or word not in callable_):
            return "it calls a function that is not listed"
    return None


def _cut(statement: str) -> list[tuple[str, str]] | str:
    if len(statement) > _LONGEST:
        return "it is too long"
    tokens: list[tuple[str, str]] = []
    position = 0
    while position < len(statement):
        if statement.startswith(("--", "/*"), position):
            return "it has a comment"
        found = _TOKEN.match(statement, position)
        if found is None:
            return "it has a character that is read differently by different databases"
        position = found.end()
        if found.lastgroup is None:
            continue
        # A prefix changes how the text behind it is read (E'…', X'…', U&'…'), and two texts in a row are one in some dialects.
        if found.lastgroup in ("text", "quoted") and found.start() and statement[found.start() - 1].isalnum():
            return "it has a text with a prefix"
        tokens.append((found.lastgroup, found[0]))
    return tokens


def _is_column_list(words: list[str], index: int) -> bool:
    """Return whether a name begins a common table with columns: `WITH t(a, b) AS (`."""
    if words[max(0, index - 1)] not in ("WITH", ",", "RECURSIVE") or ")" not in words[index:]:
        return False
    end = words.index(")", index)
    inside = words[index + 2 : end]
    names_only = all(one == "," for one in inside[1::2]) and all(one.isidentifier() for one in inside[::2])
    return names_only and words[end + 1 : end + 3] == ["AS", "("]


def _second_statement(words: list[str], kinds: list[str]) -> bool:
    """Return whether a SELECT begins where the one before could have ended: SQL Server takes it for a second statement."""
    depth = 0
    open_query = False
    for index, (word, kind) in enumerate(zip(words, kinds, strict=True)):
        if kind == "sign":
            depth += (word == "(") - (word == ")")
            if depth < 0:
                return True
        elif kind == "word" and word == "SELECT" and depth == 0:
            before = words[index - 1] if index else ""
            if open_query and before not in ("UNION", "ALL", "EXCEPT", "INTERSECT", "DISTINCT"):
                return True
            open_query = True
    return depth != 0


def _froms(words: list[str]) -> Iterator[int]:
    """Yield behind each FROM that names tables, and isn't one of `EXTRACT(YEAR FROM a)` or `a IS DISTINCT FROM b`."""
    around: list[str] = []
    for index, word in enumerate(words):
        if word == "(":
            around.append(words[index - 1] if index else "")
        elif word == ")" and around:
            around.pop()
        elif word == "FROM":
            compares = words[max(0, index - 2) : index] in (["IS", "DISTINCT"], ["NOT", "DISTINCT"])
            if not compares and not (around and around[-1] in _TAKES_FROM):
                yield index + 1


def _files_problem(words: list[str], kinds: list[str]) -> str | None:
    """Return why what is read from may be a file or an address, and no table."""
    starts = list(_froms(words))
    if len(starts) > _MOST_QUERIES:
        return "it is too long"
    places = list({place for start in starts for place in _sources(words, kinds, start)})
    nested = 0
    while places:
        at = places.pop()
        if words[at : at + 1] == ["("] and words[at + 1 : at + 2] not in (["SELECT"], ["WITH"], ["VALUES"], ["FROM"]):
            nested += 1
            if nested > _DEEPEST:
                return "it is nested too deeply"
            places += _sources(words, kinds, at + 1)  # joined in parentheses
        while at < len(words) and kinds[at] in ("word", "quoted", "text"):
            if kinds[at] == "text" or (kinds[at] == "quoted" and not _NAME.fullmatch(words[at][1:-1])):
                return "it reads a file or an address"
            at += 2 if words[at + 1 : at + 2] == ["."] else len(words)
    return None


def _tables_problem(words: list[str], kinds: list[str], tables: Collection[str]) -> str | None:
    listed = {name.upper() for name in tables}
    own = _common_tables(words)
    for index, (word, kind) in enumerate(zip(words, kinds, strict=True)):
        # `TABLE t`, and the `a IN t` of some databases, read a table without a FROM.
        if kind == "word" and (word == "TABLE" or (word == "IN" and "(" not in words[index + 1 : index + 3])):
            return "it reads a table that is not listed"
    for start in _froms(words):
        for place in _sources(words, kinds, start):
            name = _table_name(words, kinds, place)
            if name in listed or own.get(name, len(words)) < place:
                continue
            if name == "(" and words[place + 1 : place + 2] in (["SELECT"], ["WITH"], ["VALUES"]):
                continue  # its own FROM is looked at by itself
            return "it reads a table that is not listed"
    return None


def _sources(words: list[str], kinds: list[str], start: int) -> Iterator[int]:
    """Yield where each table, or query in parentheses, of a FROM begins."""
    yield start
    depth = 0
    for place in range(start, len(words)):
        word, kind = words[place], kinds[place]
        if kind == "sign" and word in "()":
            depth += 1 if word == "(" else -1
            if depth < 0:
                return
        elif depth == 0 and ((kind == "sign" and word == ",") or (kind == "word" and word in _JOINS)):
            yield place + 1
        elif depth == 0 and kind == "word" and word in _FROM_ENDS:
            return


def _common_tables(words: list[str]) -> dict[str, int]:
    """Return the names that a WITH at the beginning gives, and where each of them may be used from: behind its own query."""
    found: dict[str, int] = {}
    place = 1 + (words[1:2] == ["RECURSIVE"])
    while words[0] == "WITH" and place < len(words):
        name = words[place].strip('"`').upper()
        place += 1
        if words[place : place + 1] == ["("]:
            place = _closing(words, place) + 1
        while words[place : place + 1] in (["AS"], ["NOT"], ["MATERIALIZED"]):
            place += 1
        if words[place : place + 1] != ["("]:
            break
        place = _closing(words, place)
        found[name] = place
        place += 1
        if words[place : place + 1] != [","]:
            break
        place += 1
    return found


def _closing(words: list[str], start: int) -> int:
    depth = 0
    for place in range(start, len(words)):
        depth += (words[place] == "(") - (words[place] == ")")
        if depth == 0:
            return place
    return len(words)


def _table_name(words: list[str], kinds: list[str], place: int) -> str:
    """Return a table's name in capitals, with what stands before its dots; `(` for a query; nothing where there is none."""
    if words[place : place + 1] == ["("]:
        return "("
    parts: list[str] = []
    while place < len(words) and kinds[place] in ("word", "quoted"):
        parts.append(words[place].strip('"`').upper())
        if words[place + 1 : place + 2] != ["."]:
            return ".".join(parts)
        place += 2
    return ""


_JOINS: Final = frozenset({"JOIN", "STRAIGHT_JOIN", "APPLY"})
_TAKES_FROM: Final = frozenset({"EXTRACT", "TRIM", "SUBSTRING", "OVERLAY"})
_NAME = re.compile(r"[\w $#-]*")  # of a table: no path, no address
_FROM_ENDS: Final = frozenset(
    [
        "WHERE",
        "GROUP",
        "ORDER",
        "HAVING",
        "LIMIT",
        "OFFSET",
        "UNION",
        "EXCEPT",
        "INTERSECT",
        "WINDOW",
        "FETCH",
        "SELECT",
    ]
)
