"""`suite train` as a whole: curves, adapters, interruptions that leave no trace, budgets, and what goes wrong."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from suite.preparing.preparation import load_inputs
from suite.training.plan import TrainingPlan
from suite.training.trainer import HeldOut, read_material
from tests.support.end_to_end.suite_runs import SHAPE, Bench, kill, wait_for, wait_for_end, wait_for_line
from workloads.export.peft_folder import read_peft_folder
from workloads.reference.eager import Batch, Reference
from workloads.reference.of_methods import AllWeightsReference, reference_of
from workloads.tasks.evaluation import FILLER

TRAIN = ("train", "--device", "local", *SHAPE, "--quant", "nf4", "--examples", "24")
SHORT = (*TRAIN, "--steps", "6", "--eval-every", "4", "--checkpoint-every", "3")
WITHOUT_ADAPTER = ("train", "--device", "local", "--model", "tiny", "-T", "32", "-b", "2", "--examples", "24")
OF_400 = ("--steps", "400", "--eval-every", "400", "--checkpoint-every", "100")
LONG = (*TRAIN, *OF_400, "--lr", "1e-2")


@pytest.fixture
def bench(bench: Bench, shared: Path) -> Bench:
    """A home that has the evaluating program, too."""
    shutil.copytree(shared / "evaluation", bench.home / "artifacts", dirs_exist_ok=True)
    return bench


def adapter_of(bench: Bench, training_id: str, folder: str) -> dict[str, Any]:
    """Exports the adapter and returns its tensors."""
    exported = bench("adapters", "export", training_id, str(bench.folder / folder))
    assert exported.code == 0, exported.err
    tensors: dict[str, Any] = load_file(bench.folder / folder / "adapter_model.safetensors")
    return tensors


def segments(bench: Bench) -> list[tuple[int, int]]:
    """First step and number of steps of each stored segment."""
    return bench.rows("SELECT first_step, steps FROM training_segment ORDER BY first_step")


def test_a_training_is_evaluated_on_its_way_and_its_adapter_is_what_was_evaluated(bench: Bench) -> None:
    ran = bench(*SHORT, "--json")
    assert ran.code == 0, ran.err
    (trained,) = ran.document["trainings"]
    assert (trained["status"], trained["steps"]) == ("finished", 6)
    assert segments(bench) == [(0, 3), (3, 1), (4, 2)]
    curve = trained["evaluations"]
    assert [point["step"] for point in curve] == [0, 4, 6]
    assert all(0 <= point["accuracy"] <= 1 and point["examples"] == 24 for point in curve)
    assert [point["seconds"] for point in curve] == sorted(point["seconds"] for point in curve)
    assert trained["energy_mj"]["unavailable"]
    assert trained["peak_memory_kib"] > 0
    assert _reference_losses(bench, trained["training_id"]) == pytest.approx(
        (curve[0]["loss"], curve[-1]["loss"]), rel=1e-4
    )
    listed = bench("adapters", "list", "--json").document["trainings"]
    assert [one["training_id"] for one in listed] == [trained["training_id"]]


def test_an_adapter_of_discriminants_is_exported_and_loaded_with_its_own_a(bench: Bench) -> None:
    words = (*TRAIN[:-4], "--quant", "fp32", "--examples", "24", "--rank", "2", "--steps", "6", "--eval-every", "6")
    ran = bench(*words, "--init", "discriminant", "--json")
    assert ran.code == 0, ran.err
    (trained,) = ran.document["trainings"]
    exported = adapter_of(bench, trained["training_id"], "exported")
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    (folder,) = (bench.home / "initial").iterdir()
    assert np.array_equal(exported[name], load_file(folder / "adapter_model.safetensors")[name])
    again = bench(*words, "--adapter", str(bench.folder / "exported"), "--json")
    assert again.code == 0, again.err
    (continued,) = again.document["trainings"]
    assert continued["evaluations"][0]["loss"] == pytest.approx(trained["evaluations"][-1]["loss"], rel=1e-6)
    assert trained["workload"]["init"] == "discriminant"  # for every seed alike, whatever A it is
    assert ("lora_a" in trained["workload"], "lora_a" in continued["workload"]) == (False, True)
    refused = bench(*TRAIN, "--init", "discriminant")
    assert (refused.code, "use --rank 2" in refused.err) == (2, True)


def _reference_losses(bench: Bench, training_id: str) -> tuple[float, float]:
    """Returns the mean loss of the held-out answers by the eager reference, for a zero adapter and the exported one."""
    (document,) = bench.rows("SELECT plan FROM training")[0]
    plan = TrainingPlan.from_document(json.loads(document))
    inputs = load_inputs(plan.plan, print)
    config, workload = inputs.weights.config, next(plan.plan.workloads(answers=1))
    adapter_of(bench, training_id, "exported")
    trained = torch.from_numpy(read_peft_folder(workload, config, bench.folder / "exported"))
    reference = Reference(workload, config, inputs.weights.state)
    batch = _right_answers(read_material(plan, inputs).held_out)
    return reference.loss(torch.zeros_like(trained), batch), reference.loss(trained, batch)


def _right_answers(held_out: HeldOut) -> Batch:
    """Returns the held-out rows with their right answers."""
    of_row = np.concatenate([batch.example for batch in held_out.rows.batches])
    real = of_row != FILLER
    right = held_out.rows.right[of_row[real]]
    labels = held_out.labels.reshape(len(of_row), -1)[real, right][:, None]
    return Batch(held_out.tokens.reshape(len(of_row), -1)[real], held_out.first.reshape(-1)[real], labels)


def _reference_losses_of_own_weights(bench: Bench) -> tuple[float, float]:
    """Returns the same of the model itself, untrained, and trained by the reference on the batches of the training."""
    (document,) = bench.rows("SELECT plan FROM training")[0]
    plan = TrainingPlan.from_document(json.loads(document))
    inputs = load_inputs(plan.plan, print)
    material, (workload,) = read_material(plan, inputs), plan.plan.workloads(answers=1)
    reference, settings = reference_of(workload, inputs.weights), plan.plan.training(workload.setting)
    assert isinstance(reference, AllWeightsReference)
    held_out, nothing = _right_answers(material.held_out), torch.zeros(0)
    before, arrays = reference.loss(nothing, held_out), material.training.arrays
    batches = [Batch(*(arrays[name][step] for name in ("tokens", "first", "labels"))) for step in range(plan.steps)]
    reference.train(batches, plan.steps, seed=settings.seed, lr=settings.lr, eps=settings.eps)
    reference._set(reference.trained, reference._noise(0, 0), 0.0)
    return before, reference.loss(nothing, held_out)


@pytest.mark.parametrize(
    ("method", "quant", "lr"),
    [("mezo-full", "fp32", "1e-4"), ("mezo-full", "fp16", "1e-4"), ("qzo", "int8", "1e-3"), ("qzo", "nf4", "1e-3")],
)
def test_without_an_adapter_the_model_is_evaluated_on_its_way(bench: Bench, method: str, quant: str, lr: str) -> None:
    few = ("--steps", "6", "--eval-every", "4", "--checkpoint-every", "3", "--lr", lr)
    ran = bench(*WITHOUT_ADAPTER, "--method", method, "--quant", quant, *few, "--json")
    assert ran.code == 0, ran.err
    (trained,) = ran.document["trainings"]
    assert [point["step"] for point in trained["evaluations"]] == [0, 4, 6]
    losses = [point["loss"] for point in trained["evaluations"]]
    assert (losses[0], losses[-1]) == pytest.approx(_reference_losses_of_own_weights(bench), rel=1e-4)
    assert losses[-1] != pytest.approx(losses[0], rel=1e-3)
    states = _states(bench, trained)
    assert [path.name for path in states] == ["step-000000004.safetensors", "step-000000006.safetensors"]
    assert not (bench.workdir / "jobs").exists()  # where the device had the state for the next process
    refused = bench("adapters", "export", trained["training_id"], str(bench.folder / "none"))
    assert (refused.code, f"find them in {states[-1]}" in refused.sentence) == (2, True)


def _states(bench: Bench, training: dict[str, Any]) -> list[Path]:
    return sorted((bench.home / "trainings" / training["training_id"]).glob("*.safetensors"))


@pytest.mark.parametrize(("method", "quant", "lr"), [("mezo-full", "fp32", "1e-4"), ("qzo", "nf4", "1e-3")])
def test_whatever_dies_a_models_own_weights_are_trained_to_the_same_bits(
    bench: Bench, method: str, quant: str, lr: str
) -> None:
    words = (*WITHOUT_ADAPTER, *OF_400, "--method", method, "--quant", quant, "--lr", lr)
    assert bench(*words, "--target", "0.01").code == 0  # makes the programs, without a step
    disturbed, plain = _disturbed_and_plain(bench, *words)
    found, expected = (load_file(_states(bench, one)[-1]) for one in (disturbed, plain))
    assert found.keys() == expected.keys()
    assert all(found[name].tobytes() == value.tobytes() for name, value in expected.items())
    curves = bench.rows(
        f"SELECT curve FROM training_segment WHERE training_id = '{plain['training_id']}' ORDER BY first_step"
    )
    losses = [np.mean([loss for _, loss in json.loads(curve)]) for (curve,) in curves]
    assert losses[-1] < 0.9 * losses[0]  # it learns


def test_whatever_dies_an_adapter_is_trained_to_the_same_bits(bench: Bench) -> None:
    disturbed, plain = _disturbed_and_plain(bench, *LONG)
    found, expected = (
        adapter_of(bench, one["training_id"], name) for one, name in ((disturbed, "disturbed"), (plain, "plain"))
    )
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert any(value.any() for name, value in expected.items() if "lora_B" in name)


def _disturbed_and_plain(bench: Bench, *words: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns two trainings with the same losses; in the first, runner and orchestrator were killed on the way."""
    with bench.start(*words, "--json") as process:
        try:
            kill(
                wait_for(
                    lambda: bench.runner_pid() if segments_so_far(bench) else None, "a runner of the second segment"
                )
            )
            wait_for_line(process.stderr, "again from step")
            wait_for(lambda: len(segments_so_far(bench)) > 1, "a second segment")
            process.send_signal(signal.SIGKILL)
        finally:
            process.kill()
            wait_for_end(process)
    done = segments(bench)
    assert 2 <= len(done) < 4
    resumed = bench("train", "--resume", "--json")
    assert resumed.code == 0, resumed.err
    assert segments(bench) == [(0, 100), (100, 100), (200, 100), (300, 100)]
    (disturbed,) = resumed.document["trainings"]
    (plain,) = bench(*words, "--json").document["trainings"]
    assert [point["loss"] for point in disturbed["evaluations"]] == [point["loss"] for point in plain["evaluations"]]
    return disturbed, plain


