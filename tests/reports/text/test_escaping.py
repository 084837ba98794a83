"""Hostile text in script elements, figures, spreadsheets, paths and prose."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.text.escaping import csv_text, figure_text, file_name, finite, json_for_script, prose, visible

_TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(_TREES)
def test_json_for_script_reads_back_and_holds_nothing_a_parser_of_html_reacts_to(tree: object) -> None:
    written = json_for_script({"tree": tree})
    assert json.loads(written)["tree"] == tree
    assert not set(written) & set("<>&\u2028\u2029")


@pytest.mark.parametrize("hostile", ["</script><script>alert(1)", "<!--<script>", "\u2028\u2029", "]]>"])
def test_json_for_script_keeps_hostile_text_inside(hostile: str) -> None:
    written = json_for_script([hostile])
    assert "</" not in written and "<!--" not in written and "\u2028" not in written
    assert json.loads(written) == [hostile]


def test_nan_and_infinities_become_words() -> None:
    assert finite({"a": [float("nan"), float("inf"), -float("inf"), 1.5]}) == {"a": ["nan", "inf", "-inf", 1.5]}


@pytest.mark.parametrize(
    "formula",
    [
        "=1+1",
        "+1",
        "-1+1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        " =1",
        "\n@x",
        "\uff1d1+1",
        "|calc",
        "%0A=1",
        "=cmd|' /C calc'!A0",
    ],
)
def test_formula_in_a_csv_cell_is_defused(formula: str) -> None:
    assert csv_text(formula).startswith("'")


@pytest.mark.parametrize("harmless", ["pi-4", "a=b", "smollm2-135m", "", "0.5", "5 - 3"])
def test_harmless_text_in_a_csv_cell_is_left_alone(harmless: str) -> None:
    assert csv_text(harmless) == harmless


def test_figure_text_has_no_tag_for_plotly_and_is_cut() -> None:
    assert figure_text('<a href="http://x">pi</a>&amp;') == '&lt;a href="http://x"&gt;pi&lt;/a&gt;&amp;amp;'
    assert figure_text("x" * 100, longest=10) == "x" * 9 + "…"


def test_invisible_and_direction_turning_characters_are_spelled_out() -> None:
    assert visible("a\u202eb\x1b[31m\u2066") == "a\\u202eb\\x1b[31m\\u2066"
    assert visible(7) == 7


@pytest.mark.parametrize("name", ["../../etc/passwd", "", ".hidden", "a/b", "run one", "x" * 200, "a\x00b", "\ud800"])
def test_file_name_stays_inside_its_folder(name: str) -> None:
    safe = file_name(name)
    assert "/" not in safe and not safe.startswith(".") and 0 < len(safe) < 100 and safe.isascii()


def test_file_names_of_different_runs_differ() -> None:
    assert file_name("2026-03-02T021500Z-7c1d") == "2026-03-02T021500Z-7c1d"
    assert len({file_name(name) for name in ("a b", "a/b", "a?b", "a-b")}) == 4


def test_prose_sets_backticks_as_code_and_escapes_the_rest() -> None:
    assert prose("run `suite <x>` & wait") == "run <code>suite &lt;x&gt;</code> &amp; wait"
