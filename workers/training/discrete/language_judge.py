"""The independent reader of texts: a recurrent network that tells how surprising each next character is.

It shares nothing with the generator: another kind of network, and a split of the corpus of its own that the
generator never sees. A text copied from the generator's training set is therefore as new to it as any other.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from workers.training.discrete.settings import LanguageJudgeSettings
from workers.training.judge import JUDGES_FOLDER
from workers.training.resumable import ScheduledTrainee, step_seed
from workers.training.texts import TEXT_LENGTH, VOCABULARY, TextCorpus

LANGUAGE_JUDGE_FILE = "texts.safetensors"
_WIDTH = 512
_BATCH = 100


class LanguageJudge(nn.Module):
    """A GRU of width 512 over characters, 0.9 M parameters; a text's beginning is read after a line's end."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY.size, 64)
        self.recurrent = nn.GRU(64, _WIDTH, batch_first=True)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(_WIDTH, VOCABULARY.size)

    def forward(self, tokens: Tensor) -> Tensor:
        """Negative log likelihood in nats of each character after those before it, (B, n) as the tokens."""
        before = nn.functional.pad(tokens[:, :-1], (1, 0))  # token 0 is the line's end
        hidden, _ = self.recurrent(self.embedding(before))
        logits = self.head(self.dropout(hidden))
        return nn.functional.cross_entropy(logits.transpose(1, 2), tokens, reduction="none")


class LanguageJudgeTrainee(ScheduledTrainee):
    """The reader on windows of its own split."""

    def __init__(self, settings: LanguageJudgeSettings, seed: int, corpus: TextCorpus) -> None:
        torch.manual_seed(step_seed("language-judge", seed))
        self.settings, self.seed, self.corpus = settings, seed, corpus
        self.num_steps = settings.num_steps
        self.network = LanguageJudge()
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, settings.learning_rate, settings.num_steps, pct_start=0.1, cycle_momentum=False
        )

    def step(self, index: int) -> float:
        """One batch of windows."""
        seed = step_seed("language-judge", self.seed, index)
        torch.manual_seed(seed)
        starts = torch.randint(self.corpus.num_starts, (self.settings.batch,))
        loss = self.network(torch.from_numpy(self.corpus.windows(starts.numpy())).long()).mean()
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.schedule.step()
        return float(loss.detach())


def save_language_judge(network: LanguageJudge, path: Path) -> None:
    """Write the weights in half precision, readable by all."""
    halves = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(halves, path)
    path.chmod(0o644)


@cache
def load_language_judge(path: Path = JUDGES_FOLDER / LANGUAGE_JUDGE_FILE) -> LanguageJudge:
    """A reader ready to read."""
    network = LanguageJudge()
    network.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return network.eval().requires_grad_(False)


@torch.inference_mode()
def nats_per_character(tokens: Tensor, judge: LanguageJudge) -> Tensor:
    """The mean negative log likelihood of each text, (N,), for tokens (N, 128)."""
    assert tokens.shape[1] <= TEXT_LENGTH
    return torch.cat([judge(part).mean(1) for part in torch.split(tokens, _BATCH)])
