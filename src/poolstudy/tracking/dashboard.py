"""The prepared view of a study in MLflow's charts, in MLflow's own undocumented format (3.17)."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

VIEW_KEY = "poolstudy"
LOCAL_NAME = "poolstudy.localhost"
"""This machine (RFC 6761). At this name MLflow does not open its assistant, which covers a quarter of the page."""
LOCAL_SERVER = f"http://{LOCAL_NAME}:5000"
"""The default address of `poolstudy ui`."""
NOTE = """\
**Average pooling is blue, max pooling is vermilion.** This holds for every picture, curve and dot; shades distinguish
runs. Untrained weights are grey, and so are training curves beside validation curves.

* To compare the two, open the **charts**: the second button above the runs, or the link that `make ui` prints.
  *Side by side* shows ten runs; of a longer study the ten best, with the best at the right.
* Kernels go from blue over white at zero to red, on one scale for all runs; feature maps from dark at zero to yellow,
  on the scale given in each picture.
* Select runs (the boxes on the left) and press *Compare* to see their pictures at full size; click a run for its
  summary, diagram and files.
* In the parallel coordinates drag along an axis to select trials.
"""
"""The experiment's description."""
# Name, columns of cards, height of a card in pixels. Only an image card as wide as the page shows runs side by side.
_SECTIONS = (("The whole study", 2, 360), ("Side by side", 1, 640), ("Larger", 1, 420), ("Epoch by epoch", 2, 360))
_FIXED: dict[str, Any] = json.loads("""{
    "startTime": "ALL", "lifecycleFilter": "Active", "datasetsFilter": [], "modelVersionFilter": "All Runs",
    "runsPinned": [], "runsHidden": [], "runsVisibilityMap": {}, "viewMaximized": false, "runListHidden": false,
    "isAccordionReordered": true, "autoRefreshEnabled": true, "groupBy": null, "useGroupedValuesInCharts": true,
    "hideEmptyCharts": true, "chartsSearchFilter": "",
    "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""}
}""")  # settings of every study's view
_PAGE_RUNS = 100  # runs that MLflow's page loads at once
_GRID_RUNS = 10  # runs that an image grid shows: the first ones of the list, in reverse


def view(objective: str, maximize: bool, params: list[str], images: list[str], trials: int) -> dict[str, Any]:
    """Return the view to store.

    MLflow's image grids show the first ten runs of the list in reverse. So a list of up to ten has the best last, and
    the grids show it first; a longer one has the best first, and the grids show the ten best, the best at the right.

    Args:
        params: the sampled ones, for the parallel coordinates.
        images: keys of the image grids, in order.
        trials: planned number.
    """
    columns = [f"params.`{name}`" for name in params] + [f"metrics.`{objective}`", "metrics.`best_epoch`"]
    section = {"display": True, "isReordered": False}
    return {
        **_FIXED,
        "searchFilter": "tags.`poolstudy.kind` = 'trial'",
        "orderByKey": f"metrics.`{objective}`",
        "orderByAsc": maximize == (trials <= _GRID_RUNS),
        "selectedColumns": ["attributes.`Duration`", "tags.`poolstudy.state`", *columns],
        "runsHiddenMode": "SHOWALL" if trials <= _PAGE_RUNS else "FIRST_20_RUNS",
        "compareRunCharts": list(_cards(objective, params, images)),
        "compareRunSections": [
            {"uuid": _uuid("section", name), "name": name, "columns": across, "cardHeight": height, **section}
            for name, across, height in _SECTIONS
        ],
    }


def _cards(objective: str, params: list[str], images: list[str]) -> Iterator[dict[str, Any]]:
    # A card of many keys is a table with one column per run; a card of one key shows larger pictures, row by row.
    grids = [("Side by side", "a column a run", images), *(("Larger", key, [key]) for key in images)]
    for section, name, keys in grids:
        yield _card("IMAGE", name, section, imageKeys=keys, step=0, showRunParams=False)
    x_axis = {"xAxisKey": "step", "xAxisScaleType": "linear", "useGlobalXaxisKey": True, "selectedXAxisMetricKey": ""}
    line = {**x_axis, "scaleType": "linear", "range": {}, "lineSmoothness": 0, "useGlobalLineSmoothing": True}
    for metric in ("val_accuracy", "val_loss", "accuracy", "loss"):
        own = {"metricKey": metric, "selectedMetricKeys": [metric], "ignoreOutliers": False}
        yield _card("LINE", metric, "Epoch by epoch", **line, **own)
    parallel = {"selectedParams": params, "selectedMetrics": [objective], "showAllRuns": True}
    yield _card("PARALLEL", "every trial", "The whole study", runsCountToCompare=100, **parallel)
    axes = {"xaxis": {"key": "parameter_count", "type": "METRIC"}, "yaxis": {"key": objective, "type": "METRIC"}}
    name = f"{objective} against parameter_count"
    yield _card("SCATTER", name, "The whole study", runsCountToCompare=100, **axes)


def _card(kind: str, name: str, section: str, **settings: Any) -> dict[str, Any]:
    owner = {"metricSectionId": _uuid("section", section), "deleted": False, "isGenerated": False}
    card = {"uuid": _uuid(kind, name), "type": kind, "displayName": name, "runsCountToCompare": 10}
    return {**card, **owner, **settings}


def _uuid(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]
