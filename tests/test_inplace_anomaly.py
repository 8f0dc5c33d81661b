"""Changes in place: what is noticed, refused and differentiated rightly; and anomaly mode, which hunts NaN down."""
import linecache
import re
import warnings

import numpy as np
import pytest

import minigrad as mg
from minigrad.autograd import Function

pytestmark = pytest.mark.usefixtures("made_there")


def leaf(*values):
    return mg.tensor(list(values), dtype=mg.float64, requires_grad=True)


# --- the version counter

CHANGES = {
    "itself": lambda x: x.add_(1.0),
    "a slice": lambda x: x[:1].mul_(2.0),
    "a reshaped view": lambda x: x.reshape(2, 1).zero_(),
    "a transposed view": lambda x: x.reshape(2, 1).T.fill_(3.0),
    "detach": lambda x: x.detach().sub_(1.0),
    "detach of a view": lambda x: x[1:].detach().div_(2.0),
    "setitem": lambda x: x.__setitem__(0, 5.0),
    "setitem by mask": lambda x: x.__setitem__(x > 1, 5.0),
    "copy_": lambda x: x.copy_(mg.ones(2)),
    "iadd": lambda x: x.__iadd__(1.0),
    "an optimiser": lambda x: (x._data.__isub__(0.1), x.mark_modified()),
    "new data": lambda x: setattr(x, "data", np.ones(2)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_backward_notices_every_change_of_a_saved_input(change):
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = (w * x).sum()
    with mg.no_grad():
        CHANGES[change](x)
    with pytest.raises(RuntimeError, match=r"^Mul: input 1, which backward needs \(shape \(2,\)\), was modified"):
        y.backward()


def test_the_error_names_the_versions_and_a_saved_output():
    x = leaf(1.0, 2.0)
    y = x.exp()
    z = y.sum()
    y += 1.0
    y += 1.0
    with pytest.raises(RuntimeError, match=r"Exp: its output.*is at version 2, saved at version 0"):
        z.backward()


def test_a_change_after_the_last_use_is_no_error():
    x = leaf(1.0, 2.0)
    y = x * 3.0  # saves nothing of x
    with mg.no_grad():
        x.add_(1.0)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [3, 3])


def test_copies_have_versions_of_their_own():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = (w * x).sum()
    with mg.no_grad():
        x.clone().zero_()
        x[mg.tensor([0, 1])].zero_()
        mg.tensor(x.detach()).zero_()
    y.backward()


def test_a_tensor_made_of_a_tensor_shares_memory_and_version():
    c, w = mg.tensor([1.0, 2.0]), mg.ones(2, requires_grad=True)
    y = (w * c).sum()
    mg.Tensor(c).zero_()
    assert c.tolist() == [0.0, 0.0]
    with pytest.raises(RuntimeError, match="modified in place"):
        y.backward()


@pytest.mark.parametrize("kind", ["mask", "positions", "condition"])
def test_changing_an_index_or_a_condition_later_does_not_change_the_gradient(kind):
    x = leaf(1.0, 2.0, 3.0)
    mask, positions = mg.tensor([True, False, True]), mg.tensor([0, 2])
    if kind == "mask":
        y = x[mask].sum()
        mask.fill_(False)
    elif kind == "positions":
        y = x[positions].sum()
        positions.zero_()
    else:
        y = mg.where(mask, x, 0.0).sum()
        mask.fill_(False)
        with pytest.raises(RuntimeError, match=r"Where: input 0.*modified in place"):
            y.backward()
        return
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1, 0, 1])


# --- what is refused


@pytest.mark.parametrize("change", ["itself", "setitem", "setitem by mask", "copy_", "iadd"])
def test_a_leaf_that_requires_gradients_cannot_be_changed(change):
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"leaf.*no_grad"):
        CHANGES[change](x)
    assert x.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("view", [lambda x: x[0], lambda x: x.reshape(2, 1), lambda x: x.T, lambda x: x.expand(3, 2)])
def test_a_view_in_the_graph_cannot_be_changed(view):
    v = view(leaf(1.0, 2.0) * 2)
    with pytest.raises(RuntimeError, match=r"is a view.*\.clone\(\)"):
        v.add_(1.0)


def test_a_view_of_a_constant_cannot_take_a_value_with_a_gradient():
    c, w = mg.zeros(2, 2, dtype=mg.float64), leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="view"):
        c[0].add_(w)
    with pytest.raises(RuntimeError, match="view"):
        c[0].copy_(w)
    c[0] = w  # this is how to do it
    c.sum().backward()
    np.testing.assert_array_equal(w.grad.numpy(), [1, 1])


