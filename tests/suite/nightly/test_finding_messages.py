"""What a night with findings comes to: they stand first, name their series, and what is muted raises no alarm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from reports.model.findings import Affected, Estimate, Finding, Member, in_reading_order
from suite.cli.main import run_command
from suite.nightly.summary import MOST_IN_CHAT, banner, document, finding_line, junit, markdown
from suite.results.findings import mutes
from suite.store.store import Store
from tests.suite.nightly.test_findings import Nights
from tests.support.suite.nights_made import KEY, night, result_of, verdict_of


def finding(number: int = 1, **changed) -> Finding:
    device = f"board-{number}"
    member = Member(device, KEY, "latency_ms", Estimate(1.068, 1.05, 1.08))
    made = Finding(
        id=f"F-00000{number}", category="regressed", state="new", metric="latency_ms", side="worse", level="boards",
        settings=("int8",), workloads=(), where=(Affected("jetson", (device,), 8),), members=(member,),
        since_run="r", since_at="2026-02-03T02:30:00+00:00",
    )  # fmt: skip
    return replace(made, **changed)


def with_findings(*found: Finding, words=("regressed", "unchanged")):
    items = [verdict_of(word, number) for number, word in enumerate(words, 1)]
    return replace(night(*items, board_1="suite run --device board-1"), findings=found)


def test_a_finding_in_one_line_has_what_where_how_much_since_when_and_its_name():
    assert finding_line(finding()).replace("\u00a0", " ") == (
        "regressed: int8 on board-1: Latency of a step +6.8 % (95 %: +5.0 to +8.0 %) (F-000001, new tonight)"
    )


def test_a_night_in_one_sentence_begins_with_its_findings():
    found = banner(with_findings(finding(), finding(2, state="fixed"), finding(3, muted="muted by ada: known")))
    assert found == "1 finding, 1 new: 1 regressed; 1 fixed; 1 muted; 2 series: 1 regressed, 1 unchanged"


def test_markdown_lists_findings_before_rows_and_folds_these():
    text = markdown(with_findings(finding()))
    assert text.index("### Findings") < text.index("<details>") < text.index("Regressed") < text.index("</details>")
    assert "<details>" not in markdown(with_findings(words=("regressed",)))


def test_text_of_a_finding_can_not_become_markup():
    text = markdown(with_findings(finding(settings=("<img src=x>",))))
    assert r"\<img src=x\> on board-1" in text and text.count("<img") == text.count(r"\<img")


def test_the_json_line_has_findings_beside_what_it_had_and_chat_gets_a_line_for_each():
    found = document(with_findings(*(finding(number) for number in range(1, MOST_IN_CHAT + 3))))
    assert found["changes"][0]["verdict"] == "regressed"
    first = found["findings"][0]
    assert (first["id"], first["sizes"][0]["most"]["ratio"]) == ("F-000001", 1.068)
    assert Finding.from_document(first) == finding()
    lines = found["text"].splitlines()
    assert len(lines) == MOST_IN_CHAT + 2 and lines[1].startswith("• regressed: int8 on board-1")
    assert lines[-1] == "and 2 more"


def test_junit_has_findings_as_properties_and_each_failure_names_its_own():
    suite = ElementTree.fromstring(junit(with_findings(finding())))  # noqa: S314 - our own
    (named,) = suite.iter("property")
    assert (named.get("name"), suite.get("tests"), suite.get("failures")) == ("finding F-000001", "2", "1")
    (failure,) = suite.iter("failure")
    assert (failure.get("message") or "").startswith("F-000001, int8 on board-1: ")
    assert failure.text == "suite run --device board-1"


def test_what_is_muted_is_no_failure_and_no_alarm():
    silent = with_findings(finding(muted="muted by ada: waits for the vendor"))
    assert (with_findings(finding()).exit_code, silent.exit_code) == (3, 0)
    suite = ElementTree.fromstring(junit(silent))  # noqa: S314 - our own
    assert (suite.get("failures"), suite.get("skipped")) == ("0", "1")
    assert not any(line.startswith("•") for line in document(silent)["text"].splitlines())


def test_a_muted_device_that_failed_does_not_make_a_night_incomplete():
    lost = finding(category="failed", members=(), reason="it broke", where=(Affected("jetson", ("board",), 1),))
    broken = night(measurements=[result_of("failed")])
    assert replace(broken, findings=(lost,)).exit_code == 4
    assert replace(broken, findings=(replace(lost, muted="muted by ada: dead"),)).exit_code == 0


def test_missing_and_failed_devices_are_read_first_and_what_is_settled_last():
    found = [
        finding(1, state="fixed"), finding(2), finding(3, category="missing"), finding(4, category="failed"),
        finding(5, state="known"), finding(6, category="improved", muted="muted by ada: so"),
    ]  # fmt: skip
    assert [one.id[-1] for one in in_reading_order(found)] == ["3", "4", "2", "5", "1", "6"]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nights:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUITE_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "inventory.yaml").write_text("devices:\n  a: {kind: local}\n")
    made = Nights(tmp_path / "home" / "store.sqlite")
    made.judge({"a": "regressed"})
    return made


def output(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = run_command(words)
    got = capsys.readouterr()
    return code, got.out + got.err


def test_findings_are_listed_annotated_and_muted_by_name(lab: Nights, capsys: pytest.CaptureFixture[str]) -> None:
    (one,) = lab.found()
    code, listed = output(capsys, "findings")
    assert code == 0 and listed.startswith(f"{one.id}  regressed, new tonight: int8 on a: Latency of a step +7.0 %")
    annotated = output(
        capsys, "annotate", one.id.lower(), "--note", "a new kernel", "--link", "https://bugs.example/17"
    )
    assert annotated == (0, f"noted on {one.id}\n")
    assert "link by" in output(capsys, "findings")[1]
    assert output(capsys, "mute", one.id, "--why", "known", "--until", "2999-01-01")[0] == 0
    assert "nothing was found" in output(capsys, "findings")[1]
    assert one.id in output(capsys, "findings", "--all")[1] and one.id in output(capsys, "mute")[1]
    assert output(capsys, "mute", one.id, "--end") == (0, f"{one.id} is no longer muted\n")
    assert mutes(Store.open(Path("home/store.sqlite"))) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("annotate F-ffffff words", "there is no finding 'F-ffffff'"),
        ("annotate {id}", "The remark is missing"),
        ("annotate {id} words --note words", "TEXT and --note are both given"),
        ("annotate {id} --link javascript:alert(1)", "--link is not an address"),
        ("annotate latest --link https://a.example", "--link is only for findings"),
        ("mute {id}", "--why is missing"),
        ("mute nobody --why so", "there is no finding or device 'nobody'"),
        ("mute a --why so --until soon", "--until soon is not a date"),
        ("mute a --why so --from 2026-02-01 --until 2026-01-01", "is not after"),
        ("mute a --end", "a is not muted"),
        ("mute --end", "is missing"),
    ],
)
def test_what_can_not_be_done_is_refused_with_a_way_on(
    lab: Nights, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    code, text = output(capsys, *line.format(id=lab.found()[0].id).split())
    assert code == 2 and message in text


def test_the_status_of_a_lab_has_the_open_findings_of_its_last_night(
    lab: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"  {lab.found()[0].id}  regressed, new tonight: int8 on a" in output(capsys, "status")[1]
