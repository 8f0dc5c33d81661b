"""JAX's side: jit-compiled convolutions on the CPU, in strict float32, in the layouts NHWC and NCHW."""
import os

import numpy as np
import problems

LAYOUTS = {  # dimension numbers of lax; how the arrays of problems.py are turned, x and y like this and w like that
    "nhwc": (("NHWC", "HWIO", "NHWC"), (0, 2, 3, 1), (2, 3, 1, 0)),
    "nchw": (("NCHW", "OIHW", "NCHW"), (0, 1, 2, 3), (0, 1, 2, 3)),
}


def start(threads):
    """Import JAX on so many cores (it takes as many threads); returns versions."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    global jax
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax

    jax.config.update("jax_default_matmul_precision", "highest")
    assert not jax.config.jax_enable_x64
    return {"version": jax.__version__, "numpy": np.__version__}


def to_numpy(value):
    """What a function of `conv` returned, as an array in the order of problems.py."""
    array, axes = value
    return np.asarray(array).transpose(np.argsort(axes))


def conv(spec, layouts, passes):
    """{(layout, pass): work}."""
    work = {}
    for layout in layouts:
        names, image, kernel = LAYOUTS[layout]
        x, w, gy = problems.data(spec)
        arrays = x.transpose(image), w.transpose(kernel), gy.transpose(image)
        x, w, gy = (jax.device_put(np.ascontiguousarray(array)) for array in arrays)

        def run(x, w, names=names):
            return jax.lax.conv_general_dilated(
                x, w, [spec["stride"]] * 2, [(spec["padding"],) * 2] * 2, dimension_numbers=names,
                feature_group_count=spec["groups"], precision=jax.lax.Precision.HIGHEST,
            )

        calls = {
            "forward": (lambda x, w, gy, run=run: run(x, w), image),
            "grad_input": (lambda x, w, gy, run=run: jax.vjp(lambda t: run(t, w), x)[1](gy)[0], image),
            "grad_weight": (lambda x, w, gy, run=run: jax.vjp(lambda t: run(x, t), w)[1](gy)[0], kernel),
        }
        for which in passes:
            function, axes = calls[which]
            work[layout, which] = _call(jax.jit(function), (x, w, gy), axes)
    return work


def _call(function, arrays, axes):
    return lambda: (function(*arrays).block_until_ready(), axes)
