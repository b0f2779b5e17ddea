"""Re-scoring by a small network, for models with enough dev queries.

In: candidates of queries with their features and gains. Out: a `Rescorer` with the network of
`retrieval.model.rescoring`. Knows nothing of indexes or data sets.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from retrieval.model.rescoring import Rescorer
from retrieval.training.fitting.linear import Judged

# How many networks are averaged, and the hidden units of each.
MEMBERS = 3
_HIDDEN = 16
# Passes over the queries, the fewest steps, queries a step, the rate and the weight decay of AdamW.
_EPOCHS = 16
_LEAST_STEPS = 240
_QUERIES_A_STEP = 64
_RATE = 0.01
_DECAY = 0.01


def fit_network(
    rescorer: Rescorer,
    judged: Judged,
    queries: NDArray[np.int64],
    seed: int,
    stop: Callable[[], bool],
    members: int = MEMBERS,
) -> Rescorer:
    """The rescorer with a network that was fitted to some of the queries, the mean of a few.

    The loss is the cross-entropy between the softmax of the scores over the candidates and their gains.
    Queries without a relevant candidate teach nothing and are passed over. If there are no others, the
    rescorer comes back as it was.

    rescorer: what the features were computed with.
    judged: the candidates of all queries.
    queries: int64 (n,), numbers of the queries to fit to.
    seed: of the first weights and of the order of the queries.
    stop: called after each step; True raises KeyboardInterrupt.
    members: how many networks with other seeds are averaged. Together they are one network with all hidden
        units.
    """
    owners = judged.owners()[judged.gains > 0]
    used = queries[np.isin(queries, owners)]
    if not len(used):
        return rescorer
    places, present = _table(judged.starts, used)
    mean = judged.features[places[present]].mean(axis=0)
    spread = judged.features[places[present]].std(axis=0) + 1e-6
    features = torch.from_numpy((judged.features - mean) / spread)
    gains = torch.from_numpy(np.where(present, judged.gains[places], 0))
    targets = gains / gains.sum(1, keepdim=True)
    networks = [
        _train(
            _Network(len(mean), seed + member),
            features,
            torch.from_numpy(places),
            torch.from_numpy(present),
            targets,
            seed + member,
            stop,
        )
        for member in range(members)
    ]
    hidden = np.concatenate([member.hidden.weight.detach().numpy() for member in networks]) / spread
    bias = np.concatenate([member.hidden.bias.detach().numpy() for member in networks]) - hidden @ mean
    output = np.concatenate([member.output.weight.detach().numpy()[0] for member in networks]) / members
    linear = np.mean([member.linear.weight.detach().numpy()[0] for member in networks], axis=0) / spread
    return rescorer._replace(
        hidden=np.ascontiguousarray(hidden, np.float32),
        hidden_bias=np.ascontiguousarray(bias, np.float32),
        output=np.ascontiguousarray(output, np.float32),
        linear=np.ascontiguousarray(linear, np.float32),
    )


class _Network(nn.Module):
    """The network of `retrieval.model.rescoring`: v . tanh(W x + c) + w . x."""

    def __init__(self, features: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            self.hidden = nn.Linear(features, _HIDDEN)
            self.output = nn.Linear(_HIDDEN, 1, bias=False)
        self.linear = nn.Linear(features, 1, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, features: Tensor) -> Tensor:
        scores: Tensor = (self.output(torch.tanh(self.hidden(features))) + self.linear(features))[..., 0]
        return scores


def _train(
    network: _Network,
    features: Tensor,
    places: Tensor,
    present: Tensor,
    targets: Tensor,
    seed: int,
    stop: Callable[[], bool],
) -> _Network:
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_DECAY)
    epoch = -(-len(places) // _QUERIES_A_STEP)
    steps = max(_LEAST_STEPS, _EPOCHS * epoch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    rng = np.random.default_rng(seed)
    for step in range(steps):
        if step % epoch == 0:
            batches = np.array_split(rng.permutation(len(places)), epoch)
        batch = torch.from_numpy(batches[step % epoch])
        scores = network(features[places[batch]]).masked_fill(~present[batch], -1e9)
        loss = -(targets[batch] * torch.log_softmax(scores, 1)).sum(1).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if stop():
            raise KeyboardInterrupt
    return network


def _table(
    starts: NDArray[np.int64], queries: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The places of the candidates of some queries as a table, padded with 0, and which are no padding."""
    lengths = np.diff(starts)[queries]
    columns = np.arange(lengths.max())
    present = columns < lengths[:, None]
    return np.where(present, starts[queries][:, None] + columns, 0), present
