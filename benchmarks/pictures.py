"""The pictures: bars against peers, and a roofline. Without matplotlib there are none, and a line says so."""
import common

COLOURS = {"minigrad": "#c0392b", "torch": "#34495e", "jax": "#2e86c1", "tinygrad": "#7d8a97"}


def plots():
    """matplotlib.pyplot drawing to files, or None."""
    try:
        import matplotlib
    except ImportError:
        print("no pictures: matplotlib is not installed")
        return None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def save(figure, path):
    """Write a picture and say so."""
    figure.savefig(path, dpi=120, bbox_inches="tight")
    print(f"wrote {path}")


def conv(rows, peers, passes, roofs, stem, product="NumPy SGEMM"):
    """stem_bars.png: rates of each layer, a panel for each set; stem_roofline.png: rates over intensity."""
    plt = plots()
    if plt is None:
        return
    rates = {side: [_rate(row, side, passes) for row in rows] for side in ("minigrad", *peers)}
    sets = list(dict.fromkeys(row["set"] for row in rows))
    figure, axes = plt.subplots(len(sets), squeeze=False, figsize=(11, 2.9 * len(sets)), layout="constrained")
    for axis, name in zip(axes[:, 0], sets, strict=True):
        index = [i for i, row in enumerate(rows) if row["set"] == name]
        _bars(axis, {s: [rates[s][i] for i in index] for s in rates}, [rows[i]["layer"] for i in index])
        axis.axhline(roofs["sgemm"], color="black", lw=0.8, ls=":", label=product)
        axis.set_title(name, loc="left", fontsize=10)
        axis.set_ylabel("effective GFLOP/s")
    axes[0, 0].legend(fontsize=8, ncols=5, loc="upper right", bbox_to_anchor=(1, 1.18), frameon=False)
    figure.suptitle(f"{' + '.join(passes)}, float32", fontsize=10)
    save(figure, f"{stem}_bars.png")
    plt.close(figure)
    figure, axis = plt.subplots(figsize=(7, 4.5), layout="constrained")
    _roofline(axis, rows, rates, roofs, product)
    save(figure, f"{stem}_roofline.png")
    plt.close(figure)


def _rate(row, side, passes):
    """GFLOP/s over all passes of "auto" (or the fastest algorithm), or of a peer's better variant. None: unknown."""
    total = {}
    for r in row["results"]:
        if r["side"] == side:
            total.setdefault(r["variant"], {})[r["pass"]] = r["seconds"]["median"]
    sums = {variant: sum(t.values()) for variant, t in total.items() if len(t) == len(passes)}
    if not sums:
        return None
    return len(passes) * row["flops"] / sums.get("auto", min(sums.values())) / 1e9


def _bars(axis, groups, labels):
    """Groups of bars side by side: {name: values}, one a label."""
    width = 0.8 / len(groups)
    for k, (name, values) in enumerate(groups.items()):
        places = [i + (k - (len(groups) - 1) / 2) * width for i in range(len(labels))]
        axis.bar(places, [value or 0 for value in values], width, color=COLOURS.get(name), label=name)
    axis.set_xticks(range(len(labels)), labels, rotation=30, ha="right", fontsize=7)
    axis.spines[["top", "right"]].set_visible(False)


def _roofline(axis, rows, rates, roofs, product):
    """Williams, Waterman & Patterson 2009: no more than the bandwidth times the intensity, nor than the peak."""
    intensity = [row["flops"] / row["bytes"] for row in rows]
    ridge = roofs["sgemm"] / roofs["copy"]
    low, high = min(*intensity, ridge) / 2, max(*intensity, ridge) * 2
    roof = [min(i * roofs["copy"], roofs["sgemm"]) for i in (low, ridge, high)]
    axis.plot([low, ridge, high], roof, color="black", lw=1)
    axis.text(high, roofs["sgemm"], f"{product} {roofs['sgemm']:.0f}", ha="right", va="bottom", fontsize=8)
    axis.text(low, low * roofs["copy"], f"    copy {roofs['copy']:.0f} GB/s", fontsize=8, va="top")
    for name, values in rates.items():
        points = [(i, v) for i, v in zip(intensity, values, strict=True) if v]
        axis.scatter(*zip(*points, strict=True), s=14, color=COLOURS.get(name), alpha=0.8, label=name)
    axis.set(xscale="log", yscale="log", xlabel="multiply-adds x 2 / byte of x, w and y", ylabel="effective GFLOP/s")
    axis.legend(fontsize=8, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)


def ratios(rows, stem, label):
    """stem.png: for each row, one bar for minigrad's time / the peer's, and the line where both are equal."""
    plt = plots()
    known = [row for row in rows if row.get("ratio")]
    if plt is None or not known:
        return
    figure, axis = plt.subplots(figsize=(7, 0.6 + 0.32 * len(known)), layout="constrained")
    names, values = [row["name"] for row in known], [row["ratio"] for row in known]
    axis.barh(names, values, color=[COLOURS["minigrad"] if v > 1 else "#27ae60" for v in values])
    for i, value in enumerate(values):
        axis.text(value, i, f" {common.cell(value)}", va="center", fontsize=8)
    axis.axvline(1, color="black", lw=0.8)
    axis.invert_yaxis()
    axis.tick_params(labelsize=8)
    axis.set_xlabel(label, fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    save(figure, f"{stem}.png")
    plt.close(figure)
