"""What a plan refuses, keeps and gives back."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from devices.inventory.inventory_file import load
from foundation.errors import UserError
from suite.planning.forecast import forecast, power_readers
from suite.planning.plan import Plan, RunPlan, describe_workload, described_workload, interleaved, shapes_of_total
from suite.store.identity import design_of
from tests.support.workloads.model_folder import write_folder
from workloads.models.config import LlamaConfig
from workloads.models.zoo import random_weights
from workloads.quantize.settings import QUANTIZATION_SETTINGS, SETTINGS
from workloads.workload import TrainingSettings, Workload


def test_settings_go_there_and_back() -> None:
    assert [list(interleaved(4, ordinal)) for ordinal in range(3)] == [[0, 1, 2, 3], [3, 2, 1, 0], [0, 1, 2, 3]]


def test_a_plan_comes_back_from_its_document() -> None:
    plan = Plan(("a", "b"), model="tiny", quants=("nf4", "fp32"), seed=3, lr=0.5, task="/t.tsv")
    assert Plan.from_document(json.loads(json.dumps(plan.document()))) == plan


def test_a_plan_of_another_version_is_refused() -> None:
    with pytest.raises(UserError, match=r"has colour, which this version does not know: start a new run"):
        Plan.from_document(Plan(("a",), model="tiny").document() | {"colour": 1})


def test_a_quick_plan_is_one_short_session_of_the_same_work() -> None:
    plan = Plan(("a",), model="tiny", seed=3)
    quick = plan.quick()
    assert (quick.sessions, quick.steps, quick.seed, quick.quants) == (1, 3, 3, plan.quants)
    assert quick.energy_window_s == 0


def test_a_figure_to_quote_has_five_sessions_and_may_have_windows_of_a_minute() -> None:
    assert (Plan(("a",)).sessions, Plan(("a",)).energy_window_s) == (5, 10.0)
    assert "--energy-window" in Plan(("a",), energy_window_s=60.0).arguments("fp32")
    for odd in (-1.0, 1e9, float("nan")):
        with pytest.raises(UserError, match=r"energy_window_s is .* give 10, or 60 for a figure that"):
            Plan(("a",), energy_window_s=odd)


def test_nights_of_another_window_of_energy_are_another_design() -> None:
    usual, long = Plan(("a",)), Plan(("a",), energy_window_s=60.0)
    assert design_of(usual.document()) != design_of(long.document())
    before = {key: value for key, value in usual.document().items() if key != "energy_window_s"}
    assert design_of(before) == design_of(usual.document())  # nights from before there was a choice go on


@pytest.mark.parametrize("wrong", [{"eps": float("inf")}, {"alpha": -1.0}, {"lr": -0.1}, {"seed": 1 << 63}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=f"^{next(iter(wrong))} is "):
        Plan(("a",), model="tiny", **wrong)  # type: ignore[arg-type]


def test_a_learning_rate_of_zero_is_allowed() -> None:
    assert Plan(("a",), model="tiny", lr=0.0).training(SETTINGS["fp32"]).lr == 0.0


@pytest.mark.parametrize("quant", QUANTIZATION_SETTINGS)
def test_each_setting_has_its_own_eps_and_learning_rate_unless_the_plan_has(quant: str) -> None:
    setting = SETTINGS[quant]
    own = Plan(("a",), model="tiny", quants=(quant,), seed=3).training(setting)
    assert own == TrainingSettings(setting.default_lr, setting.default_eps, 3)
    assert Plan(("a",), model="tiny", quants=(quant,), lr=0.5, eps=0.25).training(setting).eps == 0.25


@pytest.mark.parametrize("quant", QUANTIZATION_SETTINGS)
def test_the_own_eps_of_a_setting_raises_no_warning(quant: str) -> None:
    assert list(Plan(("a",), model="tiny", quants=(quant,)).warnings()) == []


def test_an_eps_at_which_a_setting_has_no_gradient_is_named_with_the_correlation_and_a_better_one() -> None:
    plan = Plan(("a",), model="tiny", quants=("fp32", "int8-dynamic"), eps=1e-3)
    (warning,) = plan.warnings()
    assert warning.startswith("tiny int8-dynamic with eps 0.001: projected gradients are mostly noise")
    assert f"correlation with exact ones is about {SETTINGS['int8-dynamic'].correlations[1e-3]:.2f}" in warning
    assert warning.endswith("use --eps 0.03")
    assert forecast(plan).lines(plan)[-1] == warning


@pytest.mark.parametrize(("quant", "eps", "poor"), [("bf16", 1e-4, 0.10), ("nf4", 0.3, 0.20), ("fp16", 1e-4, 0.08)])
def test_beyond_what_was_seen_the_error_grows_as_noise_and_curvature_do(quant: str, eps: float, poor: float) -> None:
    """A loss's noise does not depend on eps, so that the error of a projected gradient is as 1 / eps; the next term of
    the loss's series is as eps squared."""
    assert SETTINGS[quant].poor_correlation(eps) == pytest.approx(poor, abs=0.01)


