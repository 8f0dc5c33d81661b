"""The small ResNets for CIFAR-10, of 6n + 2 layers, and the plain networks that show why shortcuts are needed.

K. He, X. Zhang, S. Ren and J. Sun, "Deep residual learning for image recognition", CVPR 2016 (arXiv 1512.03385),
section 4.2, table 6: a 3x3 convolution, three stages of n basic blocks with 16, 32 and 64 maps of 32x32, 16x16 and
8x8, global average pooling, a linear layer. Where the shape changes, shortcuts leave out every other row and column and
add zero maps (option A), so a resnet and its plain twin have equally many parameters:

    layers         20       32       44       56        110
    parameters  269,722  464,154  658,586  853,018  1,727,962     (table 6 rounds: 0.27, 0.46, 0.66, 0.85, 1.7 M)

The new maps come after the old ones, which the paper leaves open. The plain twins of section 4.2 stop at 56 layers in
figure 6; the one of 110 is mentioned in the text ("error is higher than 60%"). resnet18_cifar is not in the paper: it
is resnet18 with a 3x3 convolution of stride 1 and no max pooling in front, as is usual for 32x32 images; 11,173,962
parameters. Deviation: convolutions start with variance 2 / fan_out instead of 2 / fan_in.
"""
from .catalogue import Model
from .resnet import resnet

CIFAR = {"num_classes": 10, "stem": "3x3"}


def _twins(n):
    """{name: Model} of the residual and the plain network with n blocks a stage."""
    depth, shared = 6 * n + 2, {"layers": (n, n, n), "width": 16, **CIFAR}
    return {
        f"{kind}{depth}_cifar": Model(resnet, (3, 32, 32), summary, {**shared, "shortcut": shortcut})
        for kind, shortcut, summary in (
            ("resnet", "pad", f"{depth} layers for CIFAR-10, shortcuts without weights (He et al. 2015)"),
            ("plain", "none", f"resnet{depth}_cifar without its shortcuts (He et al. 2015)"),
        )
    }


MODELS = {
    "resnet18_cifar": Model(
        resnet, (3, 32, 32), "resnet18 with a stem for 32x32 images", {"layers": (2, 2, 2, 2), **CIFAR},
    ),
    **{name: model for n in (3, 5, 7, 9, 18) for name, model in _twins(n).items()},
}
