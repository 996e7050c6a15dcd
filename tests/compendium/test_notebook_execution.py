from nbformat.v4 import new_code_cell, new_notebook, new_output

from qtlib.compendium import notebook_execution


def test_where_the_kernel_cuts_a_stream_leaves_no_trace():
    def made(*pieces):
        outputs = [new_output("stream", name=name, text=text) for name, text in pieces]
        return new_notebook(cells=[new_code_cell("print()", id="a", outputs=outputs)])

    cut, whole = made(("stdout", "a"), ("stdout", "b\n"), ("stderr", "c")), made(("stdout", "ab\n"), ("stderr", "c"))
    notebook_execution.clean(cut)
    notebook_execution.clean(whole)
    assert cut == whole


def test_paths_are_replaced_in_tables_and_tracebacks_but_images_stay(monkeypatch):
    monkeypatch.setenv("QTLIB_DATA", "/srv/sensors")
    data = {"text/html": "<td>/srv/sensors/a.csv</td>", "image/png": "/srv/sensors/"}
    failure = new_output("error", ename="E", evalue="", traceback=["in /srv/sensors/a.csv"])
    made = new_notebook(cells=[new_code_cell("x", outputs=[new_output("display_data", data=data), failure])])
    notebook_execution.clean(made)
    shown, error = made.cells[0].outputs
    assert shown.data == {"text/html": "<td>$QTLIB_DATA/a.csv</td>", "image/png": "/srv/sensors/"}
    assert error.traceback == ["in $QTLIB_DATA/a.csv"]


def test_widgets_leave_neither_views_nor_state():
    view = new_output("display_data", data={"text/plain": "VBox()", notebook_execution.WIDGET: {"model_id": "3f0c"}})
    kept = new_output("stream", name="stdout", text="a\n")
    made = new_notebook(
        cells=[new_code_cell("x", id="a", outputs=[view, kept])], metadata={"widgets": {"state": {"3f0c": {}}}}
    )
    notebook_execution.clean(made)
    assert made.cells[0].outputs == [kept] and "widgets" not in made.metadata


def test_addresses_in_memory_are_cleaned_away():
    output = {"text/plain": "<pandas.io.formats.style.Styler at 0x7f531c512cd0>", "image/png": "at 0x12"}
    assert notebook_execution._scrub(output) == {
        "text/plain": "<pandas.io.formats.style.Styler>",
        "image/png": "at 0x12",
    }