def test_a_workload_is_described_by_what_is_not_the_default() -> None:
    (usual,) = Plan(("a",), model="tiny", quants=("fp32",)).workloads(answers=1)
    (other,) = Plan(("a",), model="tiny", quants=("fp32",), alpha=8.0).workloads(answers=2)
    assert set(describe_workload(usual)) == {"model", "method", "quant", "backend", "q", "b", "T", "rank"}
    assert describe_workload(other) == describe_workload(usual) | {"alpha": 8.0, "answers": 2}


def test_a_forecast_grows_with_sessions_and_devices() -> None:
    one = forecast(Plan(("a",), model="smollm2-135m", sessions=1))
    many = forecast(Plan(("a", "b"), model="smollm2-135m", sessions=3))
    assert many.measure_seconds == pytest.approx(6 * one.measure_seconds)
    assert many.host_disk_bytes == one.host_disk_bytes
    sizes = [item.program_bytes + item.data_bytes for item in one.settings]
    assert sizes == sorted(sizes, reverse=True)


def test_a_total_is_each_power_of_two_of_queries_that_divides_it() -> None:
    assert shapes_of_total(16, "prge") == [(1, 16), (2, 8), (4, 4), (8, 2), (16, 1)]
    assert shapes_of_total(12, "prge") == [(1, 12), (2, 6), (4, 3)]
    assert shapes_of_total(16, "mezo-lora-fa") == [(1, 16)]


def test_switched_loops_are_part_of_the_workload_its_series_and_its_command() -> None:
    plan = Plan(("a",), model="tiny", quants=("nf4",), outer=False, inner=True)
    (workload,) = plan.workloads(1)
    assert (workload.outer_parallel, workload.inner_parallel) == (False, True)
    assert describe_workload(workload)["outer_parallel"] is False
    assert "inner_parallel" not in describe_workload(workload)
    assert plan.arguments("nf4")[-4:] == ["--outer", "off", "--inner", "on"]
    assert Plan.from_document(json.loads(json.dumps(plan.document()))) == plan


def test_loops_that_a_method_fixes_do_not_name_its_series() -> None:
    (workload,) = Plan(("a",), model="tiny", quants=("nf4",), method="mezo-lora-fa", q=1).workloads(1)
    assert set(describe_workload(workload)) == {"model", "method", "quant", "backend", "q", "b", "T", "rank"}


def test_the_forecast_has_what_a_window_of_energy_takes_longer() -> None:
    plan = Plan(("board",), model="tiny", quants=("fp32", "nf4"), sessions=5, steps=10, energy_window_s=60.0)
    found = forecast(plan)
    assert 9 * 60.0 < found.energy_seconds < 10 * 60.0
    assert any("each session then measures for 60 s" in line for line in found.lines(plan))
    assert not any("longer" in line for line in forecast(plan.quick()).lines(plan.quick()))


