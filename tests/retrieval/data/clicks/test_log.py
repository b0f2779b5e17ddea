from retrieval.data.clicks.log import Sighting, click_log, clicks_alone


def test_sightings_add_up_by_query_document_and_rank():
    log = click_log(
        [
            Sighting("Copy  a folder", "d1", 1, 1, 3),
            Sighting("list", "d1", 1, 0, 1),
            Sighting(" copy a FOLDER ", "d1", 1, 2, 4),
            Sighting("copy a folder", "d1", 2, 0, 5),
        ]
    )
    assert log.queries == ("Copy a folder", "list")
    assert log.documents == ("d1",)
    cells = zip(log.query, log.document, log.rank, log.clicks, log.impressions, strict=True)
    assert sorted(tuple(map(int, cell)) for cell in cells) == [
        (0, 0, 1, 3, 7),
        (0, 0, 2, 0, 5),
        (1, 0, 1, 0, 1),
    ]
    query, document, owner = log.pairs()
    assert (query.tolist(), document.tolist()) == ([0, 1], [0, 0])
    assert [int(query[pair]) for pair in owner] == log.query.tolist()


def test_clicks_alone_have_neither_ranks_nor_impressions():
    log = clicks_alone(click_log([Sighting("q", "d", 1, 2, 2), Sighting("q", "d", 4, 3, 3)]))
    assert [array.tolist() for array in (log.rank, log.clicks, log.impressions)] == [[0], [5], [0]]


def test_a_log_of_nothing_is_empty():
    log = click_log([])
    assert (log.queries, len(log.clicks)) == ((), 0)
