"""Measures peers and the suite's own steps in rounds: each of them once per round, each time in a new process.

The order is reversed with each round, so that drift affects all alike. The result of a contender in a round is the
median of its steps, and ratios are taken within rounds. All get the same rows without padding, so that none has less to
compute.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from devices.access.connect import Device, connect
from devices.deployment.built_runner import BuiltRunner
from devices.errors import TransportTimeout
from devices.inventory.entry import DeviceEntry
from devices.processes import ProcessEnd
from devices.sensors.spec import Discovery
from foundation.causes import cause_line
from foundation.errors import UserError
from foundation.unavailable import Unavailable
from reports.model.quantities import POWER
from suite.display import Display
from suite.energy.session_energy import session_energy
from suite.errors import SuiteError
from suite.home import Home
from suite.measuring.deployment import deploy_program
from suite.measuring.job import OnStep, threads_of
from suite.measuring.kernels import deployed_runner
from suite.measuring.orchestrate import prepare_host
from suite.measuring.sensor_plan import SensorPlan, sensor_plan
from suite.measuring.session import SessionOrder, longest_s, run_session
from suite.peers.comparison import Array, PeerComparison, Row, logits_difference
from suite.peers.peer import Peer, PeerJob, Work
from suite.planning.plan import Plan, RunPlan, interleaved
from suite.preparing.preparation import Prepared
from suite.sessions.collect import collect
from suite.sessions.record import Cause, SessionRecord
from suite.sessions.validity import SessionStatus
from workloads.models.zoo import load_model
from workloads.reference.expected_losses import ReferenceLosses

if TYPE_CHECKING:
    from workloads.models.weights import ModelWeights

WARM_UP_STEPS = 2
_PREFIX = "peers-"
_COMPILING_S = 1800.0
_NOT_COMPARED = ReferenceLosses((), "rows without padding have no reference losses")
_NO_IDLE = Unavailable("the power of the idle device is not measured here")


def compare_with_peers(
    plan: Plan, peers: Sequence[Peer], entry: DeviceEntry, home: Home, display: Display
) -> PeerComparison:
    """Measures own settings and peers in `plan.sessions` rounds of `plan.steps` measured steps.

    A setting or peer that fails is left out with its reason. Raises UserError for a device that is not this host,
    DeviceError if it can't be used, and what `prepare_host` raises.
    """
    if entry.transport != "local":
        raise UserError(f"{entry.name} is reached over {entry.transport}, but peers run on this host: name local.")
    plan = replace(plan, max_warm_up_steps=WARM_UP_STEPS)
    missing = {peer.name: peer.missing for peer in peers}
    preparation, runners = prepare_host(RunPlan((plan,)), [entry], home, display, references=False)
    failed = {f"suite-{item.workload.quant}": str(item.error) for item in preparation.left_out}
    weights = load_model(plan.model, plan.weights_path, display.note)
    with connect(entry, home.locks) as device, _folder(home) as folder:
        runner = deployed_runner(device, device.facts(), runners, plan.quants, home, display.note)
        bench = _Bench(device, runner, home, display, folder, full_rows(preparation.prepared), failed=failed)
        with display.busy("preparing inputs and models of peers"):
            bench.prepare(weights, [peer for peer in peers if missing[peer.name] is None])
        for ordinal in range(plan.sessions):
            bench.measure_round(ordinal)
        workload = bench.prepared[0].workload
        return PeerComparison(
            workload={name: getattr(workload, name) for name in ("model", "method", "q", "b", "T", "rank", "answers")},
            forward_tokens=2 * workload.q * workload.b * workload.T,
            threads=threads_of(device),
            rows=tuple(bench.rows.values()),
            missing={name: reason for name, reason in missing.items() if reason is not None},
            failed=failed,
        )


@contextlib.contextmanager
def _folder(home: Home) -> Iterator[Path]:
    """Creates a folder for the block on the home's disk, as models may be large. This host is held as a device."""
    for leftover in home.root.glob(f"{_PREFIX}*"):  # of a killed process
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=home.root, prefix=_PREFIX) as folder:
        yield Path(folder)


