"""A running average of a network's weights, which is often a better network than the last weights are."""
import copy

from ..modes import no_grad


class AveragedModel:
    """The exponential moving average of a model's parameters: `module`, a network like it.

    After each step of training call `update_parameters(model)`: average = decay average + (1 - decay) weights. The
    first call copies them; buffers are copied every time. As PyTorch's AveragedModel with get_ema_multi_avg_fn(decay).
    Raises ValueError for a decay outside of 0 ... 1.
    """

    def __init__(self, model, decay=0.999):
        if not 0 <= decay <= 1:
            raise ValueError(f"AveragedModel: decay must be between 0 and 1, got {decay}")
        self.module, self.decay, self.n_averaged = copy.deepcopy(model).requires_grad_(False), decay, 0

    @no_grad()
    def update_parameters(self, model):
        """Take in the weights that the model has now."""
        for average, p in zip(self.module.parameters(), model.parameters(), strict=True):
            if self.n_averaged == 0:
                average.copy_(p)
            else:
                average += (p - average) * (1.0 - self.decay)
        for kept, b in zip(self.module.buffers(), model.buffers(), strict=True):
            kept.copy_(b)
        self.n_averaged += 1
