"""Attributes of attention nodes as types: normalisers, masks, biases, what an empty row gives, strategies."""
