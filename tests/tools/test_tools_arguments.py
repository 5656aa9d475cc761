"""Typed arguments: paths, addresses, queries, commands; schemas against another implementation."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from safellm import tools
from safellm._core.tools import arguments, schema, sql
from safellm._core.tools.rules import ArgumentKind, ArgumentRule
from safellm.stores.tools import ProcessToolbox

BAD_PATHS = (
    "", "..", "../x", "a/../../x", "a/..", "/etc/passwd", "\\windows", "C:\\x", "C:x", "\\\\server\\share", "~/x",
    "~root/x",
    "a\x00b", "a\nb", "a/\u202ex", "a\u200b/x", "..\\x", "a\\..\\..\\x", "\uff0e\uff0e/x", "a\u2215b", "a\uff0fb",
    "\u2025/x",
    "a/.. /x", "a/. ./x", "...", "a/.../x", "nul", "a/CON.txt", "com1", "LPT9.log", "a/x.", "a/x ", "file.txt:stream",
    "a%2e%2e%2fx",
    "%2E%2E/x", "x" * 5000, "a/\u2024\u2024/x", "..%252f", "a%25255c..", "..%c0%af", "%u002e%u002e", "CON .txt", "a/com1 .log",
)  # fmt: skip


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_3_a_path_that_could_lead_out_is_refused(path: str) -> None:
    """Upwards, absolute, of another drive, encoded, look-alike, hidden, device and stream: refused by their text."""
    rule = ArgumentRule(kind=ArgumentKind.PATH, root="/srv/data")
    assert arguments.problem(path, rule) is not None
    assert arguments.problem(["fine.txt", path], rule) is not None


@pytest.mark.parametrize(
    "path", ["a.txt", "a/b/c.txt", ".hidden", "a..b", "a/.b", "\u00fcber/caf\u00e9.md", "./x", "/srv/data/x/y"]
)
def test_a_3_plain_paths_below_the_root_pass(path: str) -> None:
    """Relative paths of plain steps, and absolute ones that begin with the root, are let through."""
    assert arguments.problem(path, ArgumentRule(kind=ArgumentKind.PATH, root="/srv/data")) is None


@given(
    st.lists(st.sampled_from(["a", "..", ".", "", "/", "\\", "\uff0e", "\u2024", "%2e", "~", "x.", " "]), max_size=8)
)
def test_a_3_whatever_passes_stays_below_the_root_on_every_system(parts: list[str]) -> None:
    """For any mix of steps and separators: what passes leads below the root by the rules of POSIX and of Windows."""
    import ntpath
    import posixpath

    path = "/".join(parts)
    if arguments.path_problem(path) is None:
        assert posixpath.normpath(posixpath.join("/root", path)).startswith("/root")
        assert ntpath.normpath(ntpath.join("C:\\root", path)).lower().startswith("c:\\root")


def test_a_3_links_that_lead_out_are_found(tmp_path: Path) -> None:
    """A link to outside is refused when a call is judged, and every link when a file is opened."""
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (root / "inner" / "own.txt").write_text("own")
    (tmp_path / "secret.txt").write_text("secret")
    (root / "out").symlink_to(tmp_path)
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "near.txt").symlink_to(root / "inner" / "own.txt")
    box = ProcessToolbox()
    rule = ArgumentRule(kind=ArgumentKind.PATH, root=str(root))
    for path in ("out/secret.txt", "link.txt"):
        assert arguments.problem(path, rule, resolve=box.resolve) is not None
        with pytest.raises(OSError, match=r"link|symbolic|directory"):
            tools.open_under(root, path)
    assert arguments.problem("inner/own.txt", rule, resolve=box.resolve) is None
    with tools.open_under(root, "inner/own.txt") as file:
        assert file.read() == "own"
    with pytest.raises(OSError, match=r"link|symbolic"):
        tools.open_under(root, "near.txt")
    with pytest.raises(OSError, match=r"link|symbolic"):
        tools.open_under(root, "link.txt", "w")
    assert (tmp_path / "secret.txt").read_text() == "secret"
    with tools.open_under(root, "inner/new.txt", "x") as file:
        file.write("new")
    assert (root / "inner" / "new.txt").read_text() == "new"
    for bad in ("../secret.txt", "", "inner"):
        with pytest.raises((ValueError, OSError)):
            tools.open_under(root, bad)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of the file system are POSIX's")
def test_a_3_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    """A pipe doesn't make a tool wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        tools.open_under(tmp_path, "pipe")