def segments_so_far(bench: Bench) -> list[tuple[int, int]]:
    """Returns the stored segments, none while there is no store yet."""
    return (
        segments(bench)
        if (bench.home / "store.sqlite").exists()
        and bench.rows("SELECT 1 FROM sqlite_master WHERE name = 'training_segment'")
        else []
    )


def test_a_race_trains_every_contender_with_every_seed(bench: Bench) -> None:
    methods = ("--methods", "prge,mezo-lora-fa", "--quants", "nf4", "--seeds", "2", "--target", "0.01")
    ran = bench(
        "race", "--device", "local", *SHAPE, *methods, "--steps", "2", "--eval-every", "1", "--examples", "8", "--json"
    )
    assert ran.code == 0, ran.err
    trained = [(one["workload"]["method"], one["seed"], one["status"]) for one in ran.document["trainings"]]
    assert trained == [(name, seed, "finished") for seed in (7, 8) for name in ("prge", "mezo-lora-fa")]
    (race,) = ran.document["races"]
    assert [contender["seeds"] for contender in race["contenders"]] == [[7, 8], [7, 8]]
    assert ran.err.count("lost the start of their text") <= 2


def test_an_interrupted_race_goes_on_with_the_same_contenders(bench: Bench) -> None:
    rivals = ("quant=nf4 lr=1e-2 steps=2 eval-every=2", "quant=nf4 lr=1e-3 schedule=linear")
    contenders = [word for rival in rivals for word in ("--contender", f"prge {rival}")]
    options = ("--seeds", "1", "--steps", "200", "--eval-every", "200", "--examples", "8", "--json")
    finished = "SELECT id FROM training WHERE status = 'finished'"
    with bench.start("race", "--device", "local", *SHAPE, *contenders, *options) as process:
        try:
            wait_for(lambda: len(segments_so_far(bench)) > 1 and bench.rows(finished), "steps of the second contender")
            process.send_signal(signal.SIGKILL)
        finally:
            process.kill()
            wait_for_end(process)
    (done,) = bench.rows(finished)
    resumed = bench("train", "--resume", "--json")
    assert resumed.code == 0, resumed.err
    first, second = resumed.document["trainings"]
    assert (first["training_id"],) == done
    assert [(one["status"], one["steps"]) for one in (first, second)] == [("finished", 2), ("finished", 200)]
    own = [{key: one["workload"].get(key) for key in ("lr", "schedule", "steps")} for one in (first, second)]
    assert own == [
        {"lr": 0.01, "schedule": None, "steps": 2},
        {"lr": 0.001, "schedule": "linear", "steps": 200},
    ]


