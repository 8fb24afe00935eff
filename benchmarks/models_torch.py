"""The same ensemble in PyTorch, in a separate process, possibly with another interpreter: batched matrix products.

`python models_torch.py`; requests and answers as in worker.py. Rows, sizes, loss, weight decay and Adam are those of
`holdfast.dynamics`: seven members of 200-200-200-200, each with its own bootstrap sample and batches of 256.
"""

from __future__ import annotations

import itertools
import sys
import time
from typing import Any

import serving
import synthetic

MEMBERS = 7
HIDDEN = (200, 200, 200, 200)
DECAY = (2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4)
BOUND_WEIGHT = 0.01
RATE = 1e-3


class Peer:
    """An ensemble whose layers are one batched product for all members, on the CPU or the first GPU."""

    def __init__(self) -> None:
        import torch

        self.torch = torch
        torch.manual_seed(0)
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
        data = {name: torch.from_numpy(x).to(device) for name, x in synthetic.rows().items()}
        self.x = torch.cat([data["obs"], data["action"]], 1)
        following = torch.roll(data["obs"], -1, 0)
        self.y = torch.cat([following - data["obs"], data["reward"][:, None]], 1)
        self.x = (self.x - self.x.mean(0)) / self.x.std(0)
        outputs = synthetic.OBS + 1
        sizes = (synthetic.OBS + synthetic.ACTION, *HIDDEN, 2 * outputs)
        self.weights, self.biases = [], []
        for n_in, n_out in itertools.pairwise(sizes):
            weight = torch.nn.init.trunc_normal_(torch.empty(MEMBERS, n_in, n_out), std=1 / (2 * n_in**0.5))
            self.weights.append(weight.to(device).requires_grad_())
            self.biases.append(torch.zeros(MEMBERS, 1, n_out, device=device, requires_grad=True))
        self.high = torch.full((outputs,), 0.5, device=device, requires_grad=True)
        self.low = torch.full((outputs,), -10.0, device=device, requires_grad=True)
        learned = [*self.weights, *self.biases, self.high, self.low]
        self.adam = torch.optim.Adam(learned, RATE)
        self.bootstrap = torch.randint(len(self.x), (MEMBERS, len(self.x)), device=device)
        self.member = torch.arange(MEMBERS, device=device)[:, None]

    def update(self) -> None:
        """One step of Adam on the loss of all members."""
        torch = self.torch
        place = torch.randint(len(self.x), (MEMBERS, synthetic.BATCH), device=self.x.device)
        rows = self.bootstrap[self.member, place]
        out, y = self.x[rows], self.y[rows]
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            out = torch.baddbmm(bias, out, weight)
            if i < len(HIDDEN):
                out = torch.nn.functional.silu(out)
        mean, log_var = out.chunk(2, -1)
        log_var = self.high - torch.nn.functional.softplus(self.high - log_var)
        log_var = self.low + torch.nn.functional.softplus(log_var - self.low)
        likelihood = ((mean - y).square() * torch.exp(-log_var)).mean((1, 2)) + log_var.mean((1, 2))
        decay = sum(0.5 * c * w.square().sum() for c, w in zip(DECAY, self.weights, strict=True))
        loss = likelihood.sum() + decay + BOUND_WEIGHT * (self.high.sum() - self.low.sum())
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()

    def versions(self) -> dict[str, Any]:
        return {
            "torch": self.torch.__version__,
            "python": sys.version.split()[0],
            "threads": self.torch.get_num_threads(),
        }

    def ensemble(self, seconds: float) -> dict[str, Any]:
        """Rows a second that every member learns from."""

        def work(n: int) -> float:
            began = time.perf_counter()
            for _ in range(n):
                self.update()
            if self.torch.cuda.is_available():
                self.torch.cuda.synchronize()
            return time.perf_counter() - began

        work(5)
        n = max(1, round(20 * seconds / work(20)))
        return {"per_second": n * synthetic.BATCH / work(n)}


if __name__ == "__main__":
    serving.serve(Peer)
