"""Small models for repetitive tasks: their labels, training, storage and evaluation."""
