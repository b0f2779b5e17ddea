"""Spelling: which words of a query are read as others, in every door through which queries come."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree
from weakref import ref

import numpy as np
import pytest
from click.testing import CliRunner

from cli import verbs
from index.documents.store import Document
from index.errors import CorruptError
from index.writing.delete import delete
from retrieval.indexing.build import add_documents, build
from retrieval.model.config import ModelConfig
from retrieval.model.folder import FILES
from retrieval.model.weights import read_weights, write_weights
from retrieval.search.answer import Request, answer, answer_json
from retrieval.search.retriever import Retriever
from retrieval.towers.two_tower import TwoTower

CONFIG = ModelConfig("bag", 8, dimension=8, document_words=16)
TEXTS = {
    "list": "list a directory and its subdirectories",
    "copy": "copy files between directories",
    "pack": "compress a folder of files",
    "kube": "kubernetes pods",
    "ru": "сжать каталог",
    "zh": "压缩文件夹",
}
KNOWN = ["directory", "directories", "files", "compress", "compression", "folder", "каталог", "hidden"]
EDITED = ["direcotry", "directry", "directoory", "dirextory", "direktory", "Direcotry"]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, random_model: Callable[..., TwoTower]) -> Path:
    """An index of two segments, whose model knows some words, of which one is in no document."""
    place = tmp_path_factory.mktemp("spelling")
    random_model(CONFIG, texts=KNOWN).save(place / "model")
    lines = [json.dumps({"_id": each, "text": text}) for each, text in list(TEXTS.items())[:3]]
    (place / "corpus.jsonl").write_text("\n".join(lines))
    build(place / "corpus.jsonl", place / "model", place / "index")
    add_documents([Document(each, "", TEXTS[each], {}) for each in ("kube", "ru", "zh")], place / "index")
    return place / "index"


@pytest.fixture
def retriever(index: Path) -> Iterator[Retriever]:
    with Retriever.open(index) as opened:
        yield opened


@pytest.mark.parametrize("typed", EDITED)
def test_a_word_one_edit_away_is_meant(retriever: Retriever, typed: str) -> None:
    assert retriever.corrected(f"list a {typed} now") == "list a directory now"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("compre", "compress"),  # compression begins so too, but no document has it
        ("kubern", "kubernetes"),  # documents have it, and the model knows no such word
        ("kuberentes", "kubernetes"),
        ("каталг", "каталог"),
        ("copy FILSE", "copy FILSE"),  # capitals among other letters are a name
        ("COPY FILSE", "COPY files"),
    ],
)
def test_words_that_documents_have_are_meant(retriever: Retriever, typed: str, meant: str) -> None:
    assert retriever.corrected(typed) == meant


@pytest.mark.parametrize(
    "typed",
    [
        "list a directory",
        "hidden files",  # the model knows the word
        "irectory",  # another first letter
        "dirctry",  # two edits
        "dire2tory direc_otry o'directry",  # numbers, identifiers and names
        "a@direcotry.com direcotry.txt /tmp/direcotry https://direcotry c:direcotry",
        "pid",  # too short to tell
        "zzzz",
        "压缩文件们",
        "",
        " ",
    ],
)
def test_other_words_stay(retriever: Retriever, typed: str) -> None:
    assert retriever.corrected(typed) == typed


@pytest.fixture(scope="module")
def accented(tmp_path_factory: pytest.TempPathFactory, random_model: Callable[..., TwoTower]) -> Path:
    """An index of two segments in several languages, whose model knows some of the words."""
    place = tmp_path_factory.mktemp("accents")
    known = [
        "éléphant",
        "coté",
        "côté",
        "répertoire",
        "größe",
        "ça",
        "l'exécution",
        "señor",
        "senior",
        "naive",
    ]
    random_model(CONFIG, texts=known).save(place / "model")
    texts = [
        "éléphant répertoire côté Größe ça và l'exécution",
        "côté coté für Straße REPERTORIO señor senior",
        "řešení příkladů, řádky a soubory",
        "Ångström smørrebrød søgning",
        "çok ışık cœur ёлка naïve l'état",
    ]
    lines = [json.dumps({"_id": str(number), "text": text}) for number, text in enumerate(texts)]
    (place / "corpus.jsonl").write_text("\n".join(lines))
    build(place / "corpus.jsonl", place / "model", place / "index")
    later = ["żółty élection", "Übergröße élection"]
    add_documents([Document(f"later {n}", "", text, {}) for n, text in enumerate(later)], place / "index")
    return place / "index"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("elephant", "éléphant"),  # the first letter
        ("Repertoire", "répertoire"),
        ("cote", "côté"),  # more documents have it than coté
        ("ca va", "ça và"),  # in two letters
        ("reseni prikladu", "řešení příkladů"),  # three accents; the model knows none of these
        ("radky", "řádky"),  # whose stem ends with i
        ("grosse groesse fuer fur", "grösse grösse für für"),
        ("strasse straße", "strasse straße"),  # is the same term
        ("repertório", "repertorio"),  # where documents have none
        ("angstrom aangstroem", "ångström ångström"),
        ("smorrebrod smoerrebroed sogning", "smørrebrød smørrebrød søgning"),
        ("cok isik coeur", "çok ışık cœur"),
        ("елка", "ёлка"),
        ("l'execution l’etat", "l'exécution l'état"),
        ("zolty election", "żółty élection"),  # of a later segment
        ("senor", "señor"),  # and not senior, which is one edit away
        ("ELEPHANT COTE", "éléphant côté"),
        ("ubergroesse", "übergrösse"),
        ("grösze", "grösse"),  # one edit, as ever
    ],
)
def test_a_word_without_accents_is_read_as_the_one_with_them(accented: Path, typed: str, meant: str) -> None:
    with Retriever.open(accented) as opened:
        assert opened.corrected(typed) == meant
        for mode in ("lexical", "hybrid"):
            found = [hit.id for hit in opened.search(typed, mode=mode)]  # type: ignore[arg-type]
            assert found == [hit.id for hit in opened.search(meant, mode=mode)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "typed",
    [
        "senior",  # documents have it
        "naive",  # the model knows it
        "elefant eleph4nt",  # two edits, and no word
        "un ELEPHANT",  # a name
        "elephant.txt /elephant el_ephant",
        "o'hara'execution",
        "e c",  # of one letter
        "stras" * 8,  # of more letters than words have
    ],
)
def test_words_with_other_letters_stay(accented: Path, typed: str) -> None:
    with Retriever.open(accented) as opened:
        assert opened.corrected(typed) == typed


def test_of_words_that_are_the_same_but_for_accents_the_most_frequent_is_meant(
    accented: Path, tmp_path: Path
) -> None:
    copytree(accented, tmp_path / "index")
    more = [Document(str(n), "", text, {}) for n, text in enumerate(["coté", "coté", "zółty", "zółty"])]
    add_documents([Document(f"more {each.id}", "", each.text, {}) for each in more], tmp_path / "index")
    with Retriever.open(tmp_path / "index") as opened:
        assert opened.corrected("cote zolty") == "coté zółty"
        delete(tmp_path / "index", [f"more {n}" for n in range(4)])
        opened.refresh()
        assert opened.corrected("cote zolty") == "coté żółty"  # deleted ones count until they are compacted
        delete(tmp_path / "index", ["0", "1"])
        opened.refresh()
        assert opened.corrected("cote elephant") == "cote elephant"


# Words that documents have with accents and without: with the first number of documents and the second.
BOTH = {
    ("fenêtre", "fenetre"): (3, 1),
    ("pêche", "peche"): (2, 1),  # not clearly more
    ("régime", "regime"): (3, 1),  # the model knows neither
    ("modèle", "modele"): (2, 1),
    ("l'état", "l'etat"): (3, 1),
    ("für", "fuer"): (3, 1),
    ("kız", "kiz"): (3, 1),
    ("ausdrücke", "ausdruck"): (3, 1),  # the first stem is ausdrück
    ("thé", "the"): (9, 3),
    ("naïve", ""): (1, 0),  # the model knows naive
    **{(f"sâ{letter}é", f"sa{letter}e"): (3, 1) for letter in "bcdfghjk"},
}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, random_model: Callable[..., TwoTower]) -> Path:
    """An index whose documents have words with accents and the same without."""
    place = tmp_path_factory.mktemp("both")
    random_model(CONFIG, texts=["fenêtre fenetre pêche peche naive kız ausdruck"]).save(place / "model")
    texts = ["éléphant montagne", "größe", "ışık", "côté"]
    for words, counts in BOTH.items():
        texts += [word for word, count in zip(words, counts, strict=True) for _ in range(count)]
    lines = [json.dumps({"_id": str(number), "text": text}) for number, text in enumerate(texts)]
    (place / "corpus.jsonl").write_text("\n".join(lines))
    build(place / "corpus.jsonl", place / "model", place / "index")
    return place / "index"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("elephant fenetre", "éléphant fenêtre"),
        ("Fenetre, elephant", "fenêtre, éléphant"),
        ("elephant peche modele", "éléphant peche modele"),
        ("regime elephant regime", "régime éléphant régime"),
        ("elephant l'etat", "éléphant l'état"),
        ("groesse fuer", "grösse für"),
        ("isik kiz", "ışık kız"),
        ("elephant naive", "éléphant naïve"),
        ("elephant ausdruck", "éléphant ausdruck"),
        ("elephant the fenetre", "éléphant the fenêtre"),  # a stop word, which is no term
        ("ELEPHANT FENETRE", "éléphant fenêtre"),
        ("elephant FENETRE", "éléphant FENETRE"),  # a name
        ("elephant fenetre.txt", "éléphant fenetre.txt"),
    ],
)
def test_whoever_types_one_word_without_accents_types_all_so(both: Path, typed: str, meant: str) -> None:
    with Retriever.open(both) as opened:
        for _ in range(2):
            assert opened.corrected(typed) == meant
        assert opened.search(typed, mode="lexical") == opened.search(meant, mode="lexical", as_typed=True)


@pytest.mark.parametrize(
    "typed",
    [
        "fenetre regime l'etat fuer kiz",  # documents have all words
        "éléphant fenetre",  # with accents
        "the",
        "",
    ],
)
def test_words_without_accents_stay_beside_no_other(both: Path, typed: str) -> None:
    with Retriever.open(both) as opened:
        assert opened.corrected(typed) == typed
        assert opened.corrected("elephant fenetre") == "éléphant fenêtre"
        assert opened.corrected(typed) == typed  # also if its words were read otherwise before


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("eléphant fenetre", "éléphant fenetre"),  # one accent was typed
        ("montange fenetre", "montagne fenetre"),  # another mistake
        ("cotè fenetre", "côté fenetre"),
    ],
)
def test_other_mistakes_are_no_sign_that_accents_are_left_out(both: Path, typed: str, meant: str) -> None:
    with Retriever.open(both) as opened:
        assert opened.corrected(typed) == meant


def test_only_so_many_known_words_are_looked_up_for_accents(both: Path) -> None:
    plain = [f"sa{letter}e" for letter in "bcdfghjk"]
    accented = [f"sâ{letter}é" for letter in "bcdfghjk"]
    with Retriever.open(both) as opened:
        assert opened.corrected(" ".join(["elephant", *plain, *plain, "fenetre", "sabe"])) == " ".join(
            ["éléphant", *accented, *accented, "fenetre", "sâbé"]
        )


def test_words_with_accents_that_only_deleted_documents_have_are_not_meant(
    both: Path, tmp_path: Path
) -> None:
    copytree(both, tmp_path / "index")
    with Retriever.open(tmp_path / "index") as opened:
        found = [hit.id for hit in opened.search("fenêtre", mode="lexical")]
        assert len(found) == 3
        assert opened.corrected("elephant fenetre regime") == "éléphant fenêtre régime"
        delete(tmp_path / "index", found)
        opened.refresh()
        assert opened.corrected("elephant fenetre regime") == "éléphant fenetre régime"


@pytest.fixture(scope="module")
def chinese(tmp_path_factory: pytest.TempPathFactory, random_model: Callable[..., TwoTower]) -> Path:
    """An index of Chinese documents, in two segments."""
    place = tmp_path_factory.mktemp("chinese")
    random_model(CONFIG, texts=["压缩"]).save(place / "model")
    texts = ["将意图转换为地址", "压缩指定的文件夹", "撤销应用权限", "启动一个指定的活动"] * 40
    lines = [json.dumps({"_id": str(number), "text": text}) for number, text in enumerate(texts)]
    (place / "corpus.jsonl").write_text("\n".join(lines))
    build(place / "corpus.jsonl", place / "model", place / "index")
    add_documents([Document("later", "", "列出文件", {})], place / "index")
    return place / "index"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("将意图专换为地址", "将意图转换为地址"),
        ("启动活动,压缩纸定的文件夹", "启动活动,压缩指定的文件夹"),
        ("將意圖轉換爲地址", "将意图转换为地址"),
        ("把意图专换为地址 xyz", "把意图转换为地址 xyz"),  # 把意 is no reason to read 把 otherwise
        ("撤消应用全线", "撤销应用权限"),  # two neighbours
        ("压缩 direcotry 纸定", "压缩 direcotry 指定"),
    ],
)
def test_a_character_is_read_as_the_one_that_is_meant(chinese: Path, typed: str, meant: str) -> None:
    with Retriever.open(chinese) as opened:
        assert opened.corrected(typed) == meant
        assert [hit.id for hit in opened.search(typed)] == [hit.id for hit in opened.search(meant)]
        assert opened.search(typed, mode="lexical", as_typed=True) != opened.search(typed, mode="lexical")


@pytest.mark.parametrize(
    "typed",
    [
        "将意图转换为地址",
        "将意图飞换为地址",  # sounds otherwise
        "将意图专换为地址のファイル",  # Japanese
        "将意图专换为地址 한국어",
        "专" * 3,  # a pair that no document has, and nothing to read it as
        "天地玄黄宇宙洪荒日月",  # too many pairs that no document has
        "将意图专换为地址" + "压缩指定的文件夹" * 31 + ".",  # too long for a query
    ],
)
def test_other_characters_stay(chinese: Path, typed: str) -> None:
    with Retriever.open(chinese) as opened:
        assert opened.corrected(typed) == typed


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("list a di rectory now", "list a directory now"),
        ("fol der, com press", "folder, compress"),
        ("Di Rectory di rectory", "directory directory"),
        ("di di rectory rectory", "di directory rectory"),
        ("dire ctory", "directory"),  # and not each part by itself
        ("di  rectory", "di  rectory"),
        ("di, rectory", "di, rectory"),
        ("di rectory.txt", "di rectory.txt"),
        ("hid den", "hid den"),  # no document has it
        ("ku bernetes", "ku bernetes"),  # the model does not know it
        ("list copy", "list copy"),
        ("di rectory" + " files" * 50, "di rectory" + " files" * 50),  # too long for a query
    ],
)
def test_a_space_within_a_word_is_left_out(retriever: Retriever, typed: str, meant: str) -> None:
    assert retriever.corrected(typed) == meant


def test_two_words_that_documents_have_are_not_read_as_one(index: Path, tmp_path: Path) -> None:
    copytree(index, tmp_path / "index")
    add_documents([Document("parts", "", "di rectory", {})], tmp_path / "index")
    with Retriever.open(tmp_path / "index") as opened:
        assert opened.corrected("di rectory") == "di rectory"
        delete(tmp_path / "index", ["parts"])
        opened.refresh()
        assert opened.corrected("di rectory") == "directory"


def test_only_so_many_words_of_a_query_are_looked_up(retriever: Retriever) -> None:
    typed = [f"direct{letter}ory" for letter in "abcdefghij"]
    assert retriever.corrected(" ".join(typed)).split() == ["directory"] * 8 + typed[8:]


def test_a_word_that_comes_again_is_looked_up_once(retriever: Retriever) -> None:
    assert retriever.corrected("direcotry " * 10) == "directory " * 10


def test_a_word_in_quotes_is_corrected(retriever: Retriever) -> None:
    typed = "'direcotry' ‘direcotry’ \"direcotry\""
    assert retriever.corrected(typed) == typed.replace("direcotry", "directory")


def test_a_word_is_meant_whose_stem_has_another_stem(index: Path, tmp_path: Path) -> None:
    """The stem of "database" is "databas", and the stem of that is "databa"."""
    copytree(index, tmp_path / "index")
    add_documents([Document("base", "", "Databases of a database", {})], tmp_path / "index")
    with Retriever.open(tmp_path / "index") as opened:
        assert opened.corrected("databse datab") == "databases databases"


def test_a_generation_that_is_searched_no_more_is_let_go(index: Path, tmp_path: Path) -> None:
    """Until the garbage was collected, its files would fill the disk although they are removed."""
    copytree(index, tmp_path / "index")
    with Retriever.open(tmp_path / "index") as opened:
        assert opened.corrected("direcotry") == "directory"
        old = ref(opened.index)
        add_documents([Document("new", "", "new", {})], tmp_path / "index")
        gc.disable()
        try:
            assert opened.refresh() and old() is None
        finally:
            gc.enable()


def test_a_search_reads_the_corrected_query_unless_told_not_to(retriever: Retriever) -> None:
    typed, meant = "direcotry kuberentes", "directory kubernetes"
    for mode in ("dense", "lexical", "hybrid"):
        assert retriever.search(typed, mode=mode) == retriever.search(meant, mode=mode)  # type: ignore[arg-type]
        assert (
            retriever.rank([typed], 5, mode).rows.tolist() == retriever.rank([meant], 5, mode).rows.tolist()
        )  # type: ignore[arg-type]
    assert {hit.id for hit in retriever.search(typed, mode="lexical")} == {"list", "copy", "kube"}
    assert retriever.search(typed, mode="lexical", as_typed=True) == []
    assert retriever.rank([typed], 5, "lexical", as_typed=True).rows.max() == -1


def test_an_answer_tells_what_was_searched_for(retriever: Retriever) -> None:
    found = answer_json(answer(retriever, "direcotry", Request(mode="lexical")))
    assert (found["query"], found["corrected"]) == ("direcotry", "directory")
    assert {hit["id"] for hit in found["hits"]} == {"list", "copy"}
    for query, request in (("directory", Request()), ("direcotry", Request(as_typed=True))):
        assert "corrected" not in answer_json(answer(retriever, query, request))


def test_the_command_tells_and_can_be_told(index: Path) -> None:
    def printed(*options: str) -> str:
        arguments = ["search", str(index), "--mode", "lexical", *options, "list direcotry"]
        found = CliRunner().invoke(verbs, arguments)
        assert found.exit_code == 0, found.output
        return found.stdout

    told = printed().splitlines()
    assert told[0].startswith("list direcotry") and told[1].startswith("searched for list directory")
    assert "copy" in printed() and "searched for" not in printed("--as-typed")
    assert "copy" not in printed("--as-typed")
    assert json.loads(printed("--json"))["corrected"] == "list directory"


def test_a_word_that_only_deleted_documents_had_is_not_meant(
    tmp_path: Path, random_model: Callable[..., TwoTower]
) -> None:
    """Its postings stay until the index is compacted, but nothing is found by it."""
    random_model(CONFIG, texts=["folder tigers"]).save(tmp_path / "model")
    texts = ["zebras tigers tigers", "folder", "lions"]
    lines = [json.dumps({"_id": str(n), "text": text}) for n, text in enumerate(texts)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    build(tmp_path / "corpus.jsonl", tmp_path / "model", tmp_path / "index")
    with Retriever.open(tmp_path / "index") as opened:
        assert opened.corrected("zebars tigres") == "zebras tigers"
        delete(tmp_path / "index", ["0"])
        assert opened.refresh()
        assert opened.corrected("zebars tigres") == "zebars tigres"


def test_a_word_that_only_deleted_documents_have_is_unknown(
    tmp_path: Path, random_model: Callable[..., TwoTower]
) -> None:
    """Somebody misspelt it in a document, too; and in more of them than are looked at first."""
    random_model(CONFIG, texts=["tigers"]).save(tmp_path / "model")
    texts = ["zebras", *["zebars tigers"] * 70, "zebars lions"]
    lines = [json.dumps({"_id": str(n), "text": text}) for n, text in enumerate(texts)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    build(tmp_path / "corpus.jsonl", tmp_path / "model", tmp_path / "index")
    with Retriever.open(tmp_path / "index") as opened:

        def read(query: str) -> str:
            opened.refresh()
            return opened.corrected(query)

        delete(tmp_path / "index", [str(n) for n in range(1, 71)])
        assert read("zebars") == "zebars"
        assert read("zebars tigers") == "zebars tigers"
        delete(tmp_path / "index", ["71"])
        assert read("zebars") == "zebras"
        assert {hit.id for hit in opened.search("zebars", mode="lexical")} == {"0"}
        assert read("lions") == "lions"  # nothing is similar
        add_documents([Document("new", "", "zebars", {})], tmp_path / "index")
        assert read("zebars") == "zebars"


def test_pairs_that_only_deleted_documents_have_are_unknown_and_nothing_is_read_as_one(
    tmp_path: Path, random_model: Callable[..., TwoTower]
) -> None:
    random_model(CONFIG, texts=["压缩"]).save(tmp_path / "model")
    texts = [*["意图转换为地址"] * 80, "意图专换为地址", *["启动活动"] * 3]
    lines = [json.dumps({"_id": str(n), "text": text}) for n, text in enumerate(texts)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    build(tmp_path / "corpus.jsonl", tmp_path / "model", tmp_path / "index")
    with Retriever.open(tmp_path / "index") as opened:
        assert opened.corrected("意图专换为地址") == "意图专换为地址"
        delete(tmp_path / "index", ["80"])
        opened.refresh()
        assert opened.corrected("意图专换为地址") == "意图转换为地址"
        delete(tmp_path / "index", [str(n) for n in range(80)])
        opened.refresh()
        assert opened.corrected("意图专换为地址") == "意图专换为地址"
        assert opened.corrected("意图钻换") == "意图钻换"


def test_a_damaged_vocabulary_is_told(tmp_path: Path, random_model: Callable[..., TwoTower]) -> None:
    random_model(CONFIG, texts=KNOWN).save(tmp_path / "model")
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "directory"}\n{"_id": "b", "text": "files"}')
    table = tmp_path / "model" / FILES.table
    arrays = {name: np.array(array) for name, array in read_weights(table).items()}
    arrays["words"][1] = 255  # in no UTF-8
    write_weights(table, arrays)
    build(tmp_path / "corpus.jsonl", tmp_path / "model", tmp_path / "index")
    with Retriever.open(tmp_path / "index") as opened:
        assert opened.corrected("directory") == "directory"
        with pytest.raises(CorruptError, match="model: damaged"):
            opened.corrected("compre")
