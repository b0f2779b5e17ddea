"""The search page: its headers, and in Chromium what a reader sees and does."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_plus

import pytest

from benchmarks.browser import Browser, Page, browser, chromium, serving
from index.documents.store import Document
from retrieval.data.clicks.recorded import Clicked, Event, Shown, events
from retrieval.data.clicks.rotation import opened
from retrieval.indexing.build import add_documents

PAGE = Path(__file__).parents[3] / "retrieval" / "serving" / "page"
GOLDEN = Path(__file__).parents[2] / "golden" / "index-2"
HITS = "document.querySelectorAll('#hits > li').length"
TITLES = "[...document.querySelectorAll('#hits .title')].map((each) => each.textContent)"
COUNT = "document.getElementById('count').textContent"
VALUE = "document.getElementById('query').value"

HOSTILE = Document(
    "<b>id</b>",
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "okapi <img src=http://evil.example/x onerror=alert(3)>"
    " \x1b[31mred \u202eesrever\u202c <svg onload=alert(4)>",
    {"url": "javascript:alert(5)", "note": '"><script src=//evil.example></script>', "colour": "<i>red</i>"},
)
ZEBRAS = [
    Document(
        f"zebra/{n}",
        f"Zebra {n}",
        f"a zebra with {n} stripes",
        {"colour": ["grey", "white's"][n % 2], "size": 3 - n % 3, "shelf": f"{n % 6} " + "long " * 50},
    )
    for n in range(1, 13)
]
HEBREW = Document("hebrew", "Docker: התקנה מהירה", "Docker דורש התקנה של מנוע המכלים", {})
LONG = Document("long", "A giraffe " + "withoutanyblank" * 30, "giraffe " + "neck" * 200, {"价格(元)": 5})


def test_the_page_may_load_only_what_is_its_own(run):
    async def scenario(served):
        for path in ("/", "/page/page.css", "/page/main.js", "/page/icon.svg"):
            got = await served.client.get(path)
            assert got.status_code == 200 and got.headers["x-content-type-options"] == "nosniff"
            policy = got.headers["content-security-policy"].split("; ")
            assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy)
            assert "unsafe" not in str(policy) and got.headers["referrer-policy"] == "no-referrer"

    run(scenario)


def test_a_file_that_did_not_change_is_not_sent_again(run):
    async def scenario(served):
        first = await served.client.get("/page/main.js")
        tag = first.headers["etag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = await served.client.get("/page/main.js", headers={"If-None-Match": known})
            assert again.status_code == 304 and not again.content and again.headers["etag"] == tag
        other = await served.client.get("/page/main.js", headers={"If-None-Match": '"other"'})
        assert other.status_code == 200 and other.content == first.content

    run(scenario)


@pytest.mark.parametrize("path", ["/page/", "/page/index.html", "/page/../app.py", "/page/%2e%2e/app.py"])
def test_no_other_file_can_be_asked_for(run, path):
    async def scenario(served):
        assert (await served.client.get(path)).status_code == 404

    run(scenario)


def test_text_never_becomes_markup_and_no_other_host_is_named():
    for file in PAGE.iterdir():
        text = file.read_text("utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|Function\(", text
        ), file
        hosts = set(re.findall(r"https?://[\w.]+", text)) - {"http://www.w3.org"}
        assert not hosts, file


# ---- In Chromium


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "index"
    shutil.copytree(GOLDEN, folder)
    add_documents([HOSTILE, HEBREW, LONG, *ZEBRAS], folder)
    return folder


@pytest.fixture(scope="module")
def address(page_folder: Path) -> Iterator[str]:
    with serving(page_folder) as (_, address):
        yield address


@pytest.fixture(scope="module")
def running() -> Iterator[Browser]:
    if chromium() is None:
        pytest.skip("Chromium is not installed")
    pytest.importorskip("websockets")
    with browser() as running:
        yield running


@pytest.fixture
def page(running: Browser, address: str) -> Iterator[Page]:
    """The search page, ready, with the focus in its field. No script of it may fail."""
    with running.page() as page:
        page.size(1100, 800)
        ready(page, address)
        yield page
        assert page.complaints() == []


def ready(page: Page, address: str) -> None:
    page.open(address)
    page.until("document.getElementById('facets').childElementCount > 0")


def searches(page: Page) -> list[str]:
    """The queries that were sent, in order."""
    found = (re.search(r"/search\?q=([^&]*)", url) for url in page.requested())
    return [unquote_plus(each[1]) for each in found if each]


def focused(page: Page) -> str:
    return str(page.run("document.activeElement.id || document.activeElement.textContent"))


def test_typing_shows_hits_with_the_words_marked(page):
    page.write("zebra stripes")
    page.until(f"{HITS} === 10")
    marked = page.run("[...document.querySelectorAll('#hits mark')].map((each) => each.textContent)")
    assert {"zebra", "stripes"} <= set(marked)
    scores = page.run("[...document.querySelectorAll('.score')].map((each) => each.lastChild.textContent)")
    assert scores == sorted(scores, reverse=True) and re.fullmatch(r"\d\.\d{3}", scores[0])
    assert page.run(COUNT) == "10 results, more below"


def test_a_misspelt_word_is_corrected_and_told(page):
    told = "document.getElementById('corrected')"
    page.write("zebar")
    page.until(f"{HITS} === 10")
    assert page.run(f"{told}.hidden")  # until nobody types any more
    page.until(f"!{told}.hidden")
    assert page.run(f"{told}.querySelector('b').textContent") == "zebra"
    page.run(f"{told}.querySelector('button').click()")
    page.until(f"{told}.hidden")
    assert page.run(VALUE) == "zebar" and "typed=1" in page.run("location.search")
    page.write("s")
    page.until(f"!{told}.hidden")
    assert "typed=1" not in page.run("location.search")


def test_an_explanation_is_of_the_query_as_it_was_searched_for(page):
    of_query = "document.querySelector('.why:not([hidden]) .shaded')?.textContent"
    page.write("zebar stripes")
    page.until(f"{HITS} === 10")
    page.run("document.querySelector('.title').click()")
    page.until(f"{of_query} === 'zebra stripes'")
    page.until("!document.getElementById('corrected').hidden")
    page.run("document.querySelector('#corrected button').click()")
    page.until("document.getElementById('corrected').hidden && !document.querySelector('.why:not([hidden])')")
    page.run("document.querySelector('.title').click()")
    page.until(f"{of_query} === 'zebar stripes'")


def test_new_hits_are_shown_from_the_first(page):
    page.write("zebra")
    page.until(f"{HITS} === 10")
    page.run("scrollTo(0, 500)")
    page.until("scrollY > 300")
    page.write(" stripes")
    page.until("scrollY === 0")


def test_letters_typed_in_a_row_are_one_search(page):
    for letter in "zebra":
        page.write(letter)
    page.until(f"{HITS} > 0")
    assert searches(page)[-1] == "zebra" and len(searches(page)) < 5


def test_text_runs_in_the_direction_of_most_of_its_letters(page):
    page.write("docker")
    page.until(f"{TITLES}[0]?.startsWith('Docker')")
    for part in (".title", ".snippet"):
        assert page.run(f"document.querySelector('#hits > li {part}').dir") == "rtl"
    page.write(" zebra")
    page.until(f"{TITLES}.some((each) => each.startsWith('Zebra'))")
    titles = "[...document.querySelectorAll('#hits .title')]"
    found = page.run(f"{titles}.map((each) => [each.textContent.slice(0, 5), each.dir])")
    assert {direction for start, direction in found if start == "Zebra"} == {"ltr"}


def test_chinese_hits_say_that_they_are_chinese(page):
    page.write("启动")
    page.until(f"{TITLES}[0] === '启动服务'")
    assert page.run("document.querySelector('#hits .title').lang") == "zh"
    assert page.run("document.querySelector('#hits .snippet').lang") == "zh"
    texts = ["RTX4090 显卡", "ファイルを開く", "파일 열기", "list files 列", "123"]
    told = f"{json.dumps(texts)}.map((each) => languageOf(each) ?? '')"
    languages = page.run(f"import('/page/view.js').then(({{ languageOf }}) => {told})")
    assert languages == ["zh", "ja", "ko", "", ""]


def test_a_title_is_in_the_language_of_its_text(page):
    hit = {"title": "会社概要", "snippet": [{"text": "この会社について", "marked": False}]}
    rest = {"id": "a", "rank": 1, "score": 1, "probability": None}
    told = f"hitOf({json.dumps(hit | rest)}).querySelector('.title').lang"
    assert page.run(f"import('/page/view.js').then(({{ hitOf }}) => {told})") == "ja"


def test_the_language_of_a_long_text_is_that_of_its_beginning(page):
    told = "languageOf('list files '.repeat(1000) + '启动服务'.repeat(100000)) ?? ''"
    assert page.run(f"import('/page/view.js').then(({{ languageOf }}) => {told})") == ""


def test_text_of_a_stranger_is_shown_and_never_run(page, address):
    page.write("okapi")
    page.until(f"{TITLES}[0]?.startsWith('<script>')")
    assert page.run(f"{TITLES}[0]") == HOSTILE.title
    page.press("ArrowDown", "Enter")
    page.until("document.querySelector('.why dl')")
    shown = page.run("document.querySelector('#hits > li').textContent")
    for part in ("<b>id</b>", "<svg onload=alert(4)>", "javascript:alert(5)", "<script src=//evil.example>"):
        assert part in shown
    assert (
        page.run("document.querySelectorAll('main script, main img, main svg, main a, main i').length") == 0
    )
    assert "<i>red</i>" in page.run("document.getElementById('facets').textContent")
    assert all(url.startswith(address) for url in page.requested())
    assert page.run("document.querySelectorAll('script').length") == 1


def test_nothing_is_searched_in_the_middle_of_a_composition(page):
    page.call("Input.imeSetComposition", text="qi", selectionStart=2, selectionEnd=2)
    page.until(f"{VALUE} === 'qi'")
    page.press("Enter")
    time.sleep(0.3)  # longer than the page waits for the next letter
    assert searches(page) == [] and page.run(HITS) == 0
    page.write("启动")
    page.until(f"{HITS} > 0")
    assert searches(page) == ["启动"] and page.run(f"{TITLES}[0]") == "启动服务"


def test_the_keyboard_alone_is_enough(page):
    page.write("zebra")
    page.until(f"{HITS} === 10")
    page.press("ArrowDown")
    assert focused(page) == page.run(f"{TITLES}[0]")
    page.press("ArrowDown", "ArrowDown", "ArrowUp")
    assert focused(page) == page.run(f"{TITLES}[1]")
    page.press("Enter")
    page.until("document.querySelectorAll('.why:not([hidden])').length === 1")
    page.press("Escape")
    assert page.run("document.querySelectorAll('.why:not([hidden])').length") == 0
    assert focused(page) == page.run(f"{TITLES}[1]")
    page.press("/")
    assert focused(page) == "query" and page.run(VALUE) == "zebra"
    page.press("Escape")
    page.until(f"{HITS} === 0")
    assert page.run(VALUE) == "" and focused(page) == "query"


def test_the_tabulator_reaches_the_hits_before_the_filters(page):
    page.write("zebra")
    page.until(f"{HITS} === 10")
    page.press("Tab")
    assert focused(page) == page.run(f"{TITLES}[0]")
    page.size(390, 700)  # where the filters stand above the hits, folded
    top = "document.querySelector('{}').getBoundingClientRect().top"
    assert page.run(top.format("#filters")) < page.run(top.format("#count"))


def test_the_next_page_follows_the_first(page, address):
    page.write("zebra")
    page.until(f"{HITS} === 10")
    first = page.run(TITLES)
    page.run("document.getElementById('more').click()")
    page.until(f"{HITS} === 20")
    titles = page.run(TITLES)
    assert titles[:10] == first and len(set(titles)) == 20
    assert focused(page) == titles[10] and "n=20" in page.run("location.search")
    page.open(page.run("location.href"))
    page.until(f"{HITS} === 20")
    assert page.run(TITLES) == titles


def test_the_back_button_brings_the_last_query_and_its_hits_back(page):
    page.write("zebra")
    page.press("Enter")
    page.until(f"{HITS} === 10")
    titles = page.run(TITLES)
    page.run("document.getElementById('query').select()")
    page.write("systemctl")
    page.until(f"{TITLES}[0] === '启动服务'")
    assert page.run("new URLSearchParams(location.search).get('q')") == "systemctl"
    page.run("history.back()")
    page.until(f"{TITLES}.join() === {titles!r}.join()")
    assert page.run(VALUE) == "zebra" and page.run("document.title") == "zebra – Peephole"
    page.run("history.back()")
    page.until(f"{HITS} === 0 && {VALUE} === ''")


def test_a_filter_leaves_the_hits_that_have_one_of_its_values(page):
    page.write("zebra")
    page.until(f"{HITS} === 10")
    box = "document.querySelector('input[value=\"white\\'s\"]')"
    assert page.run(f"{box}.closest('label').textContent") == "white's6"
    page.run(f"{box}.focus(), {box}.click()")
    page.until(f"{HITS} === 6")
    assert all(int(title.split()[1]) % 2 for title in page.run(TITLES))
    assert page.run("new URLSearchParams(location.search).getAll('f.colour')") == ["white's"]
    assert page.run(f"document.activeElement === {box} && {box}.checked")
    page.run("document.querySelector('input[value=grey]').click()")
    page.until(f"{HITS} === 10 && !document.getElementById('more').hidden")
    page.run("history.back()")
    page.until(f"{HITS} === 6")
    page.run("document.getElementById('clear').click()")
    page.until(f"{HITS} === 10 && !{box}.checked")


def test_a_field_with_signs_in_its_name_can_be_chosen(page):
    asked = """search("giraffe", false, new Map([["价格(元)", new Set(["5"])]]), "", [], 0, 10, false)"""
    hits = page.run(f"import('/page/api.js').then(({{ search }}) => {asked}).then((answer) => answer.hits)")
    assert [hit["id"] for hit in hits] == ["long"]


def test_values_that_are_numbers_stand_in_order(page):
    boxes = page.run("[...document.querySelectorAll('[data-field=size]')].map((each) => each.value)")
    assert boxes == ["1", "2", "3"]


def test_an_explanation_shades_words_by_their_shares(page):
    page.write("zebra stripes")
    page.until(f"{HITS} > 0")
    page.run("document.querySelector('.title').click()")
    page.until("document.querySelector('.why:not([hidden]) .shaded')")
    lines = page.run("[...document.querySelectorAll('.shaded')].map((each) => each.textContent)")
    title = page.run(f"{TITLES}[0]")
    assert lines == ["zebra stripes", f"{title} a zebra with {title.split()[1]} stripes"]
    shares = page.run(
        "[...document.querySelectorAll('.for')].map((e) => e.style.getPropertyValue('--share'))"
    )
    assert "100%" in shares
    assert "colour" in page.run("document.querySelector('.why dl').textContent")
    assert page.run("document.querySelector('.title').getAttribute('aria-expanded')") == "true"


SHADED = """
import("/page/why.js").then(({{ explanationOf }}) => {{
  const query = {{ text: "q", words: [{{ word: "q", share: 1 }}] }};
  const read = {{ text: {text}, words: {words}, passage: null }};
  const explained = {{ query, document: read, cosine: 0.5, exact: false, pairs: [] }};
  const parts = explanationOf(explained, {{ metadata: {{}} }});
  const line = parts[2].querySelector(".shaded");
  return [line.textContent, [...line.children].map((each) => `${{each.className}} ${{each.textContent}}`)];
}})
"""


@pytest.mark.parametrize(
    ("text", "words", "shown", "shaded"),
    [
        ("Copy a FILE", {"copy": 1, "a": 0, "file": -0.5}, "Copy a FILE", ["for Copy", "against FILE"]),
        ("复制目录", {"复制": 1, "制目": 0.2, "目录": 0.5}, "复制目录", ["for 复制", "for 目录"]),
        ("去𠮷野家", {"去𠮷": 0, "𠮷野": 1, "野家": 0, "家": 0}, "去𠮷野家", ["for 𠮷野"]),
        ("ＲＴＸ４０９０显卡", {"rtx4090": 1}, "ＲＴＸ４０９０显卡", ["for ＲＴＸ４０９０"]),
        ("İstanbul", {"i̇stanbul": 1}, "i̇stanbul ", ["for i̇stanbul"]),  # longer in lower case
        ("zebra " + "x" * 200, {"zebra": 1}, "zebra … (read no further)", ["for zebra"]),
    ],
)
def test_words_are_shaded_where_they_stand(page, text, words, shown, shaded):
    shares = [{"word": word, "share": share} for word, share in words.items()]
    script = SHADED.format(text=json.dumps(text), words=json.dumps(shares))
    assert page.run(script) == [shown, shaded]


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_never_scrolls_sideways(page, width):
    page.size(width, 700)
    for query in ("giraffe", "okapi", "zebra"):
        page.run("document.getElementById('query').select()")
        page.write(query)
        page.until(f"document.querySelector('#hits mark')?.textContent === '{query}'")
        page.run("document.querySelector('.title').click()")
        page.until("document.querySelector('.why:not([hidden]) .shaded')")
        page.run("document.getElementById('filters').open = true")
        assert page.run("document.documentElement.scrollWidth") <= width


# The contrast of a text with what is painted behind it (WCAG 2.2); a canvas reads any form of colour.
CONTRAST = """
(() => {
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const paint = (colour) => { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); };
  const light = () => {
    const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map((each) => {
      const part = each / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (element) => {
    const around = [];
    for (let at = element; at; at = at.parentElement) around.unshift(at);
    for (const each of around) paint(getComputedStyle(each).backgroundColor);
    const behind = light();
    paint(getComputedStyle(element).color);
    const [low, high] = [behind, light()].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const texts = [...document.body.querySelectorAll("*")].filter((each) =>
    each.checkVisibility() && [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  return texts.map((each) => [`${each.localName}.${each.className}#${each.id}`, contrast(each)]);
})()
"""


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_has_the_contrast_that_wcag_asks_for(page, address, dark):
    page.dark(dark)
    found = dict(page.run(CONTRAST))  # the page before a search
    page.write("zebra stripes")
    page.until(f"{HITS} > 0")
    page.run("document.querySelector('.title').click()")
    page.until("document.querySelector('.why:not([hidden]) .shaded')")
    page.run("document.getElementById('problem').hidden = false")
    page.run("document.getElementById('problem').firstElementChild.textContent = 'gone'")
    page.run("document.querySelector('.title').blur()")
    found |= dict(page.run(CONTRAST))
    assert {"mark.#", "span.for#", "p.#", "button.#more"} <= set(found)
    assert {name: ratio for name, ratio in found.items() if ratio < 4.5} == {}
    page_colour = page.run("getComputedStyle(document.body).backgroundColor")
    assert (page_colour == "rgb(21, 23, 26)") == dark


SLOW_FETCH = """
const ask = window.fetch;
window.fetch = async (address) => {
  const answer = await ask(address);
  if (String(address).includes("q=systemctl")) await new Promise((done) => setTimeout(done, 400));
  return answer;
};
"""


def test_an_old_answer_never_replaces_a_newer_one(page, address):
    # This fetch cannot be aborted, and the first answer comes last.
    page.call("Page.addScriptToEvaluateOnNewDocument", source=SLOW_FETCH)
    ready(page, address)
    page.write("systemctl")
    page.until("performance.getEntriesByType('resource').some((each) => each.name.includes('q=systemctl'))")
    page.run("document.getElementById('query').select()")
    page.write("zebra")
    page.until(f"{HITS} === 10 && {TITLES}[0].startsWith('Zebra')")
    time.sleep(0.6)
    assert page.run(f"{TITLES}[0]").startswith("Zebra")


NEVER_FETCH = """
const ask = window.fetch;
window.fetch = (address, ...rest) => {
  if (String(address).startsWith("search")) return new Promise((done, fail) => { window.end = fail; });
  return ask(address, ...rest);
};
"""


def test_a_first_answer_that_takes_long_is_waited_for_in_words(page, address):
    page.call("Page.addScriptToEvaluateOnNewDocument", source=NEVER_FETCH)
    ready(page, address)
    page.write("zebra")
    page.until(f"{COUNT} === 'Searching …'")
    assert page.run("document.getElementById('empty').hidden")
    page.run("end(new TypeError('gone'))")
    page.until("!document.getElementById('problem').hidden")
    assert page.run(COUNT) == ""


TOLD = """
window.told = [];
new MutationObserver(() => told.push(document.getElementById('count').textContent))
  .observe(document.getElementById('count'), { childList: true, characterData: true, subtree: true });
"""


def test_every_answer_is_told_also_when_there_are_as_many_results_again(page):
    page.run(TOLD)
    page.write("zebra")
    page.until(f"{HITS} === 10")
    page.run("document.getElementById('query').select()")
    page.write("docker")
    page.until(f"{TITLES}[0]?.startsWith('Docker')")
    page.until("told.length === 2")
    first, second = page.run("told")
    assert first != second and first == second.strip() == "10 results, more below"


def test_trying_again_tells_the_same_problem_again_and_leaves_the_focus_in_the_field(page):
    page.run("window.ask = window.fetch; window.fetch = () => Promise.reject(new TypeError('gone')); 0")
    page.write("zebra")
    page.until("!document.getElementById('problem').hidden")
    page.run(
        "window.shown = 0; const box = document.getElementById('problem');"
        "new MutationObserver(() => { shown += !box.hidden; }).observe(box, { attributes: true }); 0"
    )
    again = "{ const button = document.querySelector('#problem button'); button.focus(); button.click(); }"
    page.run(again)
    page.until("shown === 1")
    page.run(f"window.fetch = window.ask; {again}")
    page.until(f"{HITS} === 10 && document.getElementById('problem').hidden")
    assert focused(page) == "query"


FIELDS_LATER = """
const ask = window.fetch;
window.fetch = async (address, ...rest) => {
  if (String(address).startsWith("fields") && !window.fields) {
    await new Promise((done) => { window.release = done; });
    window.fields = true;
    throw new TypeError("gone");
  }
  return ask(address, ...rest);
};
"""


def test_hits_do_not_wait_for_filters_and_filters_that_failed_come_with_the_next_answer(page, address):
    page.call("Page.addScriptToEvaluateOnNewDocument", source=FIELDS_LATER)
    page.open(f"{address}?q=zebra")
    page.until(f"{HITS} === 10")
    assert page.run("document.getElementById('filters').hidden")
    page.run("release()")
    page.write(" stripes")
    page.until("document.getElementById('facets').childElementCount > 0")
    assert page.run("document.getElementById('problem').hidden")


SLOW_EXPLAIN = """
const ask = window.fetch;
window.fetch = async (address, ...rest) => {
  if (String(address).startsWith("explain")) await new Promise((done) => { window.release = done; });
  return ask(address, ...rest);
};
"""


def test_an_explanation_that_takes_long_is_waited_for_in_words(page, address):
    page.call("Page.addScriptToEvaluateOnNewDocument", source=SLOW_EXPLAIN)
    ready(page, address)
    page.write("zebra")
    page.until(f"{HITS} === 10")
    page.run("document.querySelector('.title').click()")
    page.until("document.querySelector('.why:not([hidden])')?.textContent === 'Explaining …'")
    page.run("release()")
    page.until("document.querySelector('.why:not([hidden]) .shaded')")


def test_an_explanation_longer_than_its_box_is_scrolled_by_keys_and_printed_in_full(page):
    page.size(390, 700)
    page.write("giraffe")
    page.until(f"{TITLES}[0]?.startsWith('A giraffe')")
    page.run("document.querySelector('.title').click()")
    page.until("document.querySelector('.why:not([hidden]) .shaded')")
    query, text = page.run("[...document.querySelectorAll('.shaded')].map((each) => each.tabIndex)")
    assert (query, text) == (-1, 0)
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.run(
        "[...document.querySelectorAll('.shaded')].every((e) => e.scrollHeight <= e.clientHeight)"
    )


def test_an_explanation_runs_in_the_direction_of_most_of_its_letters(page):
    page.write("docker התקנה")
    page.until(f"{TITLES}[0]?.startsWith('Docker')")
    page.run("document.querySelector('.title').click()")
    page.until("document.querySelector('.why:not([hidden]) .shaded')")
    assert page.run("[...document.querySelectorAll('.shaded')].map((each) => each.dir)") == ["ltr", "rtl"]


def test_words_that_match_can_be_told_without_backgrounds(page):
    features = [{"name": "forced-colors", "value": "active"}]
    page.call("Emulation.setEmulatedMedia", features=features)
    page.write("zebra")
    page.until(f"{HITS} === 10")
    page.run("document.querySelector('.title').click()")
    page.until("document.querySelector('.why:not([hidden]) .bar')")
    assert page.run("getComputedStyle(document.querySelector('.for')).fontWeight") == "700"
    assert page.run("getComputedStyle(document.querySelector('.bar')).forcedColorAdjust") == "none"


def test_all_values_of_a_field_can_be_chosen_however_long(page):
    page.write("zebra")
    page.until(f"{HITS} === 10")
    boxes = "document.querySelectorAll('[data-field=shelf]')"
    for at in range(6):
        page.run(f"{boxes}[{at}].click()")
        page.until(f"{boxes}[{at}].checked && {HITS} > 0")
    page.until(f"{HITS} === 10")
    assert page.run("document.getElementById('problem').hidden")


def test_a_printed_page_has_the_results_and_no_buttons(page):
    page.write("zebra")
    page.until(f"{HITS} === 10")
    page.call("Emulation.setEmulatedMedia", media="print")
    seen = "document.getElementById('{}').checkVisibility()"
    assert page.run(seen.format("hits")) and page.run(seen.format("query"))
    assert not page.run(seen.format("more")) and not page.run(seen.format("facets"))
    assert page.run("getComputedStyle(document.querySelector('.snippet mark')).fontWeight") == "700"


def test_nothing_found_says_what_to_do(page, address):
    page.open(f"{address}?q=zebra&f.colour=pink")
    page.until(f"{COUNT}.startsWith('Nothing found for “zebra”. Remove a filter')")
    page.run("document.getElementById('unfilter').click()")
    page.until(f"{HITS} === 10")
    assert page.run("!document.getElementById('unfilter').checkVisibility()")


def test_a_screen_reader_is_told_what_there_is(page):
    page.write("zebra")
    page.until(f"{HITS} === 10")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    named = {
        (node["role"]["value"], node["name"]["value"])
        for node in nodes
        if not node.get("ignored") and "name" in node
    }
    assert {("searchbox", "Search"), ("region", "Results"), ("complementary", "Filters")} <= named
    assert {("heading", "Peephole"), ("search", ""), ("group", "colour")} <= named
    spoken = [role for role, name in named if role in ("button", "checkbox", "searchbox") and not name]
    assert spoken == []
    assert page.run("document.getElementById('count').getAttribute('aria-live')") == "polite"


def test_a_server_that_is_gone_is_told_and_the_hits_stay(running, page_folder):
    with serving(page_folder) as (server, address), running.page() as page:
        ready(page, address)
        page.write("zebra")
        page.until(f"{HITS} === 10")
        server.should_exit = True
        server.force_exit = True
        page.until("fetch('healthz').then(() => false, () => true)")
        page.run("scrollTo(0, 600)")
        page.write("s")
        page.until("!document.getElementById('problem').hidden")
        assert 0 <= page.run("document.getElementById('problem').getBoundingClientRect().top") < 200
        assert page.run("document.querySelector('#problem p').textContent") == "The server does not answer."
        assert page.run(HITS) == 10


def test_probabilities_are_shown_and_the_least_can_be_chosen(running, calibrated):
    likely = "document.getElementById('likely').hidden"
    shown = "[...document.querySelectorAll('#hits .probability')].map((each) => each.lastChild.textContent)"
    with serving(calibrated.index) as (_, address), running.page() as page:
        page.open(address)
        assert page.run(likely)
        page.write("copy folder")
        page.until(f"{HITS} > 0")
        percents = page.run(shown)
        assert len(percents) == page.run(HITS) and all(re.fullmatch(r"\d+%", each) for each in percents)
        assert not page.run(likely)
        page.open(f"{address}?q=quantum+llamas&p=0.5")
        page.until(f"{COUNT}.startsWith('No good answer')")
        assert page.run(COUNT) == (
            "No good answer for “quantum llamas”: no result is relevant with a probability of 50%."
        )
        assert page.run("document.getElementById('least').value") == "0.5"
        page.run(
            "{ const box = document.getElementById('least'); box.value = '';"
            " box.dispatchEvent(new Event('change', { bubbles: true })); }"
        )
        page.until(f"{HITS} > 0")
        assert "p=" not in page.run("location.search")
        assert page.complaints() == []


def test_without_calibration_the_page_says_nothing_of_probabilities(page):
    page.write("zebra")
    page.until(f"{HITS} === 10")
    assert page.run("document.querySelectorAll('.probability').length") == 0
    assert page.run("document.getElementById('likely').hidden")


# ---- A server that records


@pytest.fixture
def recording_page(running: Browser, page_folder: Path, tmp_path: Path) -> Iterator[tuple[Page, Path]]:
    """The page of a server that records searches, and the file."""
    clicks = tmp_path / "clicks.jsonl"
    with serving(page_folder, clicks) as (_, address), running.page() as page:
        ready(page, address)
        yield page, clicks
        page.run("0")  # takes in the events that came meanwhile
        assert page.complaints() == []


def recorded(clicks: Path, count: int) -> list[Event]:
    """The events, once there are so many."""
    end = time.monotonic() + 20
    while True:
        found = []
        if clicks.exists():
            with opened(clicks) as parts:
                found = [event for _, event in events(parts)]
        if len(found) >= count:
            return found
        assert time.monotonic() < end, found
        time.sleep(0.02)


def test_a_hit_that_is_opened_is_recorded_under_its_search(recording_page):
    page, clicks = recording_page
    page.write("zebra stripes")
    page.press("Enter")
    page.until(f"{HITS} === 10")
    page.run("document.querySelectorAll('.title')[2].click()")
    shown, clicked = recorded(clicks, 2)[-2:]
    ids = page.run("[...document.querySelectorAll('#hits > li')].map((each) => each.dataset.id)")
    assert (shown.query, shown.mode, list(shown.shown)) == ("zebra stripes", "hybrid", ids)
    assert (clicked.search, clicked.clicked, clicked.rank) == (shown.search, ids[2], 3)
    page.run("document.querySelectorAll('.title')[2].click()")  # closes it, which is no click on a result
    page.run("document.querySelectorAll('.title')[0].click()")
    assert [event.clicked for event in recorded(clicks, 3) if isinstance(event, Clicked)] == [ids[2], ids[0]]


def test_half_a_word_is_not_recorded_and_a_query_that_stands_is(recording_page):
    page, clicks = recording_page
    for part in ("zeb", "ra", " stri", "pes"):
        page.write(part)
        page.until(f"document.getElementById('took').textContent && {VALUE}.endsWith({part!r})")
        time.sleep(0.15)
    assert len(searches(page)) > 1
    recorded(clicks, 1)
    time.sleep(0.3)
    (event,) = recorded(clicks, 1)
    assert isinstance(event, Shown) and event.query == "zebra stripes"
    page.run("document.querySelector('.title').click()")
    assert recorded(clicks, 2)[1].search == event.search


def test_enter_records_a_query_that_is_shown_at_once_and_only_once(recording_page):
    page, clicks = recording_page
    page.write("zebra")
    page.until(f"{HITS} === 10")
    page.press("Enter")
    assert [event.query for event in recorded(clicks, 1)] == ["zebra"]
    page.press("Enter", "Enter")
    page.run("document.querySelectorAll('.title')[1].click()")
    shown, clicked = recorded(clicks, 2)
    time.sleep(1.3)  # longer than until a query settles
    assert recorded(clicks, 2) == [shown, clicked]
    assert (clicked.search, clicked.clicked) == (shown.search, shown.shown[1])
    page.write(" stripes")  # another search
    page.press("Enter")
    assert recorded(clicks, 3)[-1].query == "zebra stripes"


def test_enter_records_a_query_once_that_has_settled(recording_page):
    page, clicks = recording_page
    page.write("zebra")
    (settled,) = recorded(clicks, 1)
    page.press("Enter")
    page.write(" ")  # nor is a blank behind it another query
    time.sleep(1.5)  # longer than until a query settles
    page.press("Enter")
    time.sleep(0.5)
    assert recorded(clicks, 1) == [settled]
    assert len(searches(page)) == 2  # to be shown, and to be recorded


def test_a_query_is_not_recorded_while_the_next_word_is_composed(recording_page):
    page, clicks = recording_page
    page.write("zebra")
    page.until(f"{HITS} === 10")
    page.call("Input.imeSetComposition", text="qi", selectionStart=2, selectionEnd=2)
    page.until(f"{VALUE} === 'zebraqi'")
    time.sleep(1.5)  # longer than until a query settles
    assert recorded(clicks, 0) == []
    page.write("启动")
    (event,) = recorded(clicks, 1)
    assert isinstance(event, Shown) and event.query == "zebra启动"


def test_a_click_before_a_query_settles_records_both(recording_page):
    page, clicks = recording_page
    page.write("zebra")
    page.until(f"{HITS} === 10")
    page.run("document.querySelectorAll('.title')[1].click()")
    time.sleep(1.5)  # longer than until a query settles, which must not record it again
    shown, clicked = recorded(clicks, 2)
    assert (shown.query, clicked.search, clicked.rank) == ("zebra", shown.search, 2)
    assert clicked.clicked == shown.shown[1]


def test_a_hit_of_the_next_page_is_recorded_at_its_rank(recording_page):
    page, clicks = recording_page
    page.write("zebra")
    page.until(f"{HITS} === 10")
    page.run("document.getElementById('more').click()")
    page.until(f"{HITS} === 20")
    page.run("document.querySelectorAll('.title')[11].click()")
    *shown, clicked = recorded(clicks, 3)
    assert sorted((each.offset, len(each.shown)) for each in shown) == [(0, 10), (10, 10)]
    (second,) = [each for each in shown if each.offset == 10]
    assert (clicked.search, clicked.clicked, clicked.rank) == (second.search, second.shown[1], 12)


def test_the_page_says_that_it_is_recorded_and_what(recording_page):
    page, _ = recording_page
    note = "document.getElementById('recorded')"
    assert page.run(f"{note}.hidden") is False
    for word in ("queries", "results shown", "opened", "not record who"):
        assert word in " ".join(page.run(f"{note}.textContent").split())


def test_without_recording_nothing_is_sent_and_nothing_is_said(page):
    page.write("zebra")
    page.until(f"{HITS} === 10")
    page.run("document.querySelector('.title').click()")
    page.until("document.querySelector('.why:not([hidden]) .shaded')")
    time.sleep(1.3)  # longer than until a query settles
    assert page.run("document.getElementById('recorded').hidden") is True
    assert searches(page) == ["zebra"]
    assert not any("/click" in url or "record=" in url for url in page.requested())