@pytest.mark.parametrize(("other", "quant", "lr"), [("mezo-lora-fa", "nf4", "1e-2"), ("mezo-full", "fp32", "1e-4")])
def test_robustness_trains_each_contender_again_with_a_busy_device_and_an_interruption(
    bench: Bench, other: str, quant: str, lr: str
) -> None:
    methods = ("--methods", f"prge,{other}", "--quants", quant, "--seeds", "1", "--robustness")
    few = ("--steps", "2", "--eval-every", "2", "--lr", lr, "--examples", "8")
    ran = bench("race", "--device", "local", *SHAPE, *methods, *few, "--json")
    assert ran.code == 0, ran.err
    trained = [(one["workload"]["method"], one["workload"].get("conditions")) for one in ran.document["trainings"]]
    assert trained == [(name, how) for name in ("prge", other) for how in (None, "disturbed")]
    assert ran.err.count("interrupted after 1 of 2 steps; again from step 0") == 2
    (race,) = ran.document["races"]
    names = [f"prge {quant} q=2", f"{other} {quant} q=1"]
    assert [one["name"] for one in race["contenders"]] == [one["name"] for one in race["robustness"]] == names
    for one in race["robustness"]:
        assert one["same_course"]
        assert one["remarks"] == []
        assert one["seconds"]["value"] > 0
    losses = [[point["loss"] for point in one["evaluations"]] for one in ran.document["trainings"]]
    assert losses[0] == losses[1] != losses[2] == losses[3]
    assert losses[0][0] == pytest.approx(losses[2][0], rel=1e-6)  # nothing was trained yet
    page = (bench.home / "reports" / ran.document["report"]).read_text()
    assert "With a busy device and an interruption" in page


