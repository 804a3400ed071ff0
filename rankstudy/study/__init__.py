"""What is computed, once: the store, the engine and the experiments."""
