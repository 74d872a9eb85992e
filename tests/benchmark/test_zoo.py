"""The table of torchvision's classifiers: its cells, also of what could not be measured."""

from tests.benchmark import zoo

FREE = {
    "aoti": {"runtime": "standalone", "why": "needs no libtorch: 5 ms | 1 MB", "size": 12_300_000},
    "onnx": {"runtime": "", "why": "", "size": 4_000_000},
    "compared": {
        "differences": {"aoti": 2.4e-6, "onnx": 0.0},
        "rounds": [
            {"eager": 10.0, "aoti": 5.0, "onnx": 4.0},
            {"onnx": 5.0, "aoti": 5.0, "eager": 20.0},
            {"eager": 10.0, "aoti": 6.0, "onnx": 4.0},
        ],
    },
}


def test_each_ratio_is_the_median_of_the_rounds() -> None:
    wanted = ("net", "no", "needs no libtorch: 5 ms \\| 1 MB", "2e-06 · 0", "0.50", "1.25", "12.3 · 4.0")
    assert zoo.cells("net", FREE) == wanted


def test_a_failure_is_a_row_with_its_reason() -> None:
    row = FREE | {
        "aoti": {"fault": "takes longer than 360 s"},
        "compared": {"differences": {"onnx": 1e-7}, "rounds": [{"eager": 2.0, "onnx": 1.0}]},
    }
    wanted = ("net", "-", "aoti: takes longer than 360 s", "- · 1e-07", "-", "-", "- · 4.0")
    assert zoo.cells("net", row) == wanted


def test_a_model_that_needs_libtorch() -> None:
    row = FREE | {"aoti": {"runtime": "libtorch", "why": "it needs libtorch: it calls f", "size": 1}}
    assert zoo.cells("net", row)[1:3] == ("yes", "it needs libtorch: it calls f")


def test_nothing_that_could_be_compared() -> None:
    row = {part: {"fault": "its process ended with -9"} for part in ("aoti", "onnx", "compared")}
    told = "; ".join(f"{part}: its process ended with -9" for part in row)
    assert zoo.cells("net", row) == ("net", "-", told, "- · -", "-", "-", "- · -")


def test_the_table_is_markdown() -> None:
    lines = zoo.markdown({"one": FREE, "two": FREE}).splitlines()
    assert [line.split(" | ")[0] for line in lines] == ["| model", "| ---", "| one", "| two"]
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_scores_without_a_range_have_no_difference() -> None:
    row = FREE | {"compared": {"differences": {"aoti": float("nan"), "onnx": 1e-7}}}
    assert zoo.cells("net", row)[3] == "- · 1e-07"
