"""The dashboard, the alerts and what the autoscaler reads: every expression is PromQL, and every metric in it is served."""

from __future__ import annotations

import json
import re

import promql_parser
import pytest
import yaml

from hf2triton.kubernetes.autoscaling import METRICS
from hf2triton_client import pipeline

from .conftest import DOCKER

#: Served by machines with GPUs alone: https://github.com/triton-inference-server/server/blob/main/docs/user_guide/metrics.md
OF_GPUS = {"nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes"}
#: What Prometheus itself adds.
OF_PROMETHEUS = {"up"}
#: What Grafana puts in place of its variables.
VARIABLES = {"$__rate_interval": "1m", "$model": ".*", "$instance": ".*"}
DASHBOARD = json.loads((DOCKER / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def read(name: str):
    return yaml.safe_load((DOCKER / name).read_text(encoding="utf-8"))


def of_panels() -> list[str]:
    expressions = [target["expr"] for panel in PANELS for target in panel["targets"]]
    for name, value in VARIABLES.items():
        expressions = [expression.replace(name, value) for expression in expressions]
    return expressions


def of_alerts() -> list[str]:
    return [rule["expr"] for group in read("alerts.yaml")["groups"] for rule in group["rules"]]


def of_adapter() -> list[str]:
    """The adapter's rules, with its templates filled as it fills them."""
    filled = {"<<.Series>>": "series", "<<.LabelMatchers>>": 'pod="x"', "<<.GroupBy>>": "pod"}
    expressions = []
    for rule in read("prometheus-adapter.yaml")["rules"]["custom"]:
        expressions.append(rule["seriesQuery"])
        query = rule["metricsQuery"]
        for name, value in filled.items():
            query = query.replace(name, value)
        expressions.append(query.replace("series{", rule["seriesQuery"].partition("{")[0] + "{"))
    return expressions


def metrics_of(expression: str) -> set[str]:
    """The names of the metrics in an expression. Raises ValueError if it is no PromQL."""
    names: set[str] = set()

    def visit(node: object) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            names.add(node.name)
        elif isinstance(node, promql_parser.MatrixSelector):
            names.add(node.vector_selector.name)

    promql_parser.walk(promql_parser.parse(expression), visit)
    return names


@pytest.fixture(scope="module")
def exposed(served) -> set[str]:
    """The names of the metrics of a server that has answered and generated."""
    with pipeline(model="sentiment", url=served.url) as classify:
        classify("It is a fine day.")
    with pipeline(model="verses", url=served.url) as write:
        write("And", max_new_tokens=5)
    _, text = served.ask("metrics", "metrics")
    return {re.match(r"\w+", line)[0] for line in text.splitlines() if line and not line.startswith("#")}


@pytest.mark.parametrize("expressions", [of_panels, of_alerts, of_adapter], ids=lambda made: made.__name__[3:])
def test_every_metric_is_served(exposed, expressions):
    """A name that Triton or a model does not expose would be an empty panel, or an alert that never fires."""
    used = set().union(*map(metrics_of, expressions()))
    assert used, "no metric is used"
    assert used - exposed - OF_GPUS - OF_PROMETHEUS == set()


def test_the_autoscaler_follows_metrics_that_are_served(exposed):
    """Those of the manifests have a rule in the adapter's values, and the server has them."""
    names = {metric.name for metric in METRICS}
    assert names <= exposed | OF_GPUS
    assert {rule["name"]["as"] for rule in read("prometheus-adapter.yaml")["rules"]["custom"]} == names


def test_what_the_dashboard_is_for_is_on_it():
    """Latency, queue, batch size, tokens a second, failures and GPUs have a panel each."""
    titles = " ".join(panel["title"] for panel in PANELS).lower()
    for word in ("latency", "queue", "batch size", "tokens a second", "failed", "gpu"):
        assert word in titles


def test_the_dashboard_is_put_together_rightly():
    """Panels have ids of their own, do not overlap and ask the data source that is provisioned."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    places = [tuple(panel["gridPos"][key] for key in "xywh") for panel in DASHBOARD["panels"]]
    cells = [(x + i, y + j) for x, y, w, h in places for i in range(w) for j in range(h)]
    assert len(set(cells)) == len(cells)
    assert all(x + w <= 24 for x, _, w, _ in places)
    [source] = read("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    asked = {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]}
    assert asked == {source["uid"]}
    assert {one["name"] for one in DASHBOARD["templating"]["list"]} == {"model", "instance"}


def test_prometheus_reads_the_alerts_and_the_servers():
    """It scrapes the name and port that compose gives the servers, and reads rules that are mounted beside it."""
    config, compose = read("prometheus.yaml"), read("compose.yaml")
    mounted = [volume.split(":")[1] for volume in compose["services"]["prometheus"]["volumes"]]
    assert {f"/etc/prometheus/{name}" for name in ["prometheus.yaml", *config["rule_files"]]} <= set(mounted)
    [job] = config["scrape_configs"]
    [discovery] = job["dns_sd_configs"]
    assert discovery["port"] == 8002
    for name in ("server-cpu", "server-gpu"):
        assert discovery["names"] == compose["services"][name]["networks"]["default"]["aliases"]
    assert f'job="{job["job_name"]}"' in of_alerts()[0]


def test_alerts_say_what_and_how_bad():
    """Each has a severity and a summary, and waits before it fires."""
    for group in read("alerts.yaml")["groups"]:
        for rule in group["rules"]:
            assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
            assert rule["labels"]["severity"] in ("warning", "critical")
            assert rule["annotations"]["summary"]
