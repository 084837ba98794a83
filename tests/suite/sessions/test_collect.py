import pytest

from devices.processes import ProcessEnd
from suite.sessions.collect import collect
from suite.sessions.events import DefectKind
from suite.sessions.record import Cause
from tests.support.suite import recorded_session as recorded

PART = recorded.text([recorded.header(), recorded.load(), recorded.step(0)], end=False)
NOT_LOADED = recorded.text([recorded.header()], end=False)


def failed(stage, code, reason="no luck", loaded=True):
    begun = [recorded.header(), *([recorded.load(), recorded.step(0)] if loaded else [])]
    return recorded.text([*begun, recorded.footer(cause="error", stage=stage, error_code=code, reason=reason)])


def test_a_whole_session_is_completed_with_everything_in_it():
    lines = recorded.whole(recorded.sample(7, 1.5), recorded.sample(9, 2.5))
    record = collect("s", lines, ProcessEnd(rc=0), {"VDD_IN": "power_mw"})
    assert record.cause is Cause.COMPLETED
    assert record.complete
    assert record.sentence == "completed 7 steps"
    assert [step.index for step in record.measured_steps] == [2, 3, 4, 5, 6]
    assert record.latencies_ms == (100.0,) * 5
    assert record.load_ms == 250.0
    assert record.peak_memory_kib == 120_500
    assert record.measured_window_ns == (record.steps[2].t0_ns, record.steps[6].t1_ns)
    trace = record.samples["VDD_IN"]
    assert (trace.quantity, trace.t_ns, trace.values) == ("power_mw", (7, 9), (1.5, 2.5))


def test_the_memory_after_steps_is_part_of_the_record():
    lines = [recorded.header(), recorded.load()]
    for index in range(4):
        lines += [recorded.step(index, allocations=index), recorded.memory(index, heap_used_kib=100 + index)]
    record = collect("s", recorded.text([*lines, recorded.footer()]), ProcessEnd(rc=0))
    assert record.complete
    assert [memory.heap_used_kib for memory in record.memory] == [100, 101, 102, 103]
    assert [step.allocations for step in record.steps] == [0, 1, 2, 3]


def test_an_exit_code_of_zero_without_the_end_marker_is_not_complete():
    record = collect("s", recorded.whole()[:-1], ProcessEnd(rc=0))
    assert record.cause is Cause.INCOMPLETE
    assert "no end marker" in record.sentence


def test_a_lost_line_makes_the_session_incomplete():
    lines = recorded.whole()
    record = collect("s", lines[:4] + lines[5:], ProcessEnd(rc=0))
    assert record.cause is Cause.INCOMPLETE


def test_all_lines_without_an_exit_code_are_not_enough():
    assert collect("s", recorded.whole(), ProcessEnd(rc=None)).cause is Cause.INCOMPLETE


def test_completed_with_a_bad_exit_code_is_an_error():
    record = collect("s", recorded.whole(), ProcessEnd(rc=3, stderr_tail="double free"))
    assert record.cause is Cause.ERROR
    assert "exit code 3" in record.sentence
    assert "double free" in record.sentence


@pytest.mark.parametrize("outcome", [ProcessEnd(rc=139), ProcessEnd(rc=255, signal="SIGSEGV")])
def test_a_crash_is_named_by_its_signal_however_the_transport_tells_it(outcome):
    record = collect("s", PART, outcome)
    assert record.cause is Cause.CRASHED
    assert "SIGSEGV after 1 steps" in record.sentence


def test_a_crash_reported_by_the_footer_alone_is_named():
    lines = recorded.text([recorded.header(), {"event": "footer", "cause": "signal", "reason": "signal SIGBUS"}])
    record = collect("s", lines, ProcessEnd(rc=None))
    assert record.cause is Cause.CRASHED
    assert "SIGBUS before the program was loaded" in record.sentence


def test_a_crash_is_reported_with_the_last_words_of_the_runtime():
    died = {"event": "footer", "cause": "signal", "reason": "SIGABRT: prge::update has no kernel", "steps": 1}
    lines = recorded.text([recorded.header(), recorded.load(), recorded.step(0), died], end=False)
    record = collect("s", lines, ProcessEnd(rc=134, stderr_tail="something older"))
    assert record.cause is Cause.CRASHED
    assert (
        record.sentence == "the runner crashed with SIGABRT after 1 steps; its last words: prge::update has no kernel"
    )


def test_an_illegal_instruction_says_what_it_means():
    assert "lacks an instruction" in collect("s", PART, ProcessEnd(rc=132)).sentence


