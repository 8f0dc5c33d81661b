"""The steps of the optimisers in CUDA, many parameters in one launch: grids and arguments.

The kernels are in optim.cu. A gradient of another layout than its parameter is copied."""
from .cuda import contiguous, launch, several
from .cuda.arguments import MANY
from .rows import memory_order

FILE = "optim.cu"
EACH = 4  # numbers of the largest parameter that one thread takes, up to
BLOCKS = 2048  # blocks along it
THREADS = 256


def run(kernel, parameters, *numbers):
    """Change parameters, (p, g, its state ...) each, by a kernel and the numbers it takes after the arrays.

    All are of one dtype, on one device; p and its state are laid out in one way, without gaps.
    """
    numbers = [n if isinstance(n, bool) else float(n) for n in numbers]
    parameters = [arrays for arrays in parameters if arrays[0].size]
    for first in range(0, len(parameters), MANY):
        ps, gs, *states = zip(*parameters[first : first + MANY], strict=True)
        gs = [_laid_out(g, p) for g, p in zip(gs, ps, strict=True)]
        blocks = min(BLOCKS, -(-max(p.size for p in ps) // (THREADS * EACH)))
        arguments = *map(several, (ps, gs, *states)), *numbers
        launch(FILE, kernel, (blocks, len(ps)), THREADS, arguments, dtype=ps[0].dtype)


def _laid_out(g, p):
    """The numbers of g in the order in which p has them in memory: g itself if they are."""
    return g if g.strides == p.strides else contiguous(g.transpose(memory_order(p)))
