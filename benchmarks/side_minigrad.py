"""minigrad's side."""
import device
import numpy as np
import problems

import minigrad as mg
from minigrad import models, nn, optim
from minigrad.device import to_device
from minigrad.kernels import conv as conv_table
from minigrad.nn import functional as F

place, clock = device.CPU, None  # a Device, and the clock of a GPU


def start(threads, where=device.CPU):
    """Use so many threads, and a Device; returns versions."""
    global place, clock
    place = where
    if hasattr(mg, "set_num_threads"):
        mg.set_num_threads(threads)
    told = {"version": mg.__version__, "numpy": np.__version__}
    if place.name != "cuda":
        return told
    if hasattr(mg, "set_float32_precision"):
        mg.set_float32_precision(place.precision)
    clock = device.cupy_clock()
    return {**told, **device.describe_gpu()}


def to_numpy(value):
    """An array or Tensor, on any device, as an array."""
    return value.cpu().numpy() if isinstance(value, mg.Tensor) else to_device(value, "cpu")


def there(array):
    """The array on the device, its layout kept."""
    return to_device(array, place.name)


# --- convolutions: the kernels of the table, called as the operation calls them


def _rows(spec, names, which):
    """{algorithm: (module, ConvParams)} of those that support this convolution; which: the pass."""
    p = conv_table.conv_params(spec["x"], spec["w"], spec["stride"], spec["padding"], 1, spec["groups"])
    rows = {}
    for name in names:
        try:
            rows[name] = conv_table.lookup(name, place.name, spec["x"], spec["w"], p, which), p
        except ValueError:
            if name not in algorithms():
                raise
    return rows


def algorithms():
    """The rows of the table that run on the device, and "auto"."""
    return ["auto", *conv_table.algorithms(place.name)]


def chosen(spec):
    """The algorithm that "auto" is, for this convolution, or those of the three passes where they differ."""
    rows = [_rows(spec, ["auto"], which)["auto"][0] for which in ("forward", "grad_input", "grad_weight")]
    return " ".join(dict.fromkeys(row.__name__.rpartition(".")[2] for row in rows))


def conv(spec, names, passes):
    """{(algorithm, pass): work}. x and gy are channels-last, as inside a network; w is contiguous, as in a layer."""
    x, w, gy = problems.data(spec)
    x, gy, w = there(problems.channels_last(x)), there(problems.channels_last(gy)), there(w)
    work = {}
    for which in passes:
        for name, (row, p) in _rows(spec, names, which).items():
            calls = {
                "forward": lambda row=row, p=p: row.forward(x, w, p),
                "grad_input": lambda row=row, p=p: row.grad_input(gy, w, p, x.shape),
                "grad_weight": lambda row=row, p=p: row.grad_weight(x, gy, p, w.shape),
            }
            work[name, which] = calls[which]
    return work


# --- networks


def network(name, options):
    """The network, with the weights of seed 0, on the device."""
    mg.manual_seed(0)
    return models.create(name, **options).to(place.name)


def _batch(net):
    """Images and labels of a row of networks.NETS or like it."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((net["batch"], *net["image"]), dtype=np.float32)
    labels = rng.integers(0, 10, net["batch"])
    return mg.tensor(images, device=place.name), mg.tensor(labels, device=place.name)


def export(net, path):
    """Write the weights to path (.npz); {"tree", "parameters", "scores"}: what a twin is made of and compared with."""
    module = network(net["model"], net["options"]).eval()
    np.savez(path, **{name: to_numpy(value) for name, value in module.state_dict().items()})
    count = sum(p.numel() for p in module.parameters())
    with mg.no_grad():
        scores = module(_batch({**net, "batch": 2})[0])
    return {"tree": tree(module), "parameters": count, "scores": to_numpy(scores)}


ATTRIBUTES = {
    "Conv2d": ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias"),
    "Linear": ("in_features", "out_features", "bias"),
    "BatchNorm2d": ("num_features", "eps", "momentum"),
    "MaxPool2d": ("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    "AvgPool2d": ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
    "AdaptiveAvgPool2d": ("output_size",),
    "LocalResponseNorm": ("size", "alpha", "beta", "k"),
    "Dropout": ("p",),
    "GoogLeNet": ("order",),
    "FastNet": ("scale",),
}


def tree(module):
    """A module as (kind, {option: value}, {name: tree of a submodule}): data that any framework can build from."""
    kind = type(module).__name__
    options = {name: getattr(module, name) for name in ATTRIBUTES.get(kind, ())}
    if "bias" in options:
        options["bias"] = options["bias"] is not None
    return kind, options, {name: tree(child) for name, child in module._modules.items() if child is not None}


def train(net, tree=None, weights=None, variants=()):
    """{"minigrad": one training step}: forward, cross-entropy, backward, SGD with momentum; on a GPU "graph", too."""
    module = network(net["model"], net["options"]).train()
    images, labels = _batch(net)
    optimizer = optim.SGD(module.parameters(), lr=net["lr"], momentum=0.9)

    def step():
        optimizer.zero_grad()
        loss = F.cross_entropy(module(images), labels)
        loss.backward()
        optimizer.step()
        if place.name != "cuda" and not np.isfinite(loss.item()):  # which the clock of a GPU looks at afterwards
            raise FloatingPointError(f"{net['model']}: the loss is {loss.item()}")
        return loss

    graph = getattr(mg.cuda, "graph", None) if place.name == "cuda" else None
    return {"minigrad": step, **({"graph": graph(step)} if graph else {})}


def inference(net, tree=None, weights=None, variants=()):
    """{"plain": a forward pass in evaluation mode, "fused": the same after nn.fuse}."""
    module = network(net["model"], net["options"]).eval()
    images, _ = _batch(net)
    wanted = variants or ("plain", "fused")
    forms = {"plain": module} if "plain" in wanted else {}
    if "fused" in wanted:
        forms["fused"] = nn.fuse(module, net["image"])
    del module  # its memory is not to count where only the fused one runs

    def run(form):
        with mg.no_grad():
            return form(images)

    return {name: lambda form=form: run(form) for name, form in forms.items()}


# --- single layers


def layer(case, variants=()):
    """{("minigrad", part): work} for a row of layers.CASES."""
    rng = np.random.default_rng(0)
    mg.manual_seed(0)
    if case["kind"] in ("SGD", "Adam"):
        parameters = [nn.Parameter(there(rng.standard_normal(s, dtype=np.float32))) for s in case["shapes"]]
        for p in parameters:
            p.grad = mg.Tensor(there(rng.standard_normal(p.shape, dtype=np.float32)))
        return {("minigrad", "step"): getattr(optim, case["kind"])(parameters, **case["options"]).step}
    x = rng.standard_normal(case["x"], dtype=np.float32)
    x = mg.Tensor(there(problems.channels_last(x) if x.ndim == 4 else x))
    x.requires_grad = True
    if case["kind"] == "cross_entropy":
        target = mg.Tensor(there(rng.integers(0, case["x"][1], case["x"][0])))
        module, parameters = lambda t: F.cross_entropy(t, target), []
    else:
        module = getattr(nn, case["kind"])(**case["options"]).to(place.name)
        parameters = list(module.parameters())
    shape = module(x).shape
    gy = rng.standard_normal(shape, dtype=np.float32) if shape else np.float32(1)
    gy = mg.Tensor(there(problems.channels_last(gy) if len(shape) == 4 else np.asarray(gy)))

    def both():
        x.grad = None
        for p in parameters:
            p.grad = None
        module(x).backward(gy)

    return {("minigrad", "forward"): lambda: module(x), ("minigrad", "forward+backward"): both}
