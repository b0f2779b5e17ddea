"""Chinese, Japanese and Korean characters, which have no blanks between words and are read in pairs.

Ranges for character classes of regular expressions. The terms of BM25 and the words of the towers both begin
with `CJK`, and each says what it adds. A character more here is another term or word there: an index or a
model made before would no longer meet its texts.
"""

from __future__ import annotations

# Kana, Han with its extensions, Hangul. NFKC folds half-width forms into these.
CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0003ffff"

# Marks that stand for a character, before the kana: repetition (as in 人々), "closed", and a zero.
MARKS = "\u3005-\u3007"

# Han characters of older standards. NFKC folds all but twelve of them into `CJK`.
COMPATIBILITY = "\uf900-\ufaff"
