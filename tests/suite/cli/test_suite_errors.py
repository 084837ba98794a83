import pytest

from foundation.errors import UserError, unknown_name
from suite.errors import StoreError


def test_unknown_name_offers_the_nearest_ones():
    error = unknown_name("quantization setting", "fp23", ["fp32", "int8", "nf4"], beginning="there is no")
    assert isinstance(error, UserError)
    assert str(error) == "there is no quantization setting 'fp23': did you mean fp32?"


def test_unknown_name_without_a_near_one_lists_what_there_is():
    assert str(unknown_name("device", "zzz", ["pi", "jetson"])).endswith("choose one of jetson, pi.")


@pytest.mark.parametrize(("kind", "code"), [(UserError, 2), (StoreError, 1)])
def test_each_error_says_its_exit_code(kind, code):
    assert kind.exit_code == code
