"""What optimisers share: parameter groups, state, and saving both."""
from ..device import device_of, to_device
from ..modes import each_time
from ..tensor import Tensor


class Optimizer:
    """The base class: `step` of a subclass changes every parameter that has a gradient.

    params: Parameters, or dicts {"params": Parameters, option: value ...} for groups with options of their own.
    defaults: the options of groups that do not name them. `state` is {parameter: dict}, filled by the first step.
    Raises ValueError if there is nothing to train, a parameter is listed twice or an option makes no sense, and
    TypeError for parameters that are not leaf tensors.
    """

    def __init__(self, params, defaults):
        params = [params] if isinstance(params, (Tensor, dict)) else list(params)
        groups = params if params and isinstance(params[0], dict) else [{"params": params}]
        self.defaults, self.state, self.param_groups = defaults, {}, []
        for group in groups:
            self.add_param_group(group)
        if not self._parameters():
            raise ValueError(f"{type(self).__name__}: no parameters to train")

    def add_param_group(self, group):
        """Train more parameters: a dict {"params": Parameters, option: value ...}. Raises what the constructor does."""
        name = type(self).__name__
        if not isinstance(group, dict):
            raise TypeError(f"{name}: expected a dict for a parameter group, got {group!r}")
        unknown = set(group) - set(self.defaults) - {"params"}
        if unknown or "params" not in group:
            problem = f"unknown option {min(unknown)!r}" if unknown else "no 'params'"
            raise ValueError(f"{name}: {problem} in a parameter group")
        tensors = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        seen = set(map(id, self._parameters()))
        for t in tensors:
            if not isinstance(t, Tensor):
                raise TypeError(f"{name}: expected leaf tensors, got {t!r}")
            if not t.is_leaf:
                raise TypeError(f"{name}: expected leaf tensors, got the result of an operation: {t!r}")
            if id(t) in seen:
                raise ValueError(f"{name}: a parameter of shape {t.shape} is listed twice")
            seen.add(id(t))
        group = {**self.defaults, **group, "params": tensors}
        self.check(group)
        self.param_groups.append(group)

    def check(self, group):
        """ValueError if an option of this group makes no sense."""
        for name in ("lr", "weight_decay"):
            if not group[name] >= 0:
                raise ValueError(f"{type(self).__name__}: {name} must be at least 0, got {group[name]}")

    def zero_grad(self):
        """Forget every gradient."""
        for p in self._parameters():
            p.grad = None

    @each_time
    def step(self):
        """Change every parameter that has a gradient, in place."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            self.update([(p._data, p.grad._data, self.state.setdefault(p, {})) for p in params], group)
            for p in params:
                p.mark_modified()

    def update(self, parameters, group):
        """Change parameters in place: (array, its gradient, its own state, a dict) each, with the group's options."""
        raise NotImplementedError(f"{type(self).__name__}.update")

    def _parameters(self):
        return [p for group in self.param_groups for p in group["params"]]

    def state_dict(self):
        """{"state": {number of the parameter: its state}, "param_groups": [options, with the numbers as "params"]}.

        Parameters are numbered through all groups. Arrays are not copied: the next step changes them.
        """
        number = {p: i for i, p in enumerate(self._parameters())}
        groups = [{**group, "params": [number[p] for p in group["params"]]} for group in self.param_groups]
        return {"state": {number[p]: state for p, state in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, saved):
        """Go on from a `state_dict()` of the same kind of optimiser over parameters of the same shapes.

        Arrays are copied and take the dtype and device of their parameter. Raises ValueError, changing nothing, where
        groups, options or shapes do not match.
        """
        name, params = type(self).__name__, self._parameters()
        sizes = [len(group["params"]) for group in self.param_groups]
        saved_sizes = [len(group["params"]) for group in saved["param_groups"]]
        if saved_sizes != sizes:
            raise ValueError(f"{name}: groups of {saved_sizes} parameters were saved, here they have {sizes}")
        for group, options in zip(self.param_groups, saved["param_groups"], strict=True):
            if set(group) | {"initial_lr"} != set(options) | {"initial_lr"}:  # which a schedule has put there
                raise ValueError(f"{name}: the saved options are {sorted(options)}, here they are {sorted(group)}")
            self.check(options)
        for i, state in saved["state"].items():
            for key, value in state.items():
                if hasattr(value, "shape") and value.shape != params[i].shape:
                    raise ValueError(f"{name}: {key} of shape {value.shape} was saved for parameter {i}, "
                                     f"which has shape {params[i].shape}")
        for group, options in zip(self.param_groups, saved["param_groups"], strict=True):
            group.update({key: value for key, value in options.items() if key != "params"})
        self.state = {
            params[i]: {k: _like(v, params[i]._data) if hasattr(v, "astype") else v for k, v in state.items()}
            for i, state in saved["state"].items()
        }


def _like(array, parameter):
    """A copy of an array with the dtype of a parameter's, on its device."""
    return to_device(array.astype(parameter.dtype), device_of(parameter))
