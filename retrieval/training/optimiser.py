"""The optimiser of a training: Adam, with a learning rate of its own for each kind of weight.

In: a TwoTower and the recipe. Out: the optimiser, whose groups have a `share` of the recipe's rate. Knows
nothing of steps.
"""

from __future__ import annotations

from typing import Any

from torch.optim import Adam

from retrieval.model.config import Pooling
from retrieval.towers.belt import BELT_CONTROL_GAIN, BELT_ROW_LENGTH
from retrieval.towers.two_tower import TwoTower
from retrieval.training.recipe import Recipe


def adam(model: TwoTower, recipe: Recipe) -> Adam:
    """Adam over the parameters of a model, each a group with the `share` of the recipe's learning rate."""
    return Adam(_parameter_groups(model, recipe), betas=(0.9, 0.98), fused=True)


def _parameter_groups(model: TwoTower, recipe: Recipe) -> list[dict[str, Any]]:
    """The parameters with their learning rates, as shares of the recipe's."""
    groups = []
    for name, parameter in model.named_parameters():
        share = _rate_share(name.rpartition(".")[2], model.config.pooling, recipe.body)
        groups.append({"params": [parameter], "share": share, "lr": recipe.learning_rate * share})
    return groups


def _rate_share(name: str, pooling: Pooling, body: float) -> float:
    """The learning rate of a parameter as a multiple of the word rows'.

    name: of the parameter within its layer.
    pooling: of the model.
    body: the multiple of a body that weighs word rows.
    """
    if name == "table" or pooling not in ("attention", "belt"):
        return 1.0
    # The belt's weights on short rows and small outputs are longer by as much.
    longer = {"input": 1 / BELT_ROW_LENGTH, "recurrent": BELT_CONTROL_GAIN} if pooling == "belt" else {}
    return body * longer.get(name, 1.0)