def full_rows(prepared: Sequence[Prepared]) -> list[Prepared]:
    """Returns settings with one batch of seeded tokens whose rows have no padding."""
    workload, config = prepared[0].workload, prepared[0].plan.config
    generator = np.random.Generator(np.random.Philox(prepared[0].plan.seed))
    tokens = generator.integers(0, config.vocab_size, (1, workload.b, workload.T))
    labels = generator.integers(0, config.vocab_size, (1, workload.b, workload.answers))
    data = replace(prepared[0].data, tokens=tokens, first=np.zeros((1, workload.b), np.int64), labels=labels)
    return [replace(one, data=data, reference=_NOT_COMPARED) for one in prepared]


def reference_logits(weights: ModelWeights, tokens: NDArray[np.int64], answers: int) -> Array:
    """Returns the reference's logits of rows' last `answers` positions, in float32, computed layer by layer."""
    import torch  # takes seconds to load, as does the model

    from workloads.models.llama import Llama, Rotary, attention_bias, decoder_layer

    config, (rows, length) = weights.config, tokens.shape
    ends = Llama.without_layers(config, weights.state)
    bias = attention_bias(torch.zeros(rows, dtype=torch.int64), length)
    with torch.no_grad():
        x = ends.model.embed_tokens(torch.from_numpy(tokens)).float().reshape(1, rows * length, -1)
        for index, rotary in enumerate(Rotary.of_layers(config, length)):
            x = decoder_layer(config, weights.state, index).float()(x, rotary, bias, {})
        found: Array = ends.float().lm_head(ends.model.norm(x.reshape(rows, length, -1)[:, -answers:])).numpy()
    return found


