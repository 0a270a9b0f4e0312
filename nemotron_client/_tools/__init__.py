"""How tools are described to the model, and how its arguments are read; `tools.py` is the public side."""
