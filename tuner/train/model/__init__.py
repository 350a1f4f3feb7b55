"""Networks: the built-in CNN, and those of torchvision with fine-tuning."""
