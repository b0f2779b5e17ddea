"""The handler of /v1/embeddings, as OpenAI's clients call it; the models are the two towers.

In: texts. Out: unit vectors, as numbers or as base64 of little-endian float32.
"""

from __future__ import annotations

import base64

from starlette.requests import Request
from starlette.responses import Response

from retrieval.serving.api.reading import Parameters, json_body
from retrieval.serving.api.schemas import Embed, Embedding, Embeddings, Usage
from retrieval.serving.errors import Refusal, json_response
from retrieval.serving.settings import Limits
from retrieval.serving.state import State
from retrieval.text.words import words

_MODELS = ("query", "document")


class EmbeddingHandlers:
    """Handlers of /v1/embeddings and /v1/models."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def post(self, request: Request, values: Parameters) -> Response:
        """POST /v1/embeddings."""
        state = self._state
        asked: Embed = await json_body(request, state.limits, Embed)
        if asked.model not in _MODELS:
            raise Refusal(404, f"model must be one of {', '.join(_MODELS)}", "model")
        texts = _texts(asked, state.limits)
        dimension = state.engine.index.dimension
        if asked.dimensions not in (None, dimension):
            raise Refusal(422, f"the model has {dimension} dimensions", "dimensions")
        vectors = (await state.slow.run(state.engine.embed, asked.model, texts)).astype("<f4")
        plain = asked.encoding_format == "float"
        data = [
            Embedding(at, row.tolist() if plain else base64.b64encode(row.tobytes()).decode())
            for at, row in enumerate(vectors)
        ]
        count = sum(len(words(text, state.limits.input_characters)) for text in texts)
        return json_response(Embeddings(data, asked.model, Usage(count, count)))


def _texts(asked: Embed, limits: Limits) -> list[str]:
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    if not 1 <= len(texts) <= limits.inputs:
        raise Refusal(422, f"input takes 1 to {limits.inputs} texts", "input")
    if sum(map(len, texts)) > limits.input_characters:
        raise Refusal(422, f"input takes at most {limits.input_characters:,} characters", "input")
    if not all(text.strip() for text in texts):
        raise Refusal(422, "a text of input is empty", "input")
    return texts
