"""Moving Tensors between devices."""
from .. import device as devices
from ..autograd import Function
from ..tensor import as_tensor


class ToDevice(Function):
    """y = x on another device."""

    def forward(self, x):
        self.source = devices.device_of(x)
        return devices.to_device(x, self.device)

    def backward(self, gy):
        return ToDevice(device=self.source)(gy)


def to_device(x, device):
    """x on a device, "cpu", "cuda" or "cuda-sim" (x itself if it is there). Raises ValueError or RuntimeError."""
    x, device = as_tensor(x), devices.check_device(device)
    return x if x.device == device else ToDevice(device=device)(x)
