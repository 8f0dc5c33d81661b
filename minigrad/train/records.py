"""What a training leaves to look at: a table of its epochs, their curves, and a picture of what was confused."""
import csv
import io
from pathlib import Path

import numpy as np

from ..serialization import atomic


def write_history(history, path):
    """Write the history as CSV, a line an epoch; the file is replaced in one step."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, history[0].keys())
    writer.writeheader()
    writer.writerows(history)
    atomic.write(path, text.getvalue().encode())


def _figure(**options):
    """A matplotlib Figure. Raises ImportError, which names the extra, without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('pictures need matplotlib: pip install "minigrad[plot]"') from None
    return Figure(layout="constrained", **options)


def _save(figure, path):
    """Write a picture of the kind that the path's suffix names; the file is replaced in one step."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120, format=Path(path).suffix[1:] or "png")
    atomic.write(path, picture.getvalue())


def plot_history(history, path, title):
    """Draw loss and accuracy over the epochs into a picture. Needs matplotlib (the "plot" extra)."""
    figure = _figure(figsize=(9, 3.6))
    epochs = [h["epoch"] for h in history]
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
    _save(figure, path)


def plot_confusion(confusion, classes, path, title):
    """Draw a confusion matrix (rows: true classes, columns: what they were taken for) in percent of each row.

    Numbers and names are written where there is room for them, for up to 20 and 50 classes. Needs matplotlib.
    """
    n = len(classes)
    shares = 100 * confusion / np.maximum(1, confusion.sum(1, keepdims=True))
    side = 5 + 0.15 * min(n, 50)
    figure = _figure(figsize=(side + 1, side))
    panel = figure.subplots()
    picture = panel.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(picture, label="share of the true class (%)", shrink=0.8)
    if n <= 50:
        panel.set_xticks(range(n), classes, rotation=0 if max(map(len, classes)) <= 2 else 90)
        panel.set_yticks(range(n), classes)
    if n <= 20:
        for i, j in np.argwhere(confusion > 0):
            panel.text(j, i, f"{confusion[i, j]:,}", ha="center", va="center", fontsize=8,
                       color="white" if shares[i, j] > 55 else "black")
    panel.set(xlabel="taken for", ylabel="class", title=title)
    _save(figure, path)
