"""Training: losses, optimisers, schedules, and the step that they make with a net, as one graph."""

from .losses import LOSSES, GraphLoss, Loss, parse_loss
from .optimizers import OPTIMIZERS, Optimizer, parse_optimizer
from .rates import Rates, parse_rates, rates_of
from .schedules import SCHEDULES, Schedule, parse_schedule
from .setting import make_setting
from .sharded import ShardedStep, sharded_step
from .step import Exchange, Gradients, Shared, loss_graph, training_step

__all__ = [
    "LOSSES",
    "OPTIMIZERS",
    "SCHEDULES",
    "Exchange",
    "Gradients",
    "GraphLoss",
    "Loss",
    "Optimizer",
    "Rates",
    "Schedule",
    "ShardedStep",
    "Shared",
    "loss_graph",
    "make_setting",
    "parse_loss",
    "parse_optimizer",
    "parse_rates",
    "parse_schedule",
    "rates_of",
    "sharded_step",
    "training_step",
]
