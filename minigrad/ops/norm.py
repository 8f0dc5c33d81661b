"""Normalisation: batch norm, composed of differentiable operations."""
from ..modes import no_grad
from .promotion import as_float


def batch_norm(x, running_mean=None, running_var=None, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """y = (x - mean) / sqrt(var + eps) weight + bias, per channel. x: N x C or N x C x ... -> the same shape.

    training: use the batch's own mean and variance (over all dimensions but C), and move running_mean and running_var
    (C each, changed in place, may be None) towards them: new = (1 - momentum) old + momentum batch. The batch is
    normalised by its biased variance, the running one is unbiased. Otherwise the running statistics are used.
    Raises ValueError where shapes do not fit or a channel has one value only in training.
    Source: Ioffe & Szegedy 2015, algorithm 1.
    """
    x = as_float(x)
    if x.ndim < 2:
        raise ValueError(f"BatchNorm: expected N x C x ..., got a {x.ndim}-d tensor")
    channels = x.shape[1]
    for name, t in (("running_mean", running_mean), ("running_var", running_var), ("weight", weight), ("bias", bias)):
        if t is not None and t.shape != (channels,):
            raise ValueError(f"BatchNorm: {name} has shape {t.shape}, got x with {channels} channels")
    others = tuple(i for i in range(x.ndim) if i != 1)
    column = (1, channels) + (1,) * (x.ndim - 2)
    if training:
        mean = x.mean(others, keepdim=True)
        centred = x - mean
        var = (centred * centred).mean(others, keepdim=True)
        _update_running(running_mean, running_var, mean, var, x.numel() // max(channels, 1), momentum)
    else:
        if running_mean is None or running_var is None:
            raise ValueError("BatchNorm: evaluation needs running statistics")
        mean, var = running_mean.reshape(column), running_var.reshape(column)
        centred = x - mean
    scale = (var + eps) ** -0.5
    if weight is not None:
        scale = scale * weight.reshape(column)
    y = centred * scale
    return y if bias is None else y + bias.reshape(column)


def _update_running(running_mean, running_var, mean, var, count, momentum):
    if count <= 1:
        raise ValueError(f"BatchNorm: training needs more than one value per channel, got {count}")
    with no_grad():
        for running, batch in ((running_mean, mean), (running_var, var * (count / (count - 1)))):
            if running is not None:
                running.copy_((1.0 - momentum) * running + momentum * batch.reshape(running.shape))
