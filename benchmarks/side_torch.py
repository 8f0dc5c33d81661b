"""PyTorch's side, always in both memory layouts; in strict float32, or on a GPU in TF32, where that is asked for."""
import device
import numpy as np
import problems
import torch
import torch_models
from torch.nn import functional as F

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
place, clock = device.CPU, None  # a Device, and the clock of a GPU
WARM = 3  # steps before one is captured


def start(threads, where=device.CPU):
    """Use so many threads, a Device and its precision; returns versions. AssertionError where that is refused."""
    global place
    place = where
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
    told = {"version": torch.__version__, "numpy": np.__version__, "mkldnn": torch.backends.mkldnn.is_available()}
    return {**told, **_start_gpu()} if place.name == "cuda" else told


def _start_gpu():
    """Let cuDNN try its algorithms, in the precision that is asked for."""
    global clock
    if not torch.cuda.is_available():
        raise RuntimeError(f"PyTorch {torch.__version__} finds no GPU; it has to be a build with CUDA")
    choose_precision(place.precision)
    torch.backends.cudnn.benchmark = True
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    memory = torch.empty(2 * cache, dtype=torch.uint8, device="cuda")
    clock = device.GpuClock(lambda: torch.cuda.Event(enable_timing=True), lambda a, b: a.elapsed_time(b), memory.zero_)
    return {"gpu": torch.cuda.get_device_name(0), "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}


def choose_precision(precision):
    """How cuBLAS and cuDNN multiply float32: "strict" or "tf32"."""
    for switch in (torch.backends.cuda.matmul, torch.backends.cudnn.conv):
        switch.fp32_precision = "tf32" if precision == "tf32" else "ieee"


def to_numpy(value):
    """A tensor as an array."""
    return value.detach().cpu().numpy()


def _arrange(array, layout):
    """An array as a tensor of that layout (only 4-D ones have another than the ordinary)."""
    t = torch.from_numpy(np.ascontiguousarray(array)).to(place.name)
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
    return module.to(place.name)


def _batch(net, layout):
    rng = np.random.default_rng(0)
    images = rng.standard_normal((net["batch"], *net["image"]), dtype=np.float32)
    return _arrange(images, layout), torch.from_numpy(rng.integers(0, 10, net["batch"])).to(place.name)


def check(net, tree, weights):
    """{"parameters": their number, "scores": those of two images}, to be compared with minigrad's."""
    module = _twin(tree, weights).eval()
    with torch.no_grad():
        scores = module(_batch({**net, "batch": 2}, "contiguous")[0])
    return {"parameters": sum(p.numel() for p in module.parameters()), "scores": to_numpy(scores)}


def train(net, tree, weights, variants):
    """{layout: one training step}: forward, cross-entropy, backward, SGD with momentum. "LAYOUT graph": captured."""
    work = {}
    for variant in variants:
        layout, _, captured = variant.partition(" ")
        module = _twin(tree, weights).train().to(memory_format=FORMATS[layout])
        images, labels = _batch(net, layout)
        fused = {"fused": True} if net["fused"] else {}
        optimizer = torch.optim.SGD(module.parameters(), lr=net["lr"], momentum=0.9, **fused)

        def step(module=module, images=images, labels=labels, optimizer=optimizer):
            optimizer.zero_grad()
            loss = F.cross_entropy(module(images), labels)
            loss.backward()
            optimizer.step()
            if place.name != "cuda" and not np.isfinite(loss.item()):  # which the clock of a GPU looks at afterwards
                raise FloatingPointError(f"{net['model']}: the loss is {loss.item()}")
            return loss

        work[variant] = _captured(step) if captured else step
    return work


def _captured(step):
    """The step as a CUDA graph, as PyTorch's documentation captures one: warmed up on a stream of its own."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step()

    def replay():
        graph.replay()
        return loss

    return replay


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
        target = torch.from_numpy(rng.integers(0, x.shape[1], x.shape[0])).to(place.name)
        module, parameters = lambda t: F.cross_entropy(t, target), []
    else:
        module = getattr(torch.nn, case["kind"])(**case["options"]).to(place.name)
        parameters = list(module.parameters())
    y = module(x)
    gy = _arrange(rng.standard_normal(y.shape, dtype=np.float32), layout) if y.ndim else torch.ones_like(y)

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
        parameters = [torch.nn.Parameter(torch.from_numpy(a.copy()).to(place.name)) for a in arrays]
        for p in parameters:
            p.grad = torch.from_numpy(rng.standard_normal(p.shape, dtype=np.float32)).to(place.name)
        fused = {"fused": True} if form == "fused" else {}
        work[form, "step"] = getattr(torch.optim, case["kind"])(parameters, **case["options"], **fused).step
    return work
