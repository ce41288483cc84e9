"""What the command line does beside the doctor and the viewer, one module or folder per command."""
