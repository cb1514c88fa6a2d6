"""Text to token ids, as the model of a bundle was trained on them."""
