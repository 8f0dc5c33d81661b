"""Checkpoints: everything a Training has changed, in one safetensors file that is whole or not there.

Arrays (weights, buffers, averages, what the optimiser remembers) are its tensors; all else (counters, rates, the
schedule, random states, the history) is JSON in its header. A Training that is built the same way and loads the file
goes on with the same bits.
"""
import json

import numpy as np

from .. import device, serialization
from .loop import Totals


def save_checkpoint(training, path):
    """Write a Training to a file, replacing an existing one in one step (see serialization/atomic.py).

    Raises FloatingPointError, leaving an existing file alone, where a weight is NaN or infinite; OSError where writing
    fails.
    """
    arrays = {f"model/{name}": t for name, t in training.model.state_dict().items()}
    for name, t in arrays.items():
        if t.is_floating_point() and not np.isfinite(t.cpu().numpy()).all():
            raise FloatingPointError(f"{name.removeprefix('model/')} became NaN or infinite; "
                                     "a smaller learning rate may help")
    if training.average is not None:
        arrays.update({f"average/{name}": t for name, t in training.average.module.state_dict().items()})
    optimizer = training.optimizer.state_dict()
    numbers = {}
    for i, state in optimizer["state"].items():
        arrays.update({f"optimizer/{i}/{key}": value for key, value in state.items() if hasattr(value, "dtype")})
        numbers[i] = {key: value for key, value in state.items() if not hasattr(value, "dtype")}
    state = {
        "optimizer": {"state": numbers, "param_groups": optimizer["param_groups"]},
        "schedule": None if training.schedule is None else training.schedule.state_dict(),
        "averaged": None if training.average is None else training.average.n_averaged,
        "random": device.get_rng_state(),
        "history": training.history, "totals": vars(training.totals), "seconds": training.seconds,
    }
    arrays = {name: _on_cpu(value) for name, value in arrays.items()}
    serialization.save(arrays, path, {"training": json.dumps(state)})


def load_checkpoint(training, path):
    """Bring a Training that is built like the saved one to where that was, random states included.

    Raises ValueError for a file that is no checkpoint or does not fit, RuntimeError where its weights do not fit, and
    OSError where it cannot be read.
    """
    metadata, arrays = serialization.load_metadata(path), serialization.load(path)
    if "training" not in metadata:
        raise ValueError(f"{path} is no checkpoint")
    state = json.loads(metadata["training"])
    training.model.load_state_dict(_below("model/", arrays))
    if (training.average is None) != (state["averaged"] is None) or (training.schedule is None) != (
            state["schedule"] is None):
        raise ValueError(f"{path}: saved with another schedule or average of weights")
    if training.average is not None:
        training.average.module.load_state_dict(_below("average/", arrays))
        training.average.n_averaged = state["averaged"]
    training.optimizer.load_state_dict(_optimizer_state(training.optimizer, state["optimizer"], arrays))
    if training.schedule is not None:
        training.schedule.load_state_dict(state["schedule"])
    device.set_rng_state(state["random"])
    training.history, training.totals = state["history"], Totals(**state["totals"])
    training.seconds = state["seconds"]


def _below(prefix, arrays):
    """The entries whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): t for name, t in arrays.items() if name.startswith(prefix)}


def _optimizer_state(optimizer, saved, arrays):
    """The optimiser's state dict: integers are keys again, pairs tuples, and arrays have the layout of their parameter.

    In another layout a step would take another way through memory, and might round differently.
    """
    params = [p for group in optimizer.param_groups for p in group["params"]]
    state = {int(i): dict(numbers) for i, numbers in saved["state"].items()}
    for name, t in _below("optimizer/", arrays).items():
        number, key = name.split("/")
        array, p = t.numpy(), params[int(number)]
        if array.shape == p.shape:
            array = np.empty_like(p.detach().cpu().numpy())
            array[...] = t.numpy()
        state[int(number)][key] = array
    groups = [{key: tuple(value) if isinstance(value, list) and key != "params" else value
               for key, value in group.items()} for group in saved["param_groups"]]
    return {"state": state, "param_groups": groups}


def _on_cpu(value):
    """A Tensor or an array of any device, as an array of the CPU."""
    return device.to_device(getattr(value, "_data", value), "cpu")
