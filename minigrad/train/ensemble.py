"""Several networks that vote."""
from .. import nn, ops


class Ensemble(nn.Module):
    """The mean of the probabilities that several networks give, as its logarithm: scores that a softmax leaves alone.

    Networks take the same images and give scores of the same classes, N x C. Source: Krizhevsky et al. 2012, section 6.
    """

    def __init__(self, networks):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x):
        scores = [ops.log_softmax(network(x), 1) for network in self.networks]
        return ops.stack(scores).logsumexp(0) - ops.log(float(len(scores)))
