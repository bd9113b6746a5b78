"""Steps that look at other steps: attention in its forms, positions, Transformer blocks."""
