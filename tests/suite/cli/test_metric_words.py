"""Values of metrics as commands print them."""

import pytest

from reports.model.quantities import METRICS
from suite.cli.output import format_span, format_value


@pytest.mark.parametrize(
    ("metric", "stored", "words"),
    [
        ("latency_ms", 1234.5, "1.23 s"),
        ("program_bytes", 661_529_000.0, "631 MiB"),
        ("peak_memory_kib", 102_172.0, "99.8 MiB"),
        ("energy_net_mj_per_step", -2.5, "-2.50 mJ"),
        ("power_mw", 6300.0, "6.30 W"),
    ],
)
def test_value_of_a_metric_is_printed_in_a_unit_that_fits(metric: str, stored: float, words: str) -> None:
    assert format_value(metric, stored) == words


def test_printed_values_can_be_typed() -> None:
    for metric in METRICS:
        for stored in (-12_345.6, 0.0, 12.3, 9.9e9):
            assert format_value(metric.name, stored).isascii()
            assert format_span(metric.name, stored, stored + 1, like=stored).isascii()


def test_interval_has_the_unit_and_the_places_of_its_value() -> None:
    assert format_span("latency_ms", 1214.0, 1267.0, like=1234.5) == "1.21-1.27 s"
