"""The modes no_grad, enable_grad and set_grad_enabled, in every way PyTorch allows to use them."""
import pytest

import minigrad as mg


@pytest.fixture(autouse=True)
def recording_is_on_before_and_after():
    assert mg.is_grad_enabled()
    yield
    mg.set_grad_enabled(True)


def test_set_grad_enabled_takes_effect_as_a_statement():
    mg.set_grad_enabled(False)
    assert not mg.is_grad_enabled()
    mg.set_grad_enabled(True)
    assert mg.is_grad_enabled()


@pytest.mark.parametrize("mode", [True, False])
def test_set_grad_enabled_ends_with_its_block(mode):
    with mg.no_grad():
        with mg.set_grad_enabled(mode):
            assert mg.is_grad_enabled() == mode
        assert not mg.is_grad_enabled()
    assert mg.is_grad_enabled()


def test_set_grad_enabled_as_a_decorator_holds_inside_only():
    @mg.set_grad_enabled(False)
    def inside():
        return mg.is_grad_enabled()

    assert mg.is_grad_enabled() and not inside() and not inside() and mg.is_grad_enabled()


@pytest.mark.parametrize("decorator", [mg.no_grad, mg.no_grad()])
def test_no_grad_decorates_with_and_without_parentheses(decorator):
    @decorator
    def inside():
        return mg.is_grad_enabled()

    assert not inside() and mg.is_grad_enabled()


def test_one_object_can_be_used_again_and_within_itself():
    off = mg.no_grad()
    for _ in range(2):
        with off:
            with off:
                assert not mg.is_grad_enabled()
            assert not mg.is_grad_enabled()
        assert mg.is_grad_enabled()


def test_a_decorated_generator_runs_in_the_mode_and_its_caller_does_not():
    @mg.no_grad()
    def steps():
        for _ in range(2):
            yield mg.is_grad_enabled()
        return "end"

    generator, seen = steps(), []
    while True:
        try:
            seen.append((next(generator), mg.is_grad_enabled()))
        except StopIteration as end:
            assert end.value == "end"
            break
    assert seen == [(False, True), (False, True)]