def test_sigkill_points_at_memory_with_a_number():
    record = collect("s", PART, ProcessEnd(rc=137))
    assert record.cause is Cause.KILLED
    assert "SIGKILL" in record.sentence
    assert "90000 KiB after load" in record.sentence


def test_a_runner_that_stops_when_asked_is_interrupted():
    lines = recorded.text([recorded.header(), recorded.load(), recorded.step(0), recorded.footer(cause="signal")])
    assert collect("s", lines, ProcessEnd(rc=143)).cause is Cause.INTERRUPTED


def test_sigterm_without_a_footer_is_a_kill():
    assert collect("s", PART, ProcessEnd(rc=143)).cause is Cause.KILLED


@pytest.mark.parametrize(
    ("code", "name"),
    [("0x23", "0x23 InvalidProgram"), ("0x22", "0x22 AccessFailed"), ("0x24", "0x24 InvalidExternalData")],
)
def test_a_program_that_does_not_load_is_a_load_error_with_its_name(code, name):
    record = collect("s", failed("load", code, loaded=False), ProcessEnd(rc=1))
    assert record.cause is Cause.LOAD_ERROR
    assert name in record.sentence


@pytest.mark.parametrize("code", ["0x14", "0x20", "0x30", "0x10"])
def test_a_program_the_device_cannot_execute_is_unsupported(code):
    record = collect("s", failed("load", code, "prge::update.out", loaded=False), ProcessEnd(rc=1))
    assert record.cause is Cause.UNSUPPORTED
    assert "prge::update.out" in record.sentence


def test_hardware_that_xnnpack_refuses_is_unsupported_though_the_code_says_internal():
    outcome = ProcessEnd(rc=1, stderr_tail="XNN Runtime creation failed with code: xnn_status_unsupported_hardware\n")
    assert collect("s", failed("load", "0x01", loaded=False), outcome).cause is Cause.UNSUPPORTED
    assert collect("s", failed("load", "0x01", loaded=False), ProcessEnd(rc=1)).cause is Cause.LOAD_ERROR


def test_memory_that_runs_out_says_how_much_was_in_use():
    record = collect("s", failed("load", "0x21", loaded=False), ProcessEnd(rc=1))
    assert record.cause is Cause.LOAD_ERROR
    assert "memory ran out (peak 120000 KiB)" in record.sentence


def test_an_error_while_executing_names_stage_and_step():
    record = collect("s", failed("execute", "0x12"), ProcessEnd(rc=1))
    assert record.cause is Cause.ERROR
    assert record.sentence.startswith("the execute stage failed with 0x12 InvalidArgument after 1 steps")


def test_a_runner_that_never_started_tells_its_last_words():
    record = collect("s", [], ProcessEnd(rc=127, stderr_tail="runner: not found\n"))
    assert record.cause is Cause.ERROR
    assert "exit code 127 before the program was loaded" in record.sentence
    assert "runner: not found" in record.sentence


def test_a_lost_device_is_lost_whatever_else_was_seen():
    record = collect("s", PART, ProcessEnd(rc=137, lost="no answer for 30 s"))
    assert record.cause is Cause.LOST
    assert record.sentence == "the device was lost after 1 steps: no answer for 30 s"


def test_a_session_the_suite_ended_itself_is_interrupted():
    record = collect("s", PART, ProcessEnd(rc=137, stopped="the deadline of 60 s passed"))
    assert record.cause is Cause.INTERRUPTED
    assert "the deadline of 60 s passed" in record.sentence


def test_output_of_another_session_is_not_taken_for_this_one():
    record = collect("mine", recorded.whole(session="theirs"), ProcessEnd(rc=0))
    assert record.cause is Cause.INCOMPLETE
    assert "theirs" in record.sentence


def test_samples_of_a_sensor_the_job_does_not_name_are_left_out_and_noted():
    record = collect("s", recorded.whole(recorded.sample(1, 1.0, "other")), ProcessEnd(rc=0), {"VDD_IN": "power_mw"})
    assert record.complete
    assert record.samples == {}
    assert [defect.kind for defect in record.defects] == [DefectKind.UNKNOWN_SENSOR]


def test_sensor_errors_are_kept_with_their_count():
    broken = {"event": "sensor_error", "sensor": "VDD_IN", "errors": 3, "reason": "No such file"}
    assert recorded.record(broken).sensor_errors == {"VDD_IN": "No such file (3 times)"}


def test_the_program_fails_before_the_header_without_harm():
    lines = recorded.text([recorded.footer(cause="error", stage="job", reason="unknown key 'stepz'")])
    record = collect("s", lines, ProcessEnd(rc=2))
    assert record.cause is Cause.ERROR
    assert "unknown key 'stepz'" in record.sentence
