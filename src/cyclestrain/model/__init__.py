"""The model: the dictionary of averaged patterns, its transform to a pattern, and the autoencoder around them."""
