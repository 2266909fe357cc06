"""The ready-made view of a study in MLflow's charts: images side by side, curves, parallel coordinates.

The structure is MLflow's own (3.17, undocumented); `tracking.Tracker.share_view` stores it.
"""

import hashlib
from typing import Any

VIEW_KEY = "poolstudy"
LOCAL_NAME = "poolstudy.localhost"
"""Names under .localhost are this machine (RFC 6761). By such a name MLflow's page does not open its assistant, which
takes a quarter of the page at 127.0.0.1."""
LOCAL_SERVER = f"http://{LOCAL_NAME}:5000"
"""Where `poolstudy ui` serves unless told otherwise."""
NOTE = """\
**Average pooling is blue, max pooling is vermilion.** So it is in every picture, curve and dot; shades only tell runs
apart. What is untrained, and training beside validation, is grey.

* How the two differ is seen in the **charts**, the second of the buttons above the runs; `make ui` prints the link.
  *Side by side* shows ten runs: of a longer study the ten best, the best at the right.
* Kernels go from blue over white at zero to red, on one scale for all runs; feature maps from dark at zero to yellow,
  on the scale that their picture says.
* Select runs (the boxes on the left) and press *Compare* to see their pictures at full size; click a run for its
  summary, diagram and files.
* In the parallel coordinates drag along an axis to keep the trials you ask about.
"""
"""The experiment's description."""
# Name, columns of cards, height of a card in pixels. An image card as wide as the page shows runs side by side.
_SECTIONS = (("The whole study", 2, 360), ("Side by side", 1, 640), ("Larger", 1, 420), ("Epoch by epoch", 2, 360))
_LOADED = 100  # runs that MLflow's page loads at once
_GRID = 10  # runs that an image grid shows: the first ones of the list, in reverse


def view(objective: str, maximize: bool, params: list[str], images: list[str], trials: int) -> dict[str, Any]:
    """The stored view.

    MLflow's image grids show the first ten runs of the list in reverse. So a list of ten has the best last, and the
    grids have it first; a longer one has the best first, and the grids show the ten best, the best at the right.

    Args:
        objective: metric to sort by.
        trials: how many there will be.
        params: the sampled ones, for the parallel coordinates.
        images: keys of the image grids, in order.
    """
    sections = [_section(*section) for section in _SECTIONS]
    whole, side_by_side, larger, curves = (section["uuid"] for section in sections)
    # A card of many keys is a table with a column a run; one of a single key shows its pictures larger, row by row.
    cards = [_images("a column a run", images, side_by_side), *(_images(key, [key], larger) for key in images)]
    cards += [_line(metric, curves) for metric in ("val_accuracy", "val_loss", "accuracy", "loss")]
    cards += [_parallel(params, objective, whole), _scatter("parameter_count", objective, whole)]
    columns = [f"params.`{name}`" for name in params] + [f"metrics.`{objective}`", "metrics.`best_epoch`"]
    return {
        "searchFilter": "tags.`poolstudy.kind` = 'trial'",
        "orderByKey": f"metrics.`{objective}`",
        "orderByAsc": maximize == (trials <= _GRID),
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": ["attributes.`Duration`", "tags.`poolstudy.state`", *columns],
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "SHOWALL" if trials <= _LOADED else "FIRST_20_RUNS",
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "autoRefreshEnabled": True,
        "groupBy": None,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
        "chartsSearchFilter": "",
        "compareRunCharts": cards,
        "compareRunSections": sections,
    }


def _uuid(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]


def _section(name: str, columns: int, height: int) -> dict[str, Any]:
    size = {"columns": columns, "cardHeight": height}
    return {"uuid": _uuid("section", name), "name": name, "display": True, "isReordered": False, **size}


def _card(kind: str, name: str, section: str, **settings: Any) -> dict[str, Any]:
    common = {"uuid": _uuid(kind, name), "type": kind, "displayName": name, "metricSectionId": section}
    return {**common, "runsCountToCompare": 10, "deleted": False, "isGenerated": False, **settings}


def _images(name: str, keys: list[str], section: str) -> dict[str, Any]:
    return _card("IMAGE", name, section, imageKeys=keys, step=0, showRunParams=False)


def _line(metric: str, section: str) -> dict[str, Any]:
    return _card(
        "LINE",
        metric,
        section,
        metricKey=metric,
        selectedMetricKeys=[metric],
        xAxisKey="step",
        xAxisScaleType="linear",
        scaleType="linear",
        lineSmoothness=0,
        useGlobalXaxisKey=True,
        useGlobalLineSmoothing=True,
        selectedXAxisMetricKey="",
        ignoreOutliers=False,
        range={},
    )


def _parallel(params: list[str], objective: str, section: str) -> dict[str, Any]:
    return _card(
        "PARALLEL",
        "every trial",
        section,
        runsCountToCompare=100,
        showAllRuns=True,
        selectedParams=params,
        selectedMetrics=[objective],
    )


def _scatter(x: str, y: str, section: str) -> dict[str, Any]:
    axes = {"xaxis": {"key": x, "type": "METRIC"}, "yaxis": {"key": y, "type": "METRIC"}}
    return _card("SCATTER", f"{y} against {x}", section, runsCountToCompare=100, **axes)
