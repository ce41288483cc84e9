"""OpenGL and EGL: headless contexts, framebuffers, and the way to and from tensors."""
