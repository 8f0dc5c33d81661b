"""The two-layer MNIST ConvNet of the lecture "Introduction to Convolutional Neural Networks, Part 2".

S. Raschka, STAT 479: Deep Learning, Spring 2019, lecture 13, "A Simple CNN in PyTorch". 4,266 parameters.
Deviation: `forward` returns the scores alone, not (scores, probabilities); the loss takes scores.
"""
from minigrad import nn

from .catalogue import Model


class ConvNet(nn.Module):
    """in_channels x 28 x 28 images -> num_classes scores."""

    def __init__(self, num_classes=10, in_channels=1):
        super().__init__()
        self.conv_1 = nn.Conv2d(in_channels, 4, 3, padding=1)  # 28x28x1 -> 28x28x4
        self.pool_1 = nn.MaxPool2d(2)  # -> 14x14x4
        self.conv_2 = nn.Conv2d(4, 8, 3, padding=1)  # -> 14x14x8
        self.pool_2 = nn.MaxPool2d(2)  # -> 7x7x8
        self.relu = nn.ReLU()
        self.flatten = nn.Flatten()
        self.linear_1 = nn.Linear(7 * 7 * 8, num_classes)

    def forward(self, x):
        x = nn.in_turn(x, self.conv_1, self.relu, self.pool_1)
        x = nn.in_turn(x, self.conv_2, self.relu, self.pool_2)
        return self.linear_1(self.flatten(x))


MODELS = {"convnet": Model(ConvNet, (1, 28, 28), "two convolutions and a linear layer (lecture 13)")}
