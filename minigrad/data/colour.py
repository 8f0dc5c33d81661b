"""Random colours of whole batches of images, N x C x H x W: ColorJitter, and the lighting of AlexNet.

uint8 images are changed as floats from 0 to 1 and rounded once, at the end.
"""
import numpy as np

GREY = (0.2989, 0.587, 0.114)  # ITU-R 601-2 luma, as torchvision rounds it


def to_float(images, dtype=np.float32):
    """uint8 images as floats from 0 to 1."""
    y = images.astype(dtype)
    y /= 255
    return y


def to_uint8(images):
    """Floats from 0 to 1 as uint8, rounded; what lies outside is cut off."""
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)


class ColorJitter:
    """Change brightness, contrast, saturation and hue of each image by random factors, in a random order for each.

    brightness, contrast, saturation: a number v for factors between max(0, 1 - v) and 1 + v, or (lowest, highest).
    hue: a number v for turns between -v and v of the colour circle, at most half of it, or (lowest, highest). Images of
    one channel have no saturation or hue to change. Raises ValueError for numbers that make no sense and for images of
    other than 1 or 3 channels.
    """

    def __init__(self, brightness=0, contrast=0, saturation=0, hue=0):
        self.ranges = (
            _range("brightness", brightness, 1, 0, np.inf), _range("contrast", contrast, 1, 0, np.inf),
            _range("saturation", saturation, 1, 0, np.inf), _range("hue", hue, 0, -0.5, 0.5),
        )

    def __call__(self, images, rng):
        n, channels = images.shape[:2]
        if channels not in (1, 3):
            raise ValueError(f"ColorJitter: expected images of 1 or 3 channels, got {channels}")
        y = to_float(images) if images.dtype == np.uint8 else images.copy()
        order = rng.permuted(np.tile(np.arange(4), (n, 1)), axis=1)
        factors = [rng.uniform(*bounds, n).astype(y.dtype)[:, None, None, None] for bounds in self.ranges]
        for place in range(4):
            for kind, adjust in enumerate(ADJUST):
                chosen = order[:, place] == kind
                if chosen.any() and self.ranges[kind] != NEUTRAL[kind]:
                    y[chosen] = adjust(y[chosen], factors[kind][chosen])
        return to_uint8(y) if images.dtype == np.uint8 else y


def _range(name, value, centre, lowest, highest):
    """(low, high) of what a user gave for one of the four."""
    if isinstance(value, (tuple, list)) and len(value) == 2:
        low, high = map(float, value)
    elif isinstance(value, (int, float)) and value >= 0:
        low, high = max(float(centre - value), lowest if centre else -np.inf), float(centre + value)
    else:
        raise ValueError(f"ColorJitter: {name} must be a number >= 0 or a pair, got {value!r}")
    if not lowest <= low <= high <= highest or not np.isfinite(high):
        raise ValueError(f"ColorJitter: {name} {value!r} reaches beyond {lowest} ... {highest}")
    return low, high


def grey(images):
    """N x 1 x H x W: how bright each pixel is."""
    if images.shape[1] == 1:
        return images
    r, g, b = (images[:, c : c + 1] * images.dtype.type(weight) for c, weight in enumerate(GREY))
    return r + g + b


def _mixed(images, other, factor):
    return np.clip(images * factor + other * (1 - factor), 0, 1)


def adjust_brightness(images, factor):
    """Float images times factor (N x 1 x 1 x 1), cut off at 1."""
    return np.clip(images * factor, 0, 1)


def adjust_contrast(images, factor):
    """Mixed with their mean grey: 0 gives that, 1 the images, more more contrast."""
    return _mixed(images, grey(images).mean((1, 2, 3), keepdims=True), factor)


def adjust_saturation(images, factor):
    """Mixed with their grey: 0 gives that, 1 the images, more stronger colours."""
    return _mixed(images, grey(images), factor) if images.shape[1] == 3 else images


def adjust_hue(images, turn):
    """Colours turned by a part of the colour circle: 1 is all around."""
    if images.shape[1] == 1:
        return images
    h, s, v = _hsv(images)
    h = (h + turn[:, 0]) * 6
    rgb = []
    for sector in (5, 3, 1):
        k = (h + sector) % 6
        rgb.append(v - v * s * np.clip(np.minimum(k, 4 - k), 0, 1))
    return np.stack(rgb, 1)


def _hsv(images):
    """Hue (0 ... 1), saturation and value, each N x H x W."""
    r, g, b = images[:, 0], images[:, 1], images[:, 2]
    high, low = images.max(1), images.min(1)
    span = high - low
    safe = np.where(span > 0, span, 1)
    hue = np.where(high == r, (g - b) / safe, np.where(high == g, 2 + (b - r) / safe, 4 + (r - g) / safe))
    return hue / 6 % 1, span / np.where(high > 0, high, 1), high


ADJUST = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
NEUTRAL = ((1.0, 1.0), (1.0, 1.0), (1.0, 1.0), (0.0, 0.0))


# Of ImageNet, as widely used with pixels from 0 to 1 (github.com/facebookarchive/fb.resnet.torch); a row a component.
IMAGENET_VALUES = (0.2175, 0.0188, 0.0045)
IMAGENET_COMPONENTS = ((-0.5675, -0.5808, -0.5836), (0.7192, -0.0045, -0.6948), (0.4009, -0.8140, 0.4203))


class Lighting:
    """Add to all pixels of an image one random colour: the sum over i of a_i * values[i] * components[i].

    The a_i are normal, with standard deviation std, drawn once for each image. values, components: eigenvalues and
    eigenvectors (rows) of the covariance of the colours; those of ImageNet, or of your images, by
    `principal_components`. Source: Krizhevsky et al. 2012, section 4.1. Raises ValueError for images that have not 3
    channels.
    """

    def __init__(self, std=0.1, values=IMAGENET_VALUES, components=IMAGENET_COMPONENTS):
        self.std, self.values, self.components = std, np.asarray(values, float), np.asarray(components, float)
        if self.values.shape != (3,) or self.components.shape != (3, 3):
            raise ValueError(f"Lighting: expected 3 values and 3 x 3 components, got {values} and {components}")

    def __call__(self, images, rng):
        if images.shape[1] != 3:
            raise ValueError(f"Lighting: expected images of 3 channels, got {images.shape[1]}")
        colours = (rng.normal(0, self.std, (len(images), 3)) * self.values) @ self.components
        y = to_float(images) if images.dtype == np.uint8 else images
        y = y + colours.astype(y.dtype)[:, :, None, None]
        return to_uint8(y) if images.dtype == np.uint8 else y


def principal_components(images):
    """(values, components) for Lighting, of images N x 3 x H x W (uint8, or floats from 0 to 1): the largest first."""
    pixels = np.moveaxis(images, 1, -1).reshape(-1, 3)
    scale = 255 if images.dtype == np.uint8 else 1
    mean, products = np.zeros(3), np.zeros((3, 3))
    for start in range(0, len(pixels), 1 << 20):
        part = pixels[start : start + (1 << 20)] / scale
        mean += part.sum(0)
        products += part.T @ part
    mean /= len(pixels)
    values, vectors = np.linalg.eigh(products / len(pixels) - np.outer(mean, mean))
    return values[::-1], vectors.T[::-1]
