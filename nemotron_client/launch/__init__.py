"""Plan and start a vLLM server of one's own: ``python -m nemotron_client.launch --help``.

From Python the planner alone is of use: ``plan(Model.of(...), Machines(GPUS["H100"], gpus=8), Wish())``.
"""

from .plan import Layout, Machines, Plan, Wish, plan
from .sizes import GPU, GPUS, Model

__all__ = ["GPU", "GPUS", "Layout", "Machines", "Model", "Plan", "Wish", "plan"]
