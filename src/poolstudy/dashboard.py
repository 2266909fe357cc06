"""The ready-made view of a study in MLflow's charts: images side by side, curves, parallel coordinates.

The structure is MLflow's own (3.17, undocumented); `tracking.Tracker.share_view` stores it.
"""

import hashlib
from typing import Any

VIEW_KEY = "poolstudy"
LOCAL_SERVER = "http://127.0.0.1:5000"
"""Where `poolstudy ui` serves unless told otherwise."""
# Name, columns of cards, height of a card in pixels. An image card as wide as the page shows runs side by side.
_SECTIONS = (("Side by side", 1, 420), ("Curves", 2, 360), ("The whole study", 2, 420))


def view(objective: str, maximize: bool, params: list[str], images: list[str]) -> dict[str, Any]:
    """The stored view.

    Args:
        objective: metric to sort by, best first.
        params: the sampled ones, for the parallel coordinates.
        images: keys of the image grids, in order.
    """
    sections = [_section(*section) for section in _SECTIONS]
    side_by_side, curves, whole = (section["uuid"] for section in sections)
    cards = [_image(key, side_by_side) for key in images]
    cards += [_line(metric, curves) for metric in ("val_accuracy", "val_loss", "accuracy", "loss")]
    cards += [_parallel(params, objective, whole), _scatter("parameter_count", objective, whole)]
    columns = [f"params.`{name}`" for name in params] + [f"metrics.`{objective}`", "metrics.`best_epoch`"]
    return {
        "searchFilter": "tags.`poolstudy.kind` = 'trial'",
        "orderByKey": f"metrics.`{objective}`",
        "orderByAsc": not maximize,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": ["attributes.`Duration`", "tags.`poolstudy.state`", *columns],
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "SHOWALL",
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


def _image(key: str, section: str) -> dict[str, Any]:
    return _card("IMAGE", key, section, imageKeys=[key], step=0, showRunParams=False)


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
