"""Float64 references in plain PyTorch, one module per operation.

They are written from the numerical conventions alone, for reading and for exactness, not for speed: everything is
dense, every argument is converted to float64, and gradients come from autograd. Each module states which gradient rules
are built into it where these differ from the true derivative.
"""
