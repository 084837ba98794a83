"""Plugins are found without being imported, and a broken one is a sentence for whoever asks for it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from foundation.plugins import PluginError, Registry, plugins
from tests.support.plugins.install import make_plugin

Make = Callable[..., None]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Installs a made-up package for one test."""

    def install(package: str, entries: Mapping[str, str], **more: str) -> None:
        make_plugin(tmp_path, package, entries, **more)
        monkeypatch.delitem(sys.modules, package.replace("-", "_"), raising=False)
        plugins.cache_clear()

    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.cache_clear()
    yield install
    plugins.cache_clear()


def registry() -> Registry[int]:
    def accept(name: str, loaded: object) -> int:
        if not isinstance(loaded, int):
            raise TypeError(f"is of type {type(loaded).__name__}, and should be an int")
        return loaded

    return Registry("methods", {"one": 1}, accept)


def refusal(known: Registry[int], name: str) -> str:
    with pytest.raises(PluginError) as caught:
        known[name]
    return str(caught.value)


def test_an_entry_of_a_plugin_stands_behind_the_own_ones(make: Make) -> None:
    make("pairs", {"methods two": "pairs:TWO", "kinds other": "pairs:TWO"}, code="TWO = 2\n")
    known = registry()
    assert dict(known) == {"one": 1, "two": 2}
    assert (len(known), "two" in known, "three" in known) == (2, True, False)
    assert (known.origin_of("two"), known.origin_of("one")) == ("pairs 0.9", None)


def test_only_what_is_asked_for_is_imported(make: Make) -> None:
    make("loud", {"methods two": "loud:TWO"}, code="raise AssertionError('imported')\n")
    known = registry()
    assert (list(known), known["one"], known.get("three")) == (["one", "two"], 1, None)
    assert "loud" not in sys.modules


@pytest.mark.parametrize(
    ("entries", "code", "sentence"),
    [
        (
            {"methods two": "odd:TWO"},
            "import nothing_such\n",
            "can't be imported (ModuleNotFoundError: No module",
        ),
        ({"methods two": "odd:TWO"}, "", "odd:TWO can't be imported (AttributeError: module 'odd' has no attribute"),
        ({"methods two": "odd:TWO"}, "import sys; sys.exit(3)\n", "odd:TWO can't be imported (SystemExit: 3)"),
        ({"methods two": "odd:TWO"}, "TWO = 'two'\n", "odd:TWO is of type str, and should be an int"),
        ({"methods two!": "odd:TWO"}, "TWO = 2\n", "its name is not 1 to 64 letters"),
    ],
    ids=["import", "attribute", "exit", "type", "name"],
)
def test_a_broken_plugin_is_a_sentence_with_package_version_and_what_to_do(
    make: Make, entries: dict[str, str], code: str, sentence: str
) -> None:
    make("odd", entries, code=code, version="3.1")
    known = registry()
    (name,) = set(known) - {"one"}
    found = refusal(known, name)
    assert found.startswith(f"The method {name!r} of the plugin odd 3.1 can't be used: ")
    assert sentence in found
    assert found.endswith("; update it, or remove it with `pip uninstall odd`.")
    assert "\n" not in found
    assert known.problem_of(plugins("methods")[0]) == found
    assert (known["one"], known.usable(name)) == (1, None)


def test_an_own_name_stays_the_suites_own_and_the_plugin_is_reported(make: Make) -> None:
    make("greedy", {"methods one": "greedy:ONE"}, code="ONE = 7\n")
    known = registry()
    assert dict(known) == {"one": 1}
    assert "greedy 0.9 can't be used: the suite itself has one with this name" in str(
        known.problem_of(plugins("methods")[0])
    )


def test_two_plugins_of_one_name_are_both_refused(make: Make) -> None:
    make("first", {"methods two": "first:TWO"}, code="TWO = 2\n")
    make("second", {"methods two": "second:TWO"}, code="TWO = 2\n")
    assert "first 0.9 can't be used: the plugin second 0.9 has one with this name, too" in refusal(registry(), "two")
    problems = [str(registry().problem_of(one)) for one in plugins("methods")]
    assert [re.findall(r"the plugin (\w+) 0.9", one) for one in problems] == [["first", "second"], ["second", "first"]]


def test_what_a_plugin_raises_while_it_works_is_blamed_on_it(make: Make) -> None:
    make("pairs", {"methods two": "pairs:TWO"}, code="TWO = 2\n")
    with (
        pytest.raises(PluginError, match=r"pairs 0\.9 can't be used: it failed with KeyError: 'x'"),
        registry().running("two"),
    ):
        raise KeyError("x")
    with pytest.raises(LookupError), registry().running("two", LookupError):
        raise KeyError("x")
    with pytest.raises(KeyError), registry().running("one"):
        raise KeyError("x")
