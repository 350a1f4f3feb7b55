"""The trained model as files, and prediction with them."""
