"""The network: architecture, loss, augmentation, training, prediction."""

from lib.processors import share_processors

share_processors()  # before any module of this package loads torch
