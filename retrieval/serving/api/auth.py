"""Who may write: whoever sends the server's token as `Authorization: Bearer TOKEN`.

In: the header and the token. Out: nothing, or a refusal. Knows nothing of what is written.
"""

from __future__ import annotations

import hmac

from retrieval.serving.errors import Refusal


def require_writer(authorization: str | None, token: str | None) -> None:
    """Raise a 403 if the server has no token, and a 401 unless the header holds it."""
    if token is None:
        raise Refusal(403, "writing is off; start the server with --token-file or PEEPHOLE_TOKEN")
    scheme, _, given = (authorization or "").partition(" ")
    # compare_digest takes as long for a token that is nearly right as for one that is all wrong.
    right = hmac.compare_digest(given.strip().encode("utf-8", "replace"), token.encode())
    sent = scheme.lower() == "bearer" and given.strip() != ""
    if not sent or not right:
        problem = (
            "the token is wrong; send the one in the server's --token-file or PEEPHOLE_TOKEN"
            if sent
            else "needs the header Authorization: Bearer TOKEN"
        )
        raise Refusal(401, problem, headers={"WWW-Authenticate": "Bearer"})
