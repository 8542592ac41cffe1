"""The manifests of deploy/kubernetes: valid, least, and made for the pods that the operator starts."""

import ast
import base64
import binascii
import copy
import json
import re
from pathlib import Path

import pytest
import yaml
from airflow.providers.cncf import kubernetes as provider
from clipfarm_pod_request import Job, training_pod
from kubernetes import client
from kubernetes.utils import parse_quantity

from clipfarm_tasks.config import Settings
from clipfarm_tasks.deployment.pods import PodSettings
from clipfarm_tasks.families import PRESETS, Family, Horizon, Strategy

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FOLDERS = (DEPLOY / "kubernetes", DEPLOY / "workload-identity")
MODELS = {
    "LimitRange": "V1LimitRange",
    "Namespace": "V1Namespace",
    "NetworkPolicy": "V1NetworkPolicy",
    "PriorityClass": "V1PriorityClass",
    "ResourceQuota": "V1ResourceQuota",
    "Role": "V1Role",
    "RoleBinding": "V1RoleBinding",
    "Secret": "V1Secret",
    "ServiceAccount": "V1ServiceAccount",
}
BY_HAND = {"s3-secret.example.yaml"}  # applied after it was filled in
CLUSTER_WIDE = {"Namespace", "PriorityClass"}
IMAGE = {"CLIPFARM_POD_IMAGE": "registry.example/clipfarm-trainer:1.0.0"}

# Calls of the provider on the way of TrainingPodOperator, beside those of our own modules. That none is left out and
# none is too many, test_every_right_of_the_role_is_used says by using them.
OF_THE_PROVIDER = {
    "operators/pod.py": {"patch_namespaced_pod", "delete_namespaced_pod"},
    "utils/pod_manager.py": {"read_namespaced_pod_log", "list_namespaced_event", "read_namespaced_pod"},
}

# Fields whose false the API server keeps: pointers in Kubernetes' own types. It drops every other false, 0 or "", and
# then each `kubectl apply` finds a difference again.
KEPT_FALSE = {"automountServiceAccountToken"}


class Typed:
    """What `kubernetes` wants to deserialise."""

    def __init__(self, body):
        self.data = json.dumps(body)


def manifests():
    paths = [path for folder in FOLDERS for path in sorted(folder.iterdir())]
    assert len(paths) == 10
    return [body for path in paths for body in yaml.safe_load_all(path.read_text()) if body["kind"] != "Kustomization"]


def of_kind(kind):
    return {body["metadata"]["name"]: body for body in manifests() if body["kind"] == kind}


def settings(family=Family.RIDGE):
    return PodSettings.from_environment(family, IMAGE)


def pod(family):
    job = Job("run", "d" * 64, Strategy.CONCAT, Horizon.D7, family)
    return client.ApiClient().sanitize_for_serialization(training_pod(job, settings(family), Settings(bucket="clips")))


@pytest.mark.parametrize("body", manifests(), ids=lambda b: f"{b['kind']}-{b['metadata']['name']}")
def test_is_valid_by_the_typed_models(body):
    api = client.ApiClient()
    found = api.deserialize(Typed(body), MODELS[body["kind"]])
    assert api.sanitize_for_serialization(found) == body  # no field that the models do not know


@pytest.mark.parametrize("body", manifests(), ids=lambda b: f"{b['kind']}-{b['metadata']['name']}")
def test_says_nothing_that_the_api_server_drops_or_writes_in_another_way(body):
    assert {name for name, value in scalars(body) if not value} <= KEPT_FALSE
    kinds = {"cpu", "memory", "nvidia.com/gpu"}
    quantities = [
        value for name, value in scalars(body) if name.removeprefix("requests.").removeprefix("limits.") in kinds
    ]
    for quantity in quantities:  # as the server would write them: 1Gi, not 1024Mi, and 1, not 1000m
        assert re.fullmatch(r"[1-9]\d*([KMGT]i)?", quantity)
        assert int(re.match(r"\d+", quantity)[0]) % 1024 or quantity.isdecimal()


def scalars(body):
    """Every field whose value is no container, with its name."""
    if isinstance(body, dict):
        yield from ((name, value) for name, value in body.items() if not isinstance(value, dict | list))
    if isinstance(body, dict | list):
        for value in body.values() if isinstance(body, dict) else body:
            yield from scalars(value)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_kustomization_names_every_file_and_patches_what_is_there(folder):
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    files = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"} - BY_HAND
    assert {name for name in kustomization["resources"] if not name.startswith("..")} == files
    for patch in kustomization["patches"]:
        patched = of_kind(patch["target"]["kind"])[patch["target"]["name"]]
        for operation in yaml.safe_load(patch["patch"]):
            found = patched
            *parents, last = [part.replace("~1", "/") for part in operation["path"].split("/")[1:]]
            for part in parents:
                found = found[int(part) if isinstance(found, list) else part]
            assert (last in found) == (operation["op"] == "replace"), operation


