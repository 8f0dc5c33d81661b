"""The training loop, small enough to copy: an epoch, an evaluation, and `fit`, which alternates the two."""
import csv
import math
import time

from .modes import no_grad
from .ops import cross_entropy

AUXILIARY_WEIGHT = 0.3  # Szegedy et al. 2014, section 5


def on_device_of(model, loader):
    """The batches of a loader, tuples of Tensors, on the device of a model's parameters."""
    device = next((p.device for p in model.parameters()), "cpu")
    return (tuple(t.to(device) for t in batch) for batch in loader)


def train_epoch(model, loader, optimizer, loss_function=cross_entropy):
    """One pass over the loader, one optimiser step a batch. Returns (mean loss, accuracy), both over the examples.

    Raises FloatingPointError as soon as a loss is NaN or infinite.
    """
    model.train()
    total = Totals()
    for images, labels in on_device_of(model, loader):
        outputs = model(images)
        scores = outputs[0] if isinstance(outputs, tuple) else outputs
        loss = training_loss(outputs, labels, loss_function)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total.add(scores, labels, loss)
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"the loss became {loss.item()}; a smaller learning rate may help")
    return total.averages()


def training_loss(outputs, labels, loss_function=cross_entropy):
    """The loss of a network's outputs: of its scores, or of a tuple of scores and those of auxiliary heads.

    The main scores stand first; each auxiliary loss is weighed by AUXILIARY_WEIGHT. Source: Szegedy et al. 2014,
    section 5 (GoogLeNet).
    """
    if not isinstance(outputs, tuple):
        return loss_function(outputs, labels)
    scores, *auxiliary = outputs
    return loss_function(scores, labels) + AUXILIARY_WEIGHT * sum(loss_function(a, labels) for a in auxiliary)


def evaluate(model, loader, loss_function=cross_entropy):
    """One pass over the loader in evaluation mode. Returns (mean loss, accuracy), both over the examples."""
    model.eval()
    total = Totals()
    with no_grad():
        for images, labels in on_device_of(model, loader):
            scores = model(images)
            total.add(scores, labels, loss_function(scores, labels))
    return total.averages()


class Totals:
    """Loss and hits summed over batches."""

    def __init__(self):
        self.loss, self.hits, self.examples = 0.0, 0, 0

    def add(self, scores, labels, loss):
        """Count one batch. scores: N x C, labels: N, loss: their mean."""
        self.loss += loss.item() * len(labels)
        self.hits += int((scores.argmax(1) == labels).sum().item())
        self.examples += len(labels)

    def averages(self):
        """(mean loss, accuracy from 0 to 1) over all examples; NaN if there were none."""
        n = self.examples or math.nan
        return self.loss / n, self.hits / n


def fit(model, train_loader, test_loader, optimizer, epochs, on_epoch=None):
    """Train for some epochs, evaluating after each. Returns the history: one dict an epoch.

    on_epoch: called with each dict as soon as it is known. Keys: epoch (from 1), train_loss, train_accuracy, test_loss,
    test_accuracy (0 to 1), seconds.
    """
    history = []
    for epoch in range(1, epochs + 1):
        start = time.perf_counter()
        train_loss, train_accuracy = train_epoch(model, train_loader, optimizer)
        test_loss, test_accuracy = evaluate(model, test_loader)
        history.append({
            "epoch": epoch, "train_loss": train_loss, "train_accuracy": train_accuracy, "test_loss": test_loss,
            "test_accuracy": test_accuracy, "seconds": time.perf_counter() - start,
        })
        if on_epoch:
            on_epoch(history[-1])
    return history


def write_history(history, path):
    """Write the history as CSV, a line an epoch."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, history[0].keys())
        writer.writeheader()
        writer.writerows(history)


def plot_history(history, path, title):
    """Draw loss and accuracy over the epochs into a picture. Needs matplotlib (the "plot" extra)."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('pictures need matplotlib: pip install "minigrad[plot]"') from None
    epochs = [h["epoch"] for h in history]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    for panel, quantity, scale, label in zip(
        panels, ("loss", "accuracy"), (1, 100), ("cross-entropy", "accuracy (%)"), strict=True
    ):
        for part, colour in (("train", "tab:blue"), ("test", "tab:orange")):
            values = [scale * h[f"{part}_{quantity}"] for h in history]
            panel.plot(epochs, values, color=colour, label=part, marker="o", markersize=3)
        panel.set(xlabel="epoch", ylabel=label)
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.grid(alpha=0.3)
        panel.legend()
    panels[0].set_yscale("log")
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
