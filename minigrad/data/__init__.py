"""Datasets, loading and transforms."""
from . import transforms
from .datasets import CIFAR10, CIFAR100, DATASETS, KMNIST, MNIST, FashionMNIST, ImageFolder, load, mnist
from .digits import digits
from .images import Images, Some
from .loader import DataLoader, Dataset, TensorDataset
from .sources import data_root
