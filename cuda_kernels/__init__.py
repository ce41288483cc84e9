"""The kernels (*.cu, one per operation, for GPU and CPU alike) and what runs them."""
