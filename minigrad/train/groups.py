"""Which parameters are trained, and how: frozen ones, those without weight decay, a head with a rate of its own."""
from fnmatch import fnmatchcase


def freeze(model, patterns, keep=()):
    """Train no parameter whose name matches one of the patterns ("features.*", "layer[1-3].*"), but those in `keep`.

    Returns the names. Raises ValueError for a pattern that no parameter's name matches.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"no parameter is called {pattern!r}; there is {', '.join(names[:6])} ...")
    chosen = {n for n in names if n not in keep and any(fnmatchcase(n, pattern) for pattern in patterns)}
    for name, p in model.named_parameters():
        if name in chosen:
            p.requires_grad_(False)
    return sorted(chosen, key=names.index)


def parameter_groups(model, weight_decay=0.0, head=(), head_lr=None, bias_lr=None):
    """Groups for an optimiser: weight decay for matrices and kernels only, not for biases and normalisation.

    head: names of parameters that get a learning rate of their own, head_lr. bias_lr: one for all other biases. Frozen
    parameters are left out. Source: Goyal et al. 2017, section 5.3 (no decay of what has one dimension). Raises
    ValueError if all are frozen.
    """
    groups = {}
    for name, p in model.named_parameters():
        if p.requires_grad:
            plain = bias_lr is None or not name.endswith("bias")
            groups.setdefault((name in head, weight_decay > 0 and p.ndim > 1, plain), []).append(p)
    if not groups:
        raise ValueError("every parameter is frozen, nothing is left to train")
    return [
        {"params": params, "weight_decay": weight_decay if decays else 0.0,
         **({"lr": head_lr} if in_head and head_lr is not None else {} if plain else {"lr": bias_lr})}
        for (in_head, decays, plain), params in sorted(groups.items(), key=lambda item: item[0], reverse=True)
    ]