def test_an_alias_from_before_a_change_is_stale():
    y = leaf(1.0, 2.0) * 2
    alias = y[0]
    y.mul_(3.0)
    with pytest.raises(RuntimeError, match=r"Exp: an input, a result of Index, was changed in place"):
        alias.exp()


def test_a_constant_alias_of_memory_that_joined_the_graph_is_stale_but_a_detached_one_is_constant():
    c, w = mg.zeros(2, dtype=mg.float64), leaf(1.0, 2.0)
    alias, constant = c[0], c.detach()
    c += w
    with pytest.raises(RuntimeError, match="Mul: an input, a leaf, was changed in place"):
        alias * w
    (constant * w).sum().backward()
    np.testing.assert_array_equal(w.grad.numpy(), [1, 2])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x: x.add_(mg.ones(3, 2)), ValueError, r"shape \(2,\) cannot hold a result of shape \(3, 2\)"),
        (lambda x: x.long().add_(0.5), TypeError, "int64 cannot hold a result of float32"),
        (lambda x: x.copy_(mg.ones(3)), ValueError, r"\(3,\) does not broadcast to \(2,\)"),
        (lambda x: x.__setitem__(0, mg.ones(2)), ValueError, r"\(2,\) does not broadcast to \(\)"),
        (lambda x: x.__setitem__(7, 0.0), IndexError, "7"),
    ],
)
def test_results_that_do_not_fit_are_refused(change, error, message):
    x = mg.zeros(2)
    with pytest.raises(error, match=message):
        change(x)
    assert x.tolist() == [0.0, 0.0]


def test_integers_stay_integers_in_place():
    x = mg.tensor([1, 2])
    with pytest.raises(TypeError, match="int64 cannot hold a result of float32"):
        x += 0.5
    x += 2
    assert x.tolist() == [3, 4]


def test_an_index_that_repeats_elements_cannot_be_assigned_with_a_gradient():
    y = leaf(1.0, 2.0) * 1
    with pytest.raises(ValueError, match="names an element twice"):
        y[[0, 0]] = 5.0


# --- gradients through changes in place


def changed_in_place(x, w):
    y = x * 2.0
    y += w
    y *= 3.0
    y -= w * x
    y[1:] = w[:-1] * 5.0
    y[mg.tensor([True, False, False])] = x[2] * w[0]
    y.div_(7.0)
    return y * x


def changed_out_of_place(x, w):
    y = ((x * 2.0 + w) * 3.0 - w * x)[:1] * 0.0
    y = mg.concatenate([y + x[2] * w[0], w[:-1] * 5.0]) / 7.0
    return y * x


def test_gradients_through_changes_in_place_are_those_of_the_same_computation_without():
    inputs = leaf(0.3, -0.7, 1.1), leaf(2.0, 0.4, -1.3)
    a, b = changed_in_place(*inputs), changed_out_of_place(*inputs)
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy())
    for ga, gb in zip(mg.grad(a.sum(), inputs), mg.grad(b.sum(), inputs), strict=True):
        np.testing.assert_allclose(ga.numpy(), gb.numpy())
    assert mg.gradcheck(changed_in_place, inputs)
    assert mg.gradgradcheck(changed_in_place, inputs)


def test_copy_replaces_the_gradient_path():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = x * 2.0
    y.copy_(w)
    gx, gw = mg.grad(y.sum(), [x, w])
    np.testing.assert_array_equal(gx.numpy(), [0, 0])
    np.testing.assert_array_equal(gw.numpy(), [1, 1])


@pytest.mark.parametrize("change", [lambda y: y.copy_(mg.ones(2)), lambda y: y.zero_(), lambda y: y.fill_(3.0)])
def test_overwriting_with_constants_stops_the_gradient(change):
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = x * 2.0
    change(y)
    gx, gw = mg.grad((y * w).sum(), [x, w])
    np.testing.assert_array_equal(gx.numpy(), [0, 0])
    np.testing.assert_array_equal(gw.numpy(), y.detach().numpy())


def test_a_constant_joins_the_graph_when_it_takes_a_value_with_a_gradient():
    c, w = mg.zeros(3, dtype=mg.float64), leaf(2.0)
    c[1:2] = w * w
    assert c.requires_grad and not c.is_leaf
    c.sum().backward()
    assert w.grad.item() == 4.0