@pytest.mark.skipif(sys.platform == "win32", reason="folders can't be exchanged while they are open there")
def test_a_3_a_race_of_folder_and_link_never_leads_out(tmp_path: Path) -> None:
    """While a folder is exchanged for a link again and again, no read gives what lies outside."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder, text in ((root / "a", "inside"), (outside, "outside")):
        folder.mkdir(parents=True)
        (folder / "x.txt").write_text(text)
    (root / "spare").symlink_to(outside)
    stop = threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            (root / "a").rename(root / "b")
            (root / "spare").rename(root / "a")
            (root / "a").rename(root / "spare")
            (root / "b").rename(root / "a")

    racer = threading.Thread(target=exchange)
    racer.start()
    try:
        seen = set()
        for _ in range(1500):
            try:
                with tools.open_under(root, "a/x.txt") as file:
                    seen.add(file.read())
            except OSError:
                seen.add("refused")
    finally:
        stop.set()
        racer.join()
    assert "outside" not in seen


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/x", "https://evil.test/x", "https://api.example.com.evil.test/",
        "https://api.example.com@evil.test/",
        "https://evil.test#@api.example.com/", "https://evil.test\\@api.example.com/", "https://api.example.com:444/",
        "//api.example.com/",
        "https:api.example.com", "file:///etc/passwd", "ftp://api.example.com/", "javascript:alert(1)",
        "https://127.0.0.1/",
        "https://2130706433/", "https://0x7f.0.0.1/", "https://0177.0.0.1/", "https://127.1/", "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest/meta-data/", "https://metadata.google.internal/", "https://localhost/",
        "https://printer/",
        "https://db.corp/", "https://api.example.com\n.evil.test/", "https://api.ex\u0430mple.com/",
        "https://api.example.com%2eevil.test/",
        "https://10.0.0.5:8080/", "https://x.localhost/", "https:///x", "https://api.example.com./", "",
    ],
)  # fmt: skip
def test_a_4_addresses_outside_of_the_rules_are_refused(url: str) -> None:
    """Another origin, another form of a private address, and what parsers read differently: refused."""
    assert arguments.url_problem(url, ["https://api.example.com"]) is not None
    if not url.startswith(("https://evil.test", "https://api.example.com.evil", "https://api.example.com:444")):
        assert arguments.url_problem(url, ["https://api.example.com"], public=True) is not None


def test_a_4_addresses_of_the_egress_section_pass() -> None:
    """An origin of the tool's own list, or of the policy's egress section, may be fetched; `public` opens the public net."""
    rule = ArgumentRule(kind=ArgumentKind.URL, origins=("https://api.example.com",))
    assert arguments.problem("https://api.example.com/a?b=c#d", rule) is None
    assert arguments.problem("https://other.example:8443/", rule, egress=("https://other.example:8443",)) is None
    assert arguments.url_problem("https://docs.python.org/3/", [], public=True) is None
    assert arguments.url_problem("https://93.184.216.34/", [], public=True) is None


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM t", "SELECT 1; DELETE FROM t", "SELECT 1;;DROP TABLE t", "SELECT 1 DELETE FROM t",
        "SELECT 1 SELECT 2",
        "WITH x AS (DELETE FROM t RETURNING 1) SELECT * FROM x", "SELECT * INTO u FROM t",
        "SELECT 1 INTO OUTFILE '/tmp/x'",
        "SELECT pg_read_file('/etc/passwd')", "SELECT load_extension('x')", "SELECT lo_import('/etc/passwd')",
        "SELECT pg_sleep(9)",
        "SELECT \"pg_read_file\"('/etc/passwd')", "SELECT `sleep` (9)", "SELECT 1 /*! ; DROP TABLE t */",
        "SELECT 1 -- x\n; DROP TABLE t",
        "SELECT 'a\\'; DROP TABLE t; --'", "SELECT $$a$$", "SELECT E'a'", "SELECT 1 FOR UPDATE", "SELECT 1 FOR SHARE",
        "PRAGMA x", "ATTACH 'x' AS y",
        "COPY t TO PROGRAM 'sh'", "EXPLAIN ANALYZE DELETE FROM t", "CALL f()", "EXEC xp_cmdshell 'x'", "SET x = 1",
        "SELECT @@version",
        "SELECT * FROM [t]", "SELECT 1\x00", "", ";", "(", "SELECT (1", "TABLE t", "SELECT \u201c1\u201d", "BEGIN",
        "VALUES (1); SELECT 2",
        "SELECT nextval('s')", "SELECT setval('s', 1)", "SELECT dblink('x', 'y')", "SELECT x FROM openrowset('a')",
        "MERGE INTO t USING u ON 1",
        "SELECT query_to_xml('delete from t', true, true, '')", "SELECT 1 # x", "WITH t(a) AS (SELECT 1) DELETE FROM t",
        "SELECT * FROM 'https://evil.example/x.csv'", "SELECT * FROM t, '/etc/passwd'", "SELECT * FROM (t JOIN '/etc/passwd')",
        "SELECT * FROM ((t), ('/etc/passwd'))",
        'SELECT * FROM "https://evil.example/x.parquet"', "SELECT * FROM csv.`/etc/passwd`", "SELECT * FROM t JOIN `../x` ON 1",
        "SELECT * FROM (FROM t MAP a USING '/bin/sh' AS b) x", "SELECT NEXT VALUE FOR s", "SELECT s.nextval FROM dual",
        "SELECT evil.count(1)", "SELECT x.y.lower('a') FROM t", "SELECT 1 WHILE 1=1 CONTINUE", "SELECT 1 WRITETEXT t.c x 'y'",
        "SELECT * FROM t WITH (TABLOCKX)",
    ],
)  # fmt: skip
def test_a_2_sql_that_does_more_than_read_is_refused(statement: str) -> None:
    """Every form that some database takes for a second statement, a write or a call of its functions is refused."""
    assert sql.problem(statement) is not None


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM t", "select a, b from t where c = 'it''s; delete' and d in (1, 2.5e3) order by a desc limit 5;",
        'SELECT "drop", `x` FROM "update"', "SELECT count(*), avg(x) FROM t GROUP BY y HAVING max(x) > 3",
        "WITH a AS (SELECT 1 AS x), b(y) AS (SELECT x FROM a) SELECT * FROM b", "SELECT 1 UNION ALL SELECT 2",
        "(SELECT 1)",
        "SELECT a.x FROM a LEFT JOIN b ON a.id = b.id WHERE EXISTS (SELECT 1 FROM c)",
        "SELECT CASE WHEN a > 1 THEN 'x' ELSE 'y' END FROM t",
        "SELECT row_number() OVER (PARTITION BY a ORDER BY b) FROM t", "VALUES (1), (2)",
        "SELECT cast(a AS varchar(5)) || 'x' FROM t", "SELECT extract(YEAR FROM '2020-01-01'), trim('x' FROM a) FROM t",
        "SELECT a IS DISTINCT FROM 'x', b IS NOT DISTINCT FROM 'y' FROM t", 'SELECT a AS "x/y" FROM "my table" JOIN t USING (a)',
    ],
)  # fmt: skip
def test_ordinary_queries_pass(statement: str) -> None:
    """Joins, common tables, windows, unions and quoted names are read."""
    assert sql.problem(statement) is None


def test_a_2_only_listed_tables_and_functions_are_read() -> None:
    """With a list of tables every FROM and JOIN is looked at, in lists and in parentheses too."""
    rule = ArgumentRule(kind=ArgumentKind.SQL, tables=("orders", "shop.items"), functions=("my_function",))
    for good in (
        "SELECT my_function(1) FROM orders", "SELECT * FROM orders o, shop.items AS i JOIN orders ON 1 = 1",
        "WITH x AS (SELECT * FROM orders) SELECT * FROM x", "SELECT * FROM (SELECT * FROM orders) q",
        "SELECT extract(YEAR FROM day) FROM orders WHERE a IN (1, 2) AND b IS DISTINCT FROM c AND d IN (SELECT 1)",
    ):  # fmt: skip
        assert arguments.problem(good, rule) is None, good
    for bad in (
        "SELECT * FROM users", "SELECT * FROM orders, users", "SELECT * FROM orders JOIN users ON 1 = 1",
        'SELECT * FROM "users"',
        "SELECT * FROM (SELECT * FROM users) q", "SELECT * FROM orders WHERE a IN (SELECT b FROM users)",
        "SELECT * FROM other.orders",
        "SELECT * FROM orders o, (SELECT * FROM users) u", "SELECT * FROM (orders), users",
        "SELECT * FROM orders LEFT JOIN (users) ON 1 = 1",
        "SELECT * FROM (SELECT 1) a, users", "WITH users AS (SELECT * FROM users) SELECT * FROM users",
        "WITH a AS (SELECT * FROM users), users AS (SELECT 1) SELECT 1",
        "SELECT * FROM (WITH users AS (SELECT 1) SELECT 1) a, users",
        "SELECT * FROM orders UNION TABLE users", "SELECT * FROM orders WHERE a IN (TABLE users)",
        "SELECT 1 FROM orders WHERE a IN users", "SELECT * FROM orders CROSS APPLY users",
        "WITH x AS (TABLE users) SELECT * FROM x",
        "SELECT * FROM orders STRAIGHT_JOIN users", "SELECT DISTINCT FROM users", "SELECT trim(a) FROM users",
        "SELECT evil.my_function(1) FROM orders",
        "SELECT 1 FROM orders, w WINDOW w AS (PARTITION BY 1)", "SELECT 1 FROM orders UNION SELECT 2 FROM users",
    ):  # fmt: skip
        assert arguments.problem(bad, rule) is not None, bad


WORDS = st.sampled_from(
    [
        "SELECT",
        "FROM",
        "WHERE",
        "t",
        "u",
        "a",
        "b",
        "*",
        ",",
        "(",
        ")",
        ";",
        "'x'",
        '"y"',
        "1",
        "=",
        "INSERT",
        "INTO",
        "VALUES",
        "DELETE",
        "UPDATE",
        "SET",
        "DROP",
        "TABLE",
        "CREATE",
        "WITH",
        "AS",
        "UNION",
        "ALL",
        "REPLACE",
        "PRAGMA",
        "ATTACH",
        "VACUUM",
        "REINDEX",
        "ANALYZE",
        "ALTER",
        "RENAME",
        "TO",
        "writefile(",
        "load_extension(",
        "count(",
        "--",
        "/*",
        "*/",
    ]
)


STARTS = st.sampled_from(["", "SELECT * FROM t", "SELECT 1", "WITH u AS (SELECT 1) SELECT", "VALUES (1)", "SELECT ("])


@settings(max_examples=400)
@given(STARTS, st.lists(WORDS, max_size=8))
def test_a_2_no_query_that_passes_changes_a_real_database(start: str, words: list[str]) -> None:
    """For any mix of words: what passes leaves SQLite as it was."""
    statement = " ".join([start, *words])
    if sql.problem(statement) is not None:
        return
    database = sqlite3.connect(":memory:")
    try:
        database.executescript("CREATE TABLE t (a, b); CREATE TABLE u (a, b); INSERT INTO t VALUES (1, 2)")
        before = list(database.iterdump())
        try:
            database.executescript(statement)
        except sqlite3.Error:
            pass
        assert list(database.iterdump()) == before
        assert [row[1] for row in database.execute("PRAGMA database_list")] in ([], ["main"], ["main", "temp"])
    finally:
        database.close()


@pytest.mark.parametrize(
    "command",
    [
        "git status", [], ["rm", "-rf", "/"], ["git", "--upload-pack=sh", "fetch"], ["git", "-c", "x=y"], ["GIT"],
        ["./git"], ["git", "a\x00b"],
        ["git", "a\nb"], ["git", 1], [["git"]], ["git", "-"], ["git", *["x"] * 100], ["git", "\u202ex"], None,
    ],
)  # fmt: skip
def test_a_2_commands_outside_of_the_list_are_refused(command: Any) -> None:
    """A line for a shell, another program, an option that isn't listed, a control character: refused."""
    rule = ArgumentRule(kind=ArgumentKind.ARGV, programs=("git", "ls"), options=("--oneline", "--max-count="))
    assert arguments.problem(command, rule) is not None


