"""Which dtype a result has: every rule of minigrad/ops/promotion.py, over all pairs of dtypes and numbers."""
import numpy as np
import pytest

import minigrad as mg
from minigrad.tensor import DTYPES

pytestmark = pytest.mark.usefixtures("made_there")

PAIRS = [(a, b) for a in DTYPES for b in DTYPES]


def meet(a, b):
    """The dtype of a + b, which must not depend on the order, and must be what where() gives too."""
    dtypes = {(a + b).dtype, (b + a).dtype, mg.where(True, a, b).dtype, mg.result_dtype(a, b)}
    assert len(dtypes) == 1
    return dtypes.pop()


def expected_dtype(a, b):
    """Rules 1 and 2 for two tensors."""
    if (a.kind == "f") != (b.kind == "f"):
        return a if a.kind == "f" else b
    return np.promote_types(a, b)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_rules_1_and_2_two_tensors(a, b):
    assert meet(mg.ones(2, dtype=a), mg.ones(2, dtype=b)) == expected_dtype(a, b)


@pytest.mark.host_only
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_rules_1_and_2_a_tensor_and_an_array(a, b):
    assert meet(mg.ones(2, dtype=a), np.ones(2, b)) == expected_dtype(a, b)


@pytest.mark.parametrize(("a", "b"), [(a, b) for a in DTYPES for b in DTYPES if a.kind == "f" != b.kind])
def test_rule_1_floats_beat_integers(a, b):
    assert meet(mg.ones(2, dtype=a), mg.ones(2, dtype=b)) == a


@pytest.mark.parametrize(("a", "b", "wider"), [("float32", "float64", "float64"), ("uint8", "int32", "int32"),
                                               ("uint8", "int8", "int16"), ("bool", "int8", "int8")])
def test_rule_2_the_wider_wins(a, b, wider):
    assert meet(mg.ones(2, dtype=a), mg.ones(2, dtype=b)) == wider


NUMBERS = {"bool": (True, np.bool_(True)), "int": (2, np.int64(2), np.int8(2)),
           "float": (2.5, np.float64(2.5), np.float32(2.5), np.sqrt(2))}
KINDS = {"b": 0, "u": 1, "i": 1, "f": 2}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kind", "own"), [("bool", "bool"), ("int", "int64"), ("float", "float32")])
def test_rule_3_numbers_take_the_tensors_dtype_unless_of_a_higher_kind(dtype, kind, own):
    own = np.dtype(own)
    expected = own if KINDS[own.kind] > KINDS[dtype.kind] else dtype
    for number in NUMBERS[kind]:
        assert meet(mg.ones(2, dtype=dtype), number) == expected
        assert (mg.ones(2, dtype=dtype) > number).dtype == np.bool_


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [mg.exp, mg.log, mg.sqrt, mg.tanh, mg.sigmoid, mg.relu, mg.softplus,
                                      lambda x: mg.softmax(x, 0), mg.logsumexp, lambda x: x / x, lambda x: x / 2,
                                      lambda x: 2 / x])
def test_rule_4_functions_that_leave_the_integers_give_floats(dtype, function):
    assert function(mg.ones(2, dtype=dtype)).dtype == (dtype if dtype.kind == "f" else np.float32)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_rules_1_and_2_are_pytorchs(a, b):
    torch = pytest.importorskip("torch")
    theirs = torch.result_type(torch.ones(2, dtype=getattr(torch, a.name)), torch.ones(2, dtype=getattr(torch, b.name)))
    assert str(meet(mg.ones(2, dtype=a), mg.ones(2, dtype=b))) == str(theirs).removeprefix("torch.")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("number", [True, 2, 2.5])
def test_rule_3_is_pytorchs(dtype, number):
    torch = pytest.importorskip("torch")
    theirs = torch.result_type(torch.ones(2, dtype=getattr(torch, dtype.name)), number)
    assert str(meet(mg.ones(2, dtype=dtype), number)) == str(theirs).removeprefix("torch.")


def test_0_d_tensors_count_like_any_other():
    assert meet(mg.ones(2), mg.tensor(1.0, dtype=mg.float64)) == np.float64


@pytest.mark.parametrize("use", [lambda x, v: x**v, lambda x, v: x.clip(v), lambda x, v: v * x, lambda x, v: v - x,
                                 lambda x, v: v / x, lambda x, v: v**x, lambda x, v: x // v, lambda x, v: x % v])
@pytest.mark.parametrize("value", [2.0, np.float64(2), np.float32(2)])
def test_numbers_never_widen_float32(use, value):
    assert isinstance(use(mg.ones(2), value), mg.Tensor)
    assert use(mg.ones(2), value).dtype == np.float32


def test_an_integer_that_does_not_fit_the_dtype_is_an_error():
    with pytest.raises(OverflowError, match="300"):
        mg.ones(2, dtype=mg.uint8) + 300
