"""The cache of compiled rules saves time and decides nothing: damaged, foreign or absent, the scanner is the same."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from safellm._core.detection import image as image_module
from safellm._core.detection import words
from safellm._core.detection.image import image_key, make_image, read_image
from safellm._core.detection.rules import load_rules
from safellm._core.detection.scanner import compile_scanner
from safellm._core.detection.words import label_tables
from safellm.errors import GuardFailure
from safellm.stores import detection_cache
from safellm.stores.detection_cache import cached_scanner

TEXT = "mail bob@mail.test, key " + "sk-" + "proj-" + "A1b2" * 10


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    cached_scanner.cache_clear()
    yield
    cached_scanner.cache_clear()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count how often the rules were compiled from their files."""
    count: list[int] = []

    def counted() -> object:
        count.append(1)
        return make_image()

    monkeypatch.setattr(detection_cache, "make_image", counted)
    return count


def the_file(folder: Path) -> Path:
    (path,) = folder.glob("detection-*.bin")
    return path


def test_scanner_comes_from_the_cache_when_it_is_there(tmp_path: Path, made: list[int]) -> None:
    """The second process reads what the first wrote, and finds the same."""
    first = cached_scanner(tmp_path / "cache").scan(TEXT)
    cached_scanner.cache_clear()
    assert cached_scanner(tmp_path / "cache").scan(TEXT) == first == compile_scanner().scan(TEXT)
    assert len(made) == 1


_QUICK = """
import sys
from pathlib import Path
from safellm.stores.detection_cache import cached_scanner
found = cached_scanner(Path(sys.argv[1])).scan("a text without any of it, and 2 numbers: 12 and 34.5")
loaded = [name for name in sys.modules if name.startswith(("safellm._core.detection.", "tomllib", "importlib.resources"))]
print(len(found), *sorted(name.rpartition(".")[2] for name in loaded))
"""


def test_first_use_loads_no_rule_files_nor_checks_when_the_cache_is_there(tmp_path: Path) -> None:
    """A process that reads the cache and meets a clean text parses no TOML, and loads no check and no table of numbers."""
    cached_scanner(tmp_path)
    ran = subprocess.run([sys.executable, "-c", _QUICK, str(tmp_path)], check=True, capture_output=True, text=True)
    count, *loaded = ran.stdout.split()
    assert count == "0"
    assert "scanner" in loaded
    assert not {"tomllib", "resources", "contact", "identifier", "secretlike", "tokens", "national", "address"} & set(
        loaded
    )


def test_labels_come_from_the_cache_when_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The words before numbers that an image holds are those of the files, in their order."""
    _, image = make_image()
    known = label_tables()
    monkeypatch.setattr(words, "_kept", [])
    read_image(image)
    tables = (words.label_words, words.load_labels, words._heads)
    for table in tables:
        table.cache_clear()
    try:
        assert label_tables() == known
        assert list(words.load_labels()) == list(known[1])
    finally:
        for table in tables:
            table.cache_clear()


def test_scanner_is_made_once_per_process(tmp_path: Path) -> None:
    """Clients share one scanner."""
    assert cached_scanner(tmp_path) is cached_scanner(tmp_path)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _weaken_a_rule(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"priority": 90', b'"priority": 10', 1))


def _foreign_image(path: Path) -> None:
    other = b"safellm-detection-1\n" + (2).to_bytes(8, "big") + b"[]" + b"no database"
    path.write_bytes(hashlib.sha256(other).digest() + other)


def _no_rules(path: Path) -> None:
    data = path.read_bytes()[32:]
    path.write_bytes(hashlib.sha256(data[:20]).digest() + data[:20])


@pytest.mark.parametrize(
    "damage",
    [
        _flip,
        _weaken_a_rule,
        _foreign_image,
        _no_rules,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"x" * 31),
    ],
)
def test_cache_is_made_anew_when_it_is_damaged(tmp_path: Path, made: list[int], damage: Callable[[Path], None]) -> None:
    """A file that was changed in any way isn't loaded, and the next process has a good one."""
    cached_scanner(tmp_path)
    damage(the_file(tmp_path))
    cached_scanner.cache_clear()
    assert cached_scanner(tmp_path).scan(TEXT) == compile_scanner().scan(TEXT)
    cached_scanner.cache_clear()
    cached_scanner(tmp_path)
    assert len(made) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_cache_is_not_read_when_others_may_write_it(tmp_path: Path, made: list[int]) -> None:
    """A file that another user could have written counts as absent; ours is for us alone."""
    cached_scanner(tmp_path)
    path = the_file(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o666)
    cached_scanner.cache_clear()
    cached_scanner(tmp_path)
    assert len(made) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_cache_is_not_read_when_it_is_a_link(tmp_path: Path, made: list[int]) -> None:
    """A link in its place is replaced, not followed."""
    cached_scanner(tmp_path)
    path = the_file(tmp_path)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    cached_scanner.cache_clear()
    cached_scanner(tmp_path)
    assert len(made) == 2
    assert not path.is_symlink()


def test_scanner_is_made_when_nothing_can_be_written(tmp_path: Path) -> None:
    """A folder that can't be made costs time only."""
    (tmp_path / "file").write_text("not a folder")
    assert cached_scanner(tmp_path / "file" / "cache").scan(TEXT)


def test_old_versions_are_removed(tmp_path: Path) -> None:
    """Writing a new image drops those of earlier versions, and nothing else."""
    (tmp_path / "detection-x86_64-00.bin").write_bytes(b"old")
    (tmp_path / "other.bin").write_bytes(b"kept")
    cached_scanner(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["other.bin", the_file(tmp_path).name])


def test_key_changes_with_rules_and_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image of another engine, or of other sources, has another name."""
    key = image_key()
    assert key == image_key()
    monkeypatch.setattr(image_module, "engine_version", lambda: "another")
    assert image_key() != key


def test_image_holds_rules_without_examples() -> None:
    """What is read back finds the same; the examples stay in the rule files."""
    scanner, image = make_image()
    again = read_image(image)
    assert again.scan(TEXT) == scanner.scan(TEXT)
    assert [(rule.id, rule.pattern) for rule in again.rules] == [(rule.id, rule.pattern) for rule in load_rules()]
    assert not any(rule.matches or rule.ignores for rule in again.rules)
    assert again.filters.filters == scanner.filters.filters


@pytest.mark.parametrize("image", [b"", b"something else", bytes(range(100))])
def test_image_is_refused_when_it_is_none(image: bytes) -> None:
    """Bytes that are no image are an error."""
    with pytest.raises((ValueError, GuardFailure)):
        read_image(image)
