"""What the operators' own CRDs take, as facts: kubernetes-validate knows no custom kinds.

From kedacore/keda `config/crd/bases/keda.sh_scaledobjects.yaml` (2.17) and prometheus-operator's
`monitoring.coreos.com_servicemonitors.yaml` (0.80): names and types of the fields; `metadata` of KEDA's
Prometheus trigger from its scaler's own list. Unknown fields are refused, which an API server would drop.
"""

from __future__ import annotations

from typing import Any

import jsonschema

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
TRUTH: Schema = {"type": "boolean"}
WHOLE: Schema = {"type": "integer"}
NUMBER_AS_TEXT: Schema = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"}
TRUTH_AS_TEXT: Schema = {"enum": ["true", "false"]}
TEXTS: Schema = {"type": "array", "items": TEXT}
LABELS: Schema = {"type": "object", "additionalProperties": TEXT}


def fields(*required: str, **properties: Schema) -> Schema:
    """An object of these fields and no others."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": list(required),
    }


def many(items: Schema) -> Schema:
    return {"type": "array", "items": items}


RULES = fields(
    stabilizationWindowSeconds={"type": "integer", "minimum": 0, "maximum": 3600},
    selectPolicy={"enum": ["Max", "Min", "Disabled"]},
    tolerance=TEXT,
    policies=many(
        fields("type", "value", "periodSeconds", type={"enum": ["Pods", "Percent"]}, value=WHOLE,
               periodSeconds={"type": "integer", "minimum": 1, "maximum": 1800})
    ),
)  # fmt: skip
PROMETHEUS = fields(
    "serverAddress", "query", "threshold",
    serverAddress=TEXT, query=TEXT, threshold=NUMBER_AS_TEXT, activationThreshold=NUMBER_AS_TEXT,
    namespace=TEXT, customHeaders=TEXT, ignoreNullValues=TRUTH_AS_TEXT, queryParameters=TEXT,
    unsafeSsl=TRUTH_AS_TEXT, timeout=TEXT, authModes=TEXT,
)  # fmt: skip
TRIGGER = fields(
    "type", "metadata",
    type={"const": "prometheus"}, name=TEXT, metadata=PROMETHEUS, useCachedMetrics=TRUTH,
    metricType={"enum": ["AverageValue", "Value", "Utilization"]},
    authenticationRef=fields(
        "name", name=TEXT, kind={"enum": ["TriggerAuthentication", "ClusterTriggerAuthentication"]}
    ),
)  # fmt: skip
FALLBACK = fields(
    "failureThreshold", "replicas",
    failureThreshold=WHOLE, replicas=WHOLE,
    behavior={"enum": ["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"]},
)  # fmt: skip
SCALED_OBJECT = fields(
    "scaleTargetRef", "triggers",
    scaleTargetRef=fields("name", apiVersion=TEXT, kind=TEXT, name=TEXT, envSourceContainerName=TEXT),
    pollingInterval=WHOLE, initialCooldownPeriod=WHOLE, cooldownPeriod=WHOLE, idleReplicaCount=WHOLE,
    minReplicaCount=WHOLE, maxReplicaCount=WHOLE, fallback=FALLBACK, triggers=many(TRIGGER),
    advanced=fields(
        restoreToOriginalReplicaCount=TRUTH,
        horizontalPodAutoscalerConfig=fields(name=TEXT, behavior=fields(scaleUp=RULES, scaleDown=RULES)),
        scalingModifiers=fields(formula=TEXT, target=TEXT, activationTarget=TEXT, metricType=TEXT),
    ),
)  # fmt: skip
ENDPOINT = fields(
    port=TEXT, path=TEXT, interval={"type": "string", "pattern": r"^[0-9]+(ms|s|m|h)$"}, scrapeTimeout=TEXT,
    scheme={"enum": ["http", "https", "HTTP", "HTTPS"]}, honorLabels=TRUTH, honorTimestamps=TRUTH,
    targetPort={"type": ["integer", "string"]}, params={"type": "object"}, followRedirects=TRUTH,
    enableHttp2=TRUTH, filterRunning=TRUTH,
    relabelings={"type": "array"}, metricRelabelings={"type": "array"},
    authorization={"type": "object"}, basicAuth={"type": "object"}, tlsConfig={"type": "object"},
)  # fmt: skip
SERVICE_MONITOR = fields(
    "selector", "endpoints",
    selector=fields(matchLabels=LABELS, matchExpressions={"type": "array"}),
    endpoints=many(ENDPOINT), jobLabel=TEXT, targetLabels=TEXTS, podTargetLabels=TEXTS,
    namespaceSelector=fields(any=TRUTH, matchNames=TEXTS), sampleLimit=WHOLE, targetLimit=WHOLE,
    labelLimit=WHOLE, attachMetadata=fields(node=TRUTH),
    scrapeProtocols=TEXTS, scrapeClass=TEXT, bodySizeLimit=TEXT,
)  # fmt: skip
KINDS = {
    ("keda.sh/v1alpha1", "ScaledObject"): SCALED_OBJECT,
    ("monitoring.coreos.com/v1", "ServiceMonitor"): SERVICE_MONITOR,
}


def validate(found: dict[str, Any]) -> None:
    """Raises jsonschema.ValidationError, or KeyError for a kind nothing is known of."""
    spec = KINDS[found["apiVersion"], found["kind"]]
    whole = fields(
        "apiVersion", "kind", "metadata", "spec",
        apiVersion=TEXT, kind=TEXT, spec=spec,
        metadata=fields("name", name=TEXT, namespace=TEXT, labels=LABELS, annotations=LABELS),
    )  # fmt: skip
    jsonschema.validate(found, whole)