def test_an_in_place_operator_returns_the_same_object():
    x = mg.ones(2)
    y = x
    y += 1.0
    y /= 4.0
    assert y is x
    assert x.tolist() == [0.5, 0.5]


def test_leading_ones_of_an_assigned_value_are_dropped():
    x = mg.zeros(2, 3)
    x[0] = mg.ones(1, 1, 3)
    assert x.tolist() == [[1, 1, 1], [0, 0, 0]]


# --- anomaly mode


def here(offset=0):
    """A pattern for the caller's line, `offset` lines further down: file, number and code."""
    import inspect

    frame = inspect.currentframe().f_back
    file, number = frame.f_code.co_filename, frame.f_lineno + offset
    return re.escape(f"{file}:{number}: {linecache.getline(file, number).strip()}")


def test_anomaly_mode_names_the_function_and_line_of_the_first_nan_forward():
    x = leaf(1.0, -1.0)
    message = f"^Log produced NaN or infinity, called at {here(2)}"
    with mg.detect_anomaly(), pytest.raises(FloatingPointError, match=message):
        (x.log() + 1).exp().sum()


def test_anomaly_mode_sees_operations_that_are_not_recorded():
    with mg.detect_anomaly(), mg.no_grad(), pytest.raises(FloatingPointError, match=r"^Div produced NaN or infinity"):
        mg.ones(1) / mg.zeros(1)


def test_anomaly_mode_says_when_the_infinity_came_in():
    x = leaf(np.inf)
    with mg.detect_anomaly(), pytest.raises(FloatingPointError, match=r"Mul produced.*an input had one already"):
        x * 2.0


def test_anomaly_mode_names_the_line_of_user_code_not_of_a_composed_function():
    x = leaf(np.inf, 1.0)
    with mg.detect_anomaly():
        line = here(2)
        with pytest.raises(FloatingPointError, match=line):
            mg.softmax(x, -1)


def test_anomaly_mode_names_the_line_that_calls_a_function_object_directly():
    x = leaf(-1.0)
    with mg.detect_anomaly():
        message = here(2)
        with pytest.raises(FloatingPointError, match=message):
            Function.registry["Log"]()(x)


def test_anomaly_mode_names_the_line_whose_gradient_is_infinite():
    x = leaf(0.0, 4.0)
    with mg.detect_anomaly():
        a, line = x.sqrt(), here()
        b = a * 1.0
        with pytest.raises(FloatingPointError, match=f"^backward of Sqrt gave NaN or infinity, input 0.*at {line}"):
            b.sum().backward()


def test_anomaly_mode_reports_the_first_bad_gradient_only():
    x = leaf(0.0)
    with mg.detect_anomaly():
        y = (x * 1.0).sqrt() * 1.0
        with pytest.raises(FloatingPointError, match="Sqrt"):
            y.backward()


def test_anomaly_mode_around_backward_alone_still_names_the_function():
    y = leaf(0.0).sqrt()
    with mg.detect_anomaly(), pytest.raises(FloatingPointError, match=r"Sqrt.*run forward under detect_anomaly"):
        y.backward()


def test_a_version_error_names_the_line_under_anomaly_mode():
    x = leaf(1.0)
    with mg.detect_anomaly():
        y, line = x.exp(), here()
    z = y.sum()
    y += 1.0
    with pytest.raises(RuntimeError, match=rf"Exp \(called at {line}\): its output"):
        z.backward()


def test_anomaly_mode_passes_healthy_code_and_is_off_outside():
    with mg.detect_anomaly():
        x = leaf(1.0)
        (x.log() + x * 2).sum().backward()
        assert x.grad.item() == 3.0
    assert np.isnan(leaf(-1.0).log().item())


def test_no_numpy_warning_leaks():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = leaf(0.0, -1.0, 1000.0)
        y = x.log().sum() + x.sqrt().sum() + (1.0 / x).sum() + x.exp().sum() + (x**-3).sum() + (x.exp() * 0.0).sum()
        y.backward(retain_graph=True)
        x.grad.fill_(np.inf)
        (x * -np.inf).sum().backward()
        (mg.tensor([1, 0]) % mg.tensor([0, 0]), mg.tensor([1, 0]) // 0, mg.tensor([1.0, 0.0]) // 0.0)
        mg.tensor([np.nan, 1e300]).to(mg.int64)
        mg.tensor([1e300]), mg.ones(1) * 1e300, mg.tensor(np.array([1e300]), dtype=mg.float32)
        mg.tensor([np.nan]) > 0.0, mg.zeros(0).mean(), mg.zeros(0).var()
