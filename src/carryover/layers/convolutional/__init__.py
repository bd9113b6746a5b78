"""Windows over time: convolutions, the stacks made of them, and their buffers for stepping."""