def test_patches_start_from_the_same_values_as_the_files():
    [s3, quota] = yaml.safe_load((FOLDERS[0] / "kustomization.yaml").read_text())["patches"]
    [egress] = of_kind("NetworkPolicy")["clipfarm-s3"]["spec"]["egress"]
    assert [change["value"] for change in yaml.safe_load(s3["patch"])] == [
        egress["to"][0]["ipBlock"],
        egress["ports"],
    ]
    [gpus] = yaml.safe_load(quota["patch"])
    assert gpus["value"] == of_kind("ResourceQuota")["clipfarm"]["spec"]["hard"]["requests.nvidia.com/gpu"]


def test_names_are_those_of_the_settings():
    namespace = settings().namespace
    assert set(of_kind("Namespace")) == {namespace}
    placed = [body["metadata"].get("namespace") for body in manifests() if body["kind"] not in CLUSTER_WIDE]
    assert len(placed) == 11
    assert set(placed) == {namespace}
    assert settings().service_account in of_kind("ServiceAccount")
    assert set(of_kind("Secret")) == {settings().s3_secret}
    [quota] = of_kind("ResourceQuota").values()
    assert f"requests.{settings().gpu_resource}" in quota["spec"]["hard"]
    for name in of_kind("PriorityClass"):
        assert PodSettings.from_environment(Family.RIDGE, IMAGE | {"CLIPFARM_POD_PRIORITY_CLASS": name})


def test_nothing_moves_and_nothing_is_a_wildcard():
    for folder in FOLDERS:
        for path in folder.iterdir():
            assert "latest" not in path.read_text(), path
    for role in of_kind("Role").values():
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


def test_the_role_holds_what_is_called_and_no_more():
    [role] = of_kind("Role").values()
    granted = {(kind, verb) for rule in role["rules"] for kind in rule["resources"] for verb in rule["verbs"]}
    assert all(rule["apiGroups"] == [""] for rule in role["rules"])
    assert granted == {right(call) for call in calls()}


def calls():
    """Methods of the Kubernetes client that are called: in our modules, and in the provider's on the operator's way."""
    ours = set()
    modules = sorted((ROOT / "plugins").glob("clipfarm_pod*.py"))
    assert len(modules) == 9
    for module in modules:
        ours |= namespaced(module.read_text())
    assert ours
    for name, wanted in OF_THE_PROVIDER.items():
        assert wanted <= namespaced((Path(provider.__path__[0]) / name).read_text()), name
    return ours.union(*OF_THE_PROVIDER.values())


def namespaced(source):
    names = {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
    return {name for name in names if "_namespaced_" in name}


def right(call):
    verb, _, kind = call.partition("_namespaced_")
    return {"pod_log": "pods/log"}.get(kind, f"{kind}s"), {"read": "get"}.get(verb, verb)


def test_the_binding_is_for_airflow_inside_and_outside_of_the_cluster():
    [binding] = of_kind("RoleBinding").values()
    [role] = of_kind("Role")
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role}
    values = yaml.safe_load((DEPLOY / "helm-values.yaml").read_text())
    inside = {values["workers"]["kubernetes"]["serviceAccount"]["name"], values["triggerer"]["serviceAccount"]["name"]}
    found = {(subject["kind"], subject["name"], subject["namespace"]) for subject in binding["subjects"]}
    outside = set(of_kind("ServiceAccount")) - {settings().service_account}
    assert found == {("ServiceAccount", name, "airflow") for name in inside} | {
        ("ServiceAccount", name, settings().namespace) for name in outside
    }
    assert all(account["automountServiceAccountToken"] is False for account in of_kind("ServiceAccount").values())


def test_the_namespace_enforces_what_pods_satisfy():
    [namespace] = of_kind("Namespace").values()
    labels = namespace["metadata"]["labels"]
    modes = {name: level for name, level in labels.items() if name.startswith("pod-security.kubernetes.io/")}
    assert set(modes.values()) == {"restricted"}
    assert "pod-security.kubernetes.io/enforce" in modes
    golden = yaml.safe_load((ROOT / "docs" / "training-pod.yaml").read_text())
    assert violations(golden["spec"]) == []
    for family in Family:
        assert violations(pod(family)["spec"]) == []


# Pod Security Standards, profile "restricted" with the controls of "baseline", of pods that have containers only.
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}

UNUSED = ("sysctls", "seLinuxOptions", "appArmorProfile", "windowsOptions")  # not all are forbidden: none is needed


