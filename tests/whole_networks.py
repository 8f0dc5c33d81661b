"""Checks of whole networks and blocks: gradients end to end, sizes of maps, and the same network written in PyTorch."""
import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

TOLERANCE = {"float32": 1e-4, "float64": 1e-10}  # relative to the largest element


def stir(net, seed=0):
    """Give batch norm weights, offsets and statistics that no mistake hides behind; returns the network."""
    rng = np.random.default_rng(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for t in (module.weight, module.running_var):
                t.detach().copy_(rng.uniform(0.5, 1.5, t.shape))
            for t in (module.bias, module.running_mean):
                t.detach().copy_(rng.normal(0.0, 0.3, t.shape))
    return net


def check_gradients(net, shape, seed=0):
    """Finite differences in float64 with respect to an input of this shape and every parameter."""
    stir(net, seed).double()
    places = [(module, key) for module in net.modules() for key, p in module._parameters.items() if p is not None]
    parameters = [module._parameters[key] for module, key in places]
    x = mg.Tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)

    def run(x, *values):
        for (module, key), value in zip(places, values, strict=True):
            module._parameters[key] = value
        return net(x)

    assert mg.gradcheck(run, (x, *parameters), atol=1e-6, fast_mode=True)


def map_shapes(net, names, input_shape):
    """{name: C x H x W} that these submodules put out for one image, found with none."""
    shapes = {}
    for name, module in net.named_modules():
        if name in names:
            module.register_forward_hook(lambda _, __, y, name=name: shapes.update({name: y.shape[1:]}))
    with mg.no_grad():
        net.eval()(mg.zeros(0, *input_shape))
    return shapes


class TorchWeights:
    """A copy of a network's parameters and buffers in PyTorch, and layers that take them by name."""

    def __init__(self, net):
        self.torch = pytest.importorskip("torch")
        self.state = {name: self.torch.tensor(t.numpy().copy()) for name, t in net.state_dict().items()}
        self.parameters = {name: self.state[name].requires_grad_() for name, _ in net.named_parameters()}
        self.training = net.training
        self.F = self.torch.nn.functional

    def conv(self, name, x, stride=1, padding=0, dilation=1):
        """A convolution."""
        return self.F.conv2d(
            x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"), stride, padding, dilation
        )

    def norm(self, name, x, eps=1e-5):
        """Batch norm."""
        mean, variance, weight, bias = (
            self.state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        )
        return self.F.batch_norm(x, mean, variance, weight, bias, self.training, 0.1, eps)

    def prelu(self, name, x):
        """PReLU."""
        return self.F.prelu(x, self.state[f"{name}.weight"])

    def linear(self, name, x):
        """A linear layer."""
        return self.F.linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"])


def compare_with_torch(net, theirs, shape, dtype, training, seed=0):
    """Outputs, gradients of the input and of every parameter, and running statistics, of net and theirs(weights, x)."""
    stir(net, seed).to(dtype).train(training)
    weights, rng = TorchWeights(net), np.random.default_rng(seed)
    values = rng.standard_normal(shape).astype(dtype)
    x, tx = mg.Tensor(values.copy(), requires_grad=True), weights.torch.tensor(values, requires_grad=True)
    y, ty = net(x), theirs(weights, tx)
    gy = rng.standard_normal(y.shape).astype(dtype)
    y.backward(mg.Tensor(gy.copy()))
    ty.backward(weights.torch.tensor(gy))
    largest = max(float(p.grad.abs().max()) for p in weights.parameters.values())
    lost = {f"{n}.bias" for n, m in net.named_modules() if isinstance(m, nn.Conv2d)} if training else set()

    def close(a, b, what, scale):
        a, b = a.detach().numpy(), b.detach().numpy()
        assert a.shape == b.shape, what
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[dtype] * scale, err_msg=what)

    close(y, ty, "output", float(ty.detach().abs().max()))
    close(x.grad, tx.grad, "input gradient", float(tx.grad.abs().max()))
    for name, p in net.named_parameters():
        # a bias that batch norm takes away again has gradient 0 but for rounding, and so has, but for batch norm's eps,
        # the only weight of a feature map
        expected = weights.parameters[name].grad
        close(p.grad, expected, name, largest if name in lost else max(float(expected.abs().max()), 0.01 * largest))
    for name, b in net.named_buffers():
        if "num_batches" not in name:
            close(b, weights.state[name], name, float(weights.state[name].abs().max()))
