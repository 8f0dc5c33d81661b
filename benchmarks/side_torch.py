"""PyTorch's side, always in both memory layouts, in strict float32."""
import numpy as np
import problems
import torch
import torch_models
from torch.nn import functional as F

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def start(threads):
    """Use so many threads and no reduced precision; returns versions. Raises AssertionError where that is refused."""
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")
    switches = [torch.backends.mkldnn, *(getattr(torch.backends.mkldnn, n, None) for n in ("conv", "matmul"))]
    for switch in switches:
        if hasattr(switch, "fp32_precision"):
            switch.fp32_precision = "ieee"
            assert switch.fp32_precision == "ieee"
    assert torch.get_float32_matmul_precision() == "highest"
    assert torch.get_num_threads() == threads
    assert torch.get_default_dtype() == torch.float32
    return {"version": torch.__version__, "numpy": np.__version__, "mkldnn": torch.backends.mkldnn.is_available()}


def to_numpy(value):
    """A tensor as an array."""
    return value.detach().numpy()


def _arrange(array, layout):
    """An array as a tensor of that layout (only 4-D ones have another than the ordinary)."""
    t = torch.from_numpy(np.ascontiguousarray(array))
    return t.contiguous(memory_format=FORMATS[layout]) if t.ndim == 4 else t


def conv(spec, layouts, passes):
    """{(layout, pass): work}: what autograd calls, without autograd."""
    work = {}
    stride, padding, groups = ([spec["stride"]] * 2, [spec["padding"]] * 2, spec["groups"])
    for layout in layouts:
        x, w, gy = (_arrange(array, layout) for array in problems.data(spec))

        def gradient(which, x=x, w=w, gy=gy):
            wanted = [which == "grad_input", which == "grad_weight", False]
            grads = torch.ops.aten.convolution_backward(
                gy, x, w, None, stride, padding, [1, 1], False, [0, 0], groups, wanted
            )
            return grads[wanted.index(True)]

        for which in passes:
            if which == "forward":
                work[layout, which] = lambda x=x, w=w: F.conv2d(x, w, None, stride, padding, 1, groups)
            else:
                work[layout, which] = lambda which=which, gradient=gradient: gradient(which)
    return work


# --- networks


def _twin(tree, weights):
    """The network of a tree with the weights of a file that side_minigrad.export wrote."""
    module = torch_models.build(tree)
    with np.load(weights) as arrays:
        module.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays.files})
    return module


def _batch(net, layout):
    rng = np.random.default_rng(0)
    images = rng.standard_normal((net["batch"], *net["image"]), dtype=np.float32)
    return _arrange(images, layout), torch.from_numpy(rng.integers(0, 10, net["batch"]))


def check(net, tree, weights):
    """{"parameters": their number, "scores": those of two images}, to be compared with minigrad's."""
    module = _twin(tree, weights).eval()
    with torch.no_grad():
        scores = module(_batch({**net, "batch": 2}, "contiguous")[0])
    return {"parameters": sum(p.numel() for p in module.parameters()), "scores": scores.numpy()}


def train(net, tree, weights, variants):
    """{layout: one training step}: forward, cross-entropy, backward, SGD with momentum."""
    work = {}
    for layout in variants:
        module = _twin(tree, weights).train().to(memory_format=FORMATS[layout])
        images, labels = _batch(net, layout)
        fused = {"fused": True} if net["fused"] else {}
        optimizer = torch.optim.SGD(module.parameters(), lr=net["lr"], momentum=0.9, **fused)

        def step(module=module, images=images, labels=labels, optimizer=optimizer):
            optimizer.zero_grad()
            loss = F.cross_entropy(module(images), labels)
            loss.backward()
            optimizer.step()
            if not np.isfinite(loss.item()):
                raise FloatingPointError(f"{net['model']}: the loss is {loss.item()}")

        work[layout] = step
    return work


def inference(net, tree, weights, variants):
    """{"layout" or "layout folded": a forward pass in evaluation mode}; folded: batch norm in the convolutions."""
    work = {}
    for variant in variants:
        layout, _, folded = variant.partition(" ")
        module = _twin(tree, weights).eval()
        module = (torch_models.fold_batch_norm(module) if folded else module).to(memory_format=FORMATS[layout])
        images, _ = _batch(net, layout)

        def run(module=module, images=images):
            with torch.inference_mode():
                return module(images)

        work[variant] = run
    return work


# --- single layers


def layer(case, layouts):
    """{(layout, part): work} for a row of layers.CASES; optimisers: "plain" and "fused" in place of a layout."""
    rng = np.random.default_rng(0)
    if case["kind"] in ("SGD", "Adam"):
        return _optimizers(case, rng)
    work = {}
    x = rng.standard_normal(case["x"], dtype=np.float32)
    for layout in layouts if x.ndim == 4 else layouts[:1]:
        work.update(_layer(case, layout, _arrange(x, layout).requires_grad_(), rng))
    return work


def _layer(case, layout, x, rng):
    if case["kind"] == "cross_entropy":
        target = torch.from_numpy(rng.integers(0, x.shape[1], x.shape[0]))
        module, parameters = lambda t: F.cross_entropy(t, target), []
    else:
        module = getattr(torch.nn, case["kind"])(**case["options"])
        parameters = list(module.parameters())
    y = module(x)
    gy = _arrange(rng.standard_normal(y.shape, dtype=np.float32), layout) if y.ndim else torch.tensor(1.0)

    def both():
        x.grad = None
        for p in parameters:
            p.grad = None
        module(x).backward(gy)

    return {(layout, "forward"): lambda: module(x), (layout, "forward+backward"): both}


def _optimizers(case, rng):
    arrays = [rng.standard_normal(shape, dtype=np.float32) for shape in case["shapes"]]
    work = {}
    for form in ("plain", "fused"):
        parameters = [torch.nn.Parameter(torch.from_numpy(a.copy())) for a in arrays]
        for p in parameters:
            p.grad = torch.from_numpy(rng.standard_normal(p.shape, dtype=np.float32))
        fused = {"fused": True} if form == "fused" else {}
        work[form, "step"] = getattr(torch.optim, case["kind"])(parameters, **case["options"], **fused).step
    return work
