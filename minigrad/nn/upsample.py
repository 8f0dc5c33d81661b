"""Layers that change the size of images by interpolation."""
from .. import ops
from ..ops.interpolate import check_mode
from .module import Module


class Upsample(Module):
    """N x C x H x W resized to N x C x OH x OW; the arguments are those of `ops.interpolate`.

    size: int or (OH, OW); or scale_factor: a number or a pair. mode: "nearest" or "bilinear", the latter with
    align_corners. Raises ValueError for options that contradict each other.
    """

    def __init__(self, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None):
        super().__init__()
        check_mode(size, scale_factor, mode, align_corners, recompute_scale_factor, "Upsample")
        if isinstance(scale_factor, (tuple, list)):
            scale_factor = tuple(map(float, scale_factor))
        elif scale_factor is not None:
            scale_factor = float(scale_factor)
        self.size, self.scale_factor, self.mode = size, scale_factor, mode
        self.align_corners, self.recompute_scale_factor = align_corners, recompute_scale_factor

    def forward(self, x):
        return ops.interpolate(
            x, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor
        )

    def extra_repr(self):
        what = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{what}, mode={self.mode!r}"
