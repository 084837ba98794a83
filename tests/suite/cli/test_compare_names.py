"""Workloads in a table: what they share is said once."""

from suite.cli.results.compare import shared_parts


def test_parts_that_all_workloads_share_are_said_once() -> None:
    shared, own = shared_parts(["tiny/prge/int8/q4", "tiny/prge/nf4/q4", "tiny/prge/int8/q4"])
    assert shared == "tiny/prge/q4"
    assert own == {"tiny/prge/int8/q4": "int8", "tiny/prge/nf4/q4": "nf4"}


def test_a_single_workload_and_those_of_unlike_form_stay_whole() -> None:
    assert shared_parts(["tiny/prge/int8"]) == ("", {"tiny/prge/int8": "tiny/prge/int8"})
    keys = ["tiny/prge/int8", "tiny/prge/int8/rank=2"]
    assert shared_parts(keys) == ("", {key: key for key in keys})