def test_listed_commands_pass() -> None:
    """Listed programs with listed options and any other words are let through."""
    rule = ArgumentRule(kind=ArgumentKind.ARGV, programs=("git", "ls"), options=("--oneline", "--max-count="))
    for command in (["git", "log", "--oneline"], ["git", "log", "--max-count=5"], ["ls", "a; rm -rf /", "$(x)"]):
        assert arguments.problem(command, rule) is None


def test_choice_and_text_are_checked() -> None:
    """A choice is one of its values; a text is short and has nothing hidden."""
    assert arguments.problem("a", ArgumentRule(kind=ArgumentKind.CHOICE, values=("a",))) is None
    assert arguments.problem("A", ArgumentRule(kind=ArgumentKind.CHOICE, values=("a",))) is not None
    rule = ArgumentRule(kind=ArgumentKind.TEXT, max_length=3)
    assert arguments.problem("abc", rule) is None
    for bad in ("abcd", "a\u200b", "a\x1b", 5, {"a": "b"}):
        assert arguments.problem(bad, rule) is not None


# -- schemas ------------------------------------------------------------------------------------------------------------

LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, "", "a", "ab", "x-1"])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
_SIMPLE = st.one_of(
    st.builds(
        lambda kind: {"type": kind},
        st.sampled_from(["object", "array", "string", "number", "integer", "boolean", "null"]),
    ),
    st.builds(lambda one: {"const": one}, LEAVES),
    st.builds(lambda some: {"enum": some}, st.lists(LEAVES, min_size=1, max_size=3)),
    st.builds(lambda low, high: {"minimum": low, "exclusiveMaximum": high}, st.integers(-2, 2), st.integers(-2, 2)),
    st.builds(lambda low, high: {"minLength": low, "maxLength": high}, st.integers(0, 2), st.integers(0, 2)),
    st.builds(lambda pattern: {"pattern": pattern}, st.sampled_from(["^a", "b$", "[0-9]", "^(a|b)*$"])),
    st.builds(lambda step: {"multipleOf": step}, st.sampled_from([1, 2, 0.5])),
    st.sampled_from(
        [
            {},
            True,
            False,
            {"uniqueItems": True},
            {"minItems": 1, "maxItems": 2},
            {"minProperties": 1},
            {"required": ["a"]},
        ]
    ),
)
NAMED = st.sampled_from("abc")
SCHEMAS = st.recursive(
    _SIMPLE,
    lambda inner: st.one_of(
        st.builds(
            lambda some, more: {"properties": some, "additionalProperties": more},
            st.dictionaries(NAMED, inner, max_size=3),
            inner,
        ),
        st.builds(lambda one: {"items": one}, inner),
        st.builds(
            lambda some, one: {"prefixItems": some, "items": one}, st.lists(inner, min_size=1, max_size=2), inner
        ),
        st.builds(
            lambda key, some: {key: some},
            st.sampled_from(["allOf", "anyOf", "oneOf"]),
            st.lists(inner, min_size=1, max_size=2),
        ),
        st.builds(lambda one: {"not": one}, inner),
        st.builds(lambda a, b, c: {"if": a, "then": b, "else": c}, inner, inner, inner),
        st.builds(lambda one: {"contains": one}, inner),
        st.builds(lambda one: {"patternProperties": {"^a": one}, "additionalProperties": True}, inner),
        st.builds(
            lambda one: {"$defs": {"x": one}, "$ref": "#/$defs/x"} if one != {"$ref": "#/$defs/x"} else {}, _SIMPLE
        ),
    ),
    max_leaves=6,
)