def violations(spec):
    context = spec.get("securityContext", {})
    broken = [field for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    broken += [volume["name"] for volume in spec.get("volumes", []) if not set(volume) - {"name"} <= VOLUMES]
    broken += [
        field for field in ("sysctls", "seLinuxOptions", "appArmorProfile", "windowsOptions") if field in context
    ]
    for container in spec["containers"]:
        own = container.get("securityContext", {})
        both = context | own
        rules = {
            "privileged": not own.get("privileged"),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "runAsNonRoot": both.get("runAsNonRoot") is True,
            "runAsUser": both.get("runAsUser") != 0,
            "seccompProfile": both.get("seccompProfile", {}).get("type") in {"RuntimeDefault", "Localhost"},
            "capabilities.drop": own.get("capabilities", {}).get("drop") == ["ALL"],
            "capabilities.add": set(own.get("capabilities", {}).get("add", [])) <= {"NET_BIND_SERVICE"},
            "procMount": own.get("procMount", "Default") == "Default",
            "hostPort": not any(port.get("hostPort") for port in container.get("ports", [])),
            "sysctls": "sysctls" not in own,
        }
        broken += [name for name, kept in rules.items() if not kept]
    return broken


@pytest.mark.parametrize(
    ("path", "value", "broken"),
    [
        (("hostNetwork",), True, "hostNetwork"),
        (("volumes", 0, "hostPath"), {"path": "/"}, "scratch"),
        (("securityContext", "runAsNonRoot"), False, "runAsNonRoot"),
        (("securityContext", "runAsUser"), 0, "runAsUser"),
        (("securityContext", "seccompProfile"), {"type": "Unconfined"}, "seccompProfile"),
        (("containers", 0, "securityContext", "allowPrivilegeEscalation"), True, "allowPrivilegeEscalation"),
        (("containers", 0, "securityContext", "privileged"), True, "privileged"),
        (("containers", 0, "securityContext", "capabilities"), {}, "capabilities.drop"),
        (("containers", 0, "securityContext", "capabilities", "add"), ["NET_RAW"], "capabilities.add"),
    ],
)
def test_a_pod_that_breaks_the_standard_is_noticed(path, value, broken):
    spec = copy.deepcopy(pod(Family.RIDGE)["spec"])
    *parents, last = path
    found = spec
    for part in parents:
        found = found[part]
    found[last] = value
    assert violations(spec) == [broken]


def test_the_quota_admits_the_jobs_of_a_run_and_counts_only_what_pods_state():
    [quota] = of_kind("ResourceQuota").values()
    hard = {name: parse_quantity(value) for name, value in quota["spec"]["hard"].items()}
    needs = [PRESETS[family].needs for family in Family for _ in Strategy for _ in Horizon]
    assert hard["pods"] >= len(needs)
    assert hard["requests.cpu"] >= sum(need.cpus for need in needs)
    assert min(hard["requests.memory"], hard["limits.memory"]) >= sum(need.memory_mib for need in needs) * 2**20
    assert hard["requests.nvidia.com/gpu"] > 0
    # A quota on CPU or memory refuses every pod that does not state it.
    [container] = pod(Family.CONCAT_MLP)["spec"]["containers"]
    stated = {f"{kind}.{name}" for kind, amounts in container["resources"].items() for name in amounts}
    assert set(hard) - {"pods"} <= stated


def test_a_limit_range_sets_no_maximum():
    [limits] = of_kind("LimitRange").values()
    for item in limits["spec"]["limits"]:
        assert set(item) == {"type", "default", "defaultRequest"}
        assert set(item["default"]) == {"memory"}


def test_pods_reach_dns_and_s3_but_never_the_credentials_of_their_machine():
    policies = of_kind("NetworkPolicy")
    denied = policies.pop("default-deny")["spec"]
    assert denied == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    labels = pod(Family.RIDGE)["metadata"]["labels"]
    for name, policy in policies.items():
        assert policy["spec"]["policyTypes"] == ["Egress"], name
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items(), name
        for rule in policy["spec"]["egress"]:
            assert all(rule.get(part) for part in ("to", "ports")), name  # without either, everything is open
    ports = {
        name: {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
        for name, policy in policies.items()
    }
    assert ports == {"clipfarm-dns": {53}, "clipfarm-s3": {1}, "clipfarm-token-exchange": {443}}
    for name in ("clipfarm-s3", "clipfarm-token-exchange"):
        [rule] = policies[name]["spec"]["egress"]
        assert "169.254.0.0/16" in rule["to"][0]["ipBlock"]["except"], name


def test_the_example_of_a_secret_is_refused_until_it_is_filled_in():
    [secret] = of_kind("Secret").values()
    assert set(secret["data"]) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    for value in secret["data"].values():
        with pytest.raises(binascii.Error):
            base64.b64decode(value, validate=True)


def test_without_the_secret_a_pod_asks_for_none():
    env = IMAGE | {"CLIPFARM_POD_S3_SECRET": ""}
    job = Job("run", "d" * 64, Strategy.CONCAT, Horizon.D7, Family.RIDGE)
    spec = training_pod(job, PodSettings.from_environment(Family.RIDGE, env), Settings(bucket="clips")).spec
    assert not spec.containers[0].env_from
    assert spec.service_account_name == "clipfarm-trainer"