@dataclass
class _Bench:
    """The contenders of a comparison on this host, in the order of the report."""

    device: Device
    runner: BuiltRunner
    home: Home
    display: Display
    folder: Path
    prepared: list[Prepared]
    failed: dict[str, str]
    rows: dict[str, Row] = field(default_factory=dict)
    peers: dict[str, Peer] = field(default_factory=dict)

    def prepare(self, weights: ModelWeights, peers: Sequence[Peer]) -> None:
        """Deploys programs, and writes peers' inputs and model files."""
        for one in self.prepared:
            deploy_program(self.device, one.artifact)
            quant = one.workload.quant
            self.rows[f"suite-{quant}"] = Row(f"suite-{quant}", Work.STEP, quant, setting=quant)
        data = self.prepared[0].data
        np.savez(self._inputs, tokens=data.tokens[0], labels=data.labels[0])
        self._exact = reference_logits(weights, data.tokens[0], data.labels.shape[2])
        for peer in peers:
            try:
                if peer.package == "llama_cpp":
                    self._write_model_file(weights, peer)
            except UserError as error:
                self._leave_out(peer.name, str(error))
                continue
            self.peers[peer.name] = peer
            self.rows[peer.name] = Row(peer.name, peer.work, peer.dtype)

    def _write_model_file(self, weights: ModelWeights, peer: Peer) -> None:
        from suite.peers.llama_cpp_work import write_model

        write_model(weights.config, weights.state, peer.dtype, self._model_file(peer))

    @property
    def _inputs(self) -> Path:
        return self.folder / "inputs.npz"

    def _model_file(self, peer: Peer) -> Path:
        return self.folder / f"{peer.name}.gguf"

    def measure_round(self, ordinal: int) -> None:
        """Measures each contender once and leaves out those that fail."""
        names = list(self.rows)
        for index in interleaved(len(names), ordinal):
            name = names[index]
            found = self.device.sensors()
            sensors = sensor_plan(found, self.device.entry.power)
            try:
                with self.display.steps(f"{name} round {ordinal + 1}", self.prepared[0].plan.steps) as on_step:
                    record = self._session(name, found, sensors, on_step)
            except SuiteError as error:
                self._leave_out(name, str(error))
                continue
            self.rows[name] = self.rows[name].with_round(record, _joules(record, found, sensors))
            self.display.note(f"{name} round {ordinal + 1}: {self.rows[name].round_s[-1]:.3g} s")

    def _leave_out(self, name: str, reason: str) -> None:
        self.rows.pop(name, None)
        self.failed[name] = reason
        self.display.note(f"{name} is left out: {reason}")

    def _session(self, name: str, found: Discovery, sensors: SensorPlan, on_step: OnStep) -> SessionRecord:
        """Returns the record of a session that counts. Raises SuiteError for any other."""
        session = f"peers-{uuid.uuid4().hex[:12]}"
        if name in self.peers:
            return self._peer_session(session, self.peers[name], found, sensors, on_step)
        one = next(one for one in self.prepared if one.workload.quant == self.rows[name].setting)
        order = SessionOrder(session, one, self.runner, self.home.session_log("peers", session))
        record, validity = run_session(self.device, order, found.sensors, sensors, on_step)
        if validity.status is not SessionStatus.OK:
            raise SuiteError(f"its session is {validity.status}: {validity.reason}")
        return record

    def _peer_session(
        self, session: str, peer: Peer, found: Discovery, sensors: SensorPlan, on_step: OnStep
    ) -> SessionRecord:
        job = self._job(session, peer, found, sensors)
        path = self.folder / f"{session}.json"
        path.write_text(json.dumps(job.document()), encoding="utf-8")
        lines: list[str] = []

        def take(line: str) -> None:
            lines.append(line)
            if line.startswith('{"event": "step"'):
                on_step("measuring" if '"measured"' in line else "warming up", len(lines) - 2)

        argv = [sys.executable, "-m", "suite.peers.process", str(path)]
        try:
            ended = self.device.launch(argv, take, timeout_s=self._longest_s(job))
        except TransportTimeout:
            ended = ProcessEnd(rc=None, stopped=f"it had not finished after {self._longest_s(job):.0f} s")
        record = collect(session, lines, ended, sensors.quantities)
        if record.cause is not Cause.COMPLETED:
            raise SuiteError(_sentence(record, ended))
        self._check_logits(peer, Path(job.logits))
        return record

    def _job(self, session: str, peer: Peer, found: Discovery, sensors: SensorPlan) -> PeerJob:
        one = self.prepared[0]
        measured = [each for each in found.sensors if each.name in sensors.energy_sensors and each.command is None]
        return PeerJob(
            session=session,
            peer=peer,
            workload=one.workload,
            training=one.training,
            weights=one.plan.weights,
            inputs=str(self._inputs),
            logits=str(self.folder / f"{session}.npy"),
            model_file=str(self._model_file(peer)),
            threads=threads_of(self.device),
            cpus=self.device.entry.cpus,
            warm_up=WARM_UP_STEPS,
            steps=one.plan.steps,
            least_seconds=1.02 * one.plan.energy_window_s if measured else 0.0,
            sensors=tuple(each.job_entry() for each in measured),
        )

    def _longest_s(self, job: PeerJob) -> float:
        return _COMPILING_S + longest_s(job.warm_up + job.steps, self.prepared[0].estimate.flops_per_step)

    def _check_logits(self, peer: Peer, path: Path) -> None:
        """Records how far a peer's logits are from the reference's. Raises SuiteError if its type can't explain it."""
        if peer.logits_error is None:
            return
        error = logits_difference(np.load(path), self._exact)
        self.rows[peer.name] = replace(self.rows[peer.name], logits_error=error)
        if not error <= peer.logits_error:
            raise SuiteError(
                f"it computes something else: its logits differ from the reference's by {error:.2g} of their size, but "
                f"{peer.dtype} explains only {peer.logits_error:g}: look at {peer.maker.partition(':')[0]}.py"
            )


def _joules(record: SessionRecord, found: Discovery, sensors: SensorPlan) -> float | Unavailable:
    """Returns the energy of a step, or why it is unknown."""
    if not sensors.energy_sensors:
        gap = next((gap for gap in found.unavailable if gap.quantity == POWER and gap.remedy), None)
        return Unavailable("no power sensor" if gap is None else f"{gap.reason}: {gap.remedy}")
    energy = session_energy(record, sensors.energy_sensors, sensors.wrap_range_mj, _NO_IDLE)
    return energy if isinstance(energy, Unavailable) else energy.gross_mj / 1e3


def _sentence(record: SessionRecord, ended: ProcessEnd) -> str:
    """Returns why a peer's process failed."""
    if record.footer is not None and record.footer.reason:
        return record.footer.reason
    return record.sentence.replace("the runner", "its process") + ("" if ended.rc else cause_line(ended.stderr_tail))