def test_a_training_starts_from_an_adapter_that_was_exported(bench: Bench) -> None:
    (first,) = bench(*SHORT, "--lr", "1e-2", "--json").document["trainings"]
    adapter_of(bench, first["training_id"], "start")
    (second,) = bench(*SHORT, "--adapter", "start", "--json").document["trainings"]
    assert second["evaluations"][0]["loss"] == first["evaluations"][-1]["loss"]
    assert second["evaluations"][0]["loss"] != first["evaluations"][0]["loss"]


def test_a_loss_that_is_not_finite_ends_a_training_with_the_last_good_state(bench: Bench) -> None:
    ran = bench(*SHORT, "--lr", "1e30", "--json")
    assert ran.code == 4
    (trained,) = ran.document["trainings"]
    assert trained["status"] == "failed"
    assert "is not finite: the state of step" in trained["reason"]
    assert "--lr" in trained["reason"]


def test_a_target_that_is_reached_ends_a_training(bench: Bench) -> None:
    (trained,) = bench(*SHORT, "--target", "0.01", "--json").document["trainings"]
    assert trained["steps"] == 0
    assert trained["reason"].startswith("reached an accuracy of")
    refused = bench("adapters", "export", trained["training_id"], str(bench.folder / "none"))
    assert (refused.code, "made no step" in refused.sentence) == (2, True)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--examples", "96"), "hold out fewer, such as 24"),
        (("--budget-minutes", "-1"), "--budget-minutes is -1"),
        (("--target", "2"), "--target is 2"),
        (("--adapter", "absent"), "as PEFT saves them"),
        (("--adapter", "absent", "--method", "qzo", "-q", "1"), "the scales of the model's quantized weights"),
        (("--budget-joules", "5"), "--budget-joules can't be kept"),
        (("--budget-minutes", "1e-9"), "one step on local takes"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_sentence(bench: Bench, options: tuple[str, ...], sentence: str) -> None:
    ran = bench(*SHORT, *options)
    assert ran.code in (2, 4)
    assert sentence in ran.err + ran.out
    assert "Traceback" not in ran.err


def test_nothing_to_resume_is_a_sentence(bench: Bench, tmp_path: Path) -> None:
    del tmp_path
    assert "no interrupted training" in bench("train", "--resume").sentence
