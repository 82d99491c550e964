"""The network: architecture, loss, augmentation, training, prediction."""