def test_the_forecast_counts_idle_power_where_power_is_known_to_be_read() -> None:
    plan = Plan(("board", "jetson"), model="tiny", quants=("fp32", "nf4"), sessions=3)
    found = forecast(plan, power_read_on={"jetson"})
    windows = 10.0 * (2 * 3 + 1)
    energy = found.energy_seconds
    assert found.device_seconds["jetson"] - found.device_seconds["board"] == pytest.approx(energy + windows)
    assert found.measure_seconds == pytest.approx(sum(found.device_seconds.values()))
    assert found.idle_seconds == windows
    assert any("70 s of idle power, 10 s before the first session and after each" in line for line in found.lines(plan))


def test_power_is_known_to_be_read_from_the_kind_or_the_inventory(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text(
        "devices:\n"
        "  jetson: {kind: jetson, host: h}\n"
        "  board: {kind: linux, host: h}\n"
        "  metered: {kind: linux, host: h, power: {command: [meter]}}\n"
    )
    assert power_readers(load(path)) == {"jetson", "metered"}


def test_a_quick_plan_keeps_what_was_asked_for() -> None:
    quick = Plan(("a",), model="tiny", sessions=5, steps=20).quick(keeping=["sessions"])
    assert (quick.sessions, quick.steps, quick.energy_window_s) == (5, 3, 0.0)


def test_a_program_that_trains_nothing_is_no_method_of_a_run() -> None:
    with pytest.raises(UserError, match="Unknown method 'evaluate'"):
        RunPlan((Plan(("board",), model="tiny", method="evaluate", q=1),))


@pytest.fixture
def own_model(tmp_path: Path) -> Path:
    """The files of a model of a shape that no named one has."""
    config = LlamaConfig(512, 32, 64, 3, 2, 1, 16, max_positions=100)
    folder = tmp_path / "My-Model-3L"
    write_folder(folder, random_weights("mine", config))
    return folder


def test_a_model_may_be_the_path_of_its_files(own_model: Path) -> None:
    plan = Plan(("a",), model=str(own_model))
    assert (plan.model, plan.weights) == ("My-Model-3L", str(own_model))
    assert (plan.config.layers, plan.config.hidden_size) == (3, 32)
    assert Plan.from_document(json.loads(json.dumps(plan.document()))) == plan
    arguments = plan.arguments("fp32")
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert (given["--model"], given["--weights"]) == ("My-Model-3L", str(own_model))
    with pytest.raises(UserError, match="T is 101, but My-Model-3L has 100 positions: choose a T up to 100"):
        replace(plan, T=101)


def test_a_path_of_the_working_folder_is_found_and_stays_right_elsewhere(
    own_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(own_model.parent)
    plan = Plan(("a",), model="My-Model-3L")
    assert replace(plan, q=2).weights == str(own_model)
    monkeypatch.chdir("/")
    assert replace(plan, q=2).config.layers == 3


def test_files_named_twice_and_files_that_are_not_there_are_refused(own_model: Path) -> None:
    with pytest.raises(UserError, match="is a model's files, and so are the weights /elsewhere: name one of them"):
        Plan(("a",), model=str(own_model), weights="/elsewhere")
    with pytest.raises(UserError, match=r"nowhere/model.gguf does not exist: give a Hugging Face folder, a GGUF file"):
        Plan(("a",), model="nowhere/model.gguf")
    (own_model / "config.json").unlink()
    with pytest.raises(UserError, match=r"My-Model-3L/config.json is missing: give a folder in Hugging Face's layout"):
        Plan(("a",), model=str(own_model))
    with pytest.raises(UserError, match="Unknown model 'smolm2-135m': did you mean smollm2-135m"):
        Plan(("a",), model="smolm2-135m")


@pytest.mark.parametrize(
    "workload",
    [
        Workload("tiny", "fp32"),
        Workload(
            "tiny", "nf4", q=1, b=16, targets=("q_proj", "v_proj"), layers="1", lora_a="0123", method="mezo-lora-fa"
        ),
    ],
    ids=["defaults", "others"],
)
def test_a_workload_comes_back_from_its_description(workload: Workload) -> None:
    described = json.loads(json.dumps(describe_workload(workload))) | {"lr": 0.5, "init": "discriminant"}
    assert described_workload(described) == workload


def test_a_description_of_no_workload_is_a_sentence() -> None:
    with pytest.raises(UserError, match="A workload can't be read"):
        described_workload({"quant": "fp32"})
