"""The dataset format, the store, batched loading, generation, imports and exports."""
