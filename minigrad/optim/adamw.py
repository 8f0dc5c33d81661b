"""AdamW: Adam whose weight decay shrinks the parameters and leaves the gradient alone."""
from .adam import Adam


class AdamW(Adam):
    """p = (1 - lr weight_decay) p, and then a step of Adam without decay. Loshchilov & Hutter 2019, algorithm 2.

    Options and errors: those of Adam; weight_decay is 0.01 unless given.
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(params, lr, betas, eps, weight_decay)

    def decay(self, group):
        return 0.0, 1.0 - group["lr"] * group["weight_decay"]
