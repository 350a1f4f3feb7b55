"""Data sets, their splits and augmentation, and batches of them."""