def _is_open(value: Any) -> bool:
    return not isinstance(value, dict) or "$ref" not in str(value)


@settings(max_examples=150)
@given(SCHEMAS, VALUES)
def test_a_2_schemas_are_read_as_another_implementation_reads_them(one: Any, value: Any) -> None:
    """For any schema and value: never looser than `jsonschema`, and as strict where no key is unlisted."""
    wrapped = {"type": "object", "properties": {"v": one}, "required": ["v"]}
    assume(_is_open(one) or not isinstance(one, dict) or "$ref" in one)
    if "$ref" in str(one):
        wrapped["$defs"] = {"x": one["$defs"]["x"]} if isinstance(one, dict) and "$defs" in one else {"x": True}
    expected = jsonschema.Draft202012Validator(wrapped).is_valid({"v": value})
    found = schema.problem({"v": value}, wrapped)
    if found is None:
        assert expected
    elif expected:
        assert (
            "not among the declared keys" in found
            or "fits none" in found
            or "entry is missing" in found
            or "anyOf" in str(one)
            or ("if" in str(one) or "not" in str(one) or "oneOf" in str(one))
        )


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ({"a": 1, "b": {"c": "x"}}, True), ({"a": 1, "b": {"c": "x", "d": 1}}, False),
        ({"a": 1, "e": [{"c": "y"}]}, True),
        ({"a": 1, "e": [{"c": "y", "z": 1}]}, False), ({"a": 1, "free": {"any": 1}}, True),
        ({"a": 1, "f": {"p": 1, "q": 2}}, True),
        ({"a": 1, "f": {"p": 1, "q": 2, "r": 3}}, False), ({"a": "1"}, False), ({"a": True}, False),
        ({"a": 1.0}, True), ({}, False),
        ({"a": 1, "self": {"a": 2, "self": {"a": 3}}}, True), ({"a": 1, "self": {"a": 2, "self": {"a": "x"}}}, False),
        ({"a": 1, "g": None}, True), ({"a": 1, "h": "2026-01-01"}, True), ({"a": 1, "__proto__": 1}, False),
    ],
)  # fmt: skip
def test_a_2_keys_that_are_not_listed_are_refused_at_every_level(value: Any, fits: bool) -> None:
    """In objects inside, in lists, through references and `allOf`; where the schema says that others may come, they may."""
    named = {"type": "object", "properties": {"c": {"type": "string"}}}
    one: dict[str, Any] = {
        "type": "object",
        "properties": {
            "a": {"type": "integer"}, "b": {"$ref": "#/$defs/N"}, "e": {"type": "array",
            "items": {"$ref": "#/$defs/N"}},
            "free": {"type": "object", "additionalProperties": True},
            "f": {"allOf": [{"properties": {"p": {}}}, {"properties": {"q": {}}}]}, "self": {"$ref": "#"},
            "g": {"type": "STRING", "nullable": True}, "h": {"type": "string", "format": "date"},
        },
        "required": ["a"],
        "$defs": {"N": named},
    }  # fmt: skip
    assert (schema.problem(value, one) is None) is fits


def test_a_2_a_schema_can_neither_fetch_nor_hang() -> None:
    """References to elsewhere, circles, deep nesting, catastrophic patterns and doubling work end in a refusal, at once."""
    for bad in ({"$ref": "https://evil.test/s.json"}, {"properties": {"a": {"$ref": "other.json#/x"}}}, 5):
        with pytest.raises(schema.BadSchema):
            schema.check_schema(bad)
    for loop in (
        {"$ref": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    ):
        with pytest.raises(schema.BadSchema):
            schema.problem({}, loop)
    slow = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
    assert schema.problem({"a": "a" * 200_000 + "!"}, slow) is not None
    assert schema.problem({"a": "x"}, {"type": "object", "properties": {"a": {"pattern": "(?=x)x"}}}) is not None
    levels: dict[str, Any] = {"l30": {"type": "integer"}}
    for number in range(30):
        levels[f"l{number}"] = {"anyOf": [{"$ref": f"#/$defs/l{number + 1}"}] * 2}
    assert "too much" in str(
        schema.problem({"a": "x"}, {"type": "object", "properties": {"a": {"$ref": "#/$defs/l0"}}, "$defs": levels})
    )
