"""Google's published schema, and its client with answers that we give: no account, no network."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from chex.errors import InputError
from search.cluster import gcp_api
from search.cluster.gcp_api import check_instance, running_instances
from tests.conftest import GCP, filled, with_variants

pytest.importorskip("googleapiclient", reason="Google's client is of the extra `cluster`")

from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError, TransportError
from googleapiclient import discovery
from googleapiclient.http import HttpMockSequence
from httplib2 import ServerNotFoundError


def node_configs() -> dict[str, Any]:
    types = yaml.safe_load(with_variants(filled(GCP)))["available_node_types"]
    return {name: each["node_config"] for name, each in types.items()}


def refused(change: dict[str, Any]) -> str:
    with pytest.raises(InputError) as error:
        check_instance("t4", node_configs()["t4"] | change)
    return str(error.value)


@pytest.mark.parametrize("name", ["head", "t4", "l4", "a100"])
def test_the_shipped_machines_are_valid_instances(name: str) -> None:
    check_instance(name, node_configs()[name])


def test_a_misspelt_field_is_reported_with_the_nearest() -> None:
    message = refused({"guestAccelerator": []})
    assert message.startswith(
        "t4.guestAccelerator: the compute API's Instance has no such field; did you mean 'guestAccelerators'? choices: "
    )


def test_a_misspelt_nested_field_is_reported_with_its_path() -> None:
    message = refused({"disks": [{"initializeParams": {"diskSizeGB": 10}}]})
    assert message.startswith(
        "t4.disks.0.initializeParams.diskSizeGB: the compute API's AttachedDiskInitializeParams has no such field; "
        "did you mean 'diskSizeGb'? choices: "
    )


def test_a_misspelt_value_is_reported_with_the_nearest() -> None:
    message = refused({"scheduling": {"provisioningModel": "SPOTT"}})
    assert message.startswith(
        "t4.scheduling.provisioningModel: 'SPOTT' is unknown to the compute API; did you mean 'SPOT'? choices: "
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"scheduling": [{"preemptible": True}]}, "t4.scheduling: [{'preemptible': True}] is not of type 'object'"),
        ({"machineType": 8}, "t4.machineType: 8 is not of type 'string'"),
        ({"scheduling": {"automaticRestart": "no"}}, "t4.scheduling.automaticRestart: 'no' is not of type 'boolean'"),
        ({"disks": [{"diskSizeGb": "big"}]}, "t4.disks.0.diskSizeGb: 'big' is not of type 'string'"),
    ],
)
def test_a_value_of_another_type_is_refused(change: dict[str, Any], sentence: str) -> None:
    assert refused(change) == f"{sentence}, which the compute API needs; correct it"


def test_labels_are_free_and_a_template_is_left_to_ray() -> None:
    check_instance("t4", node_configs()["t4"] | {"labels": {"team": "xray"}, "sourceInstanceTemplate": "global/x"})


@pytest.mark.parametrize("name", ["head", "t4", "l4", "a100"])
def test_the_request_that_ray_sends_for_a_machine_is_an_instance(name: str) -> None:
    from ray.autoscaler._private.gcp.node import GCPCompute

    http = HttpMockSequence([({"status": "200"}, json.dumps({"name": "operation-1"}))])
    http.credentials = AnonymousCredentials()
    client = discovery.build("compute", "v1", http=http, cache_discovery=False)
    ray = GCPCompute(client, "xray-42", "us-central1-a", "chexpert")
    ray.get_new_authorized_http = lambda _: http
    ray.create_instance(node_configs()[name], {"ray-node-name": f"ray-chexpert-{name}"}, wait_for_operation=False)
    ((address, method, body, _),) = http.request_sequence
    sent = json.loads(body)
    check_instance("request", sent)
    assert (method, address.split("?")[0].split("/compute/v1/")[1]) == (
        "POST",
        "projects/xray-42/zones/us-central1-a/instances",
    )
    assert sent["labels"]["ray-cluster-name"] == "chexpert"
    assert sent["machineType"].startswith("zones/us-central1-a/machineTypes/")
    if name == "head":
        assert "scheduling" not in sent
        return
    assert sent["scheduling"]["provisioningModel"] == "SPOT"
    assert sent["serviceAccounts"][0]["email"] == "ray-autoscaler-sa-v1@xray-42.iam.gserviceaccount.com"
    assert sent["disks"][1]["type"] == "SCRATCH"
    if name == "t4":
        assert sent["guestAccelerators"] == [
            {
                "acceleratorType": "projects/xray-42/zones/us-central1-a/acceleratorTypes/nvidia-tesla-t4",
                "acceleratorCount": 1,
            }
        ]


def answering(status: str, body: dict[str, Any]) -> tuple[Any, HttpMockSequence]:
    http = HttpMockSequence([({"status": status}, json.dumps(body))])
    return discovery.build("compute", "v1", http=http, cache_discovery=False), http


def test_running_machines_are_found_by_cluster_name() -> None:
    client, http = answering("200", {"items": [{"name": "ray-chexpert-head-1"}]})
    assert running_instances("xray-42", "us-central1-a", "chexpert", client) == ["ray-chexpert-head-1"]
    assert "labels.ray-cluster-name+%3D+chexpert" in http.request_sequence[0][0]


def test_a_free_name_has_no_machines() -> None:
    assert running_instances("xray-42", "us-central1-a", "chexpert", answering("200", {})[0]) == []


def test_a_project_that_the_api_refuses_is_reported() -> None:
    client, _ = answering("403", {"error": {"code": 403, "message": "Compute Engine API has not been used"}})
    with pytest.raises(InputError) as error:
        running_instances("xray-42", "us-central1-a", "chexpert", client)
    assert str(error.value) == (
        "project xray-42, zone us-central1-a: the compute API refuses (Compute Engine API has not been used); check "
        "provider.project_id, provider.availability_zone and that the account may use Compute Engine there"
    )


@pytest.mark.parametrize(
    ("raised", "sentence"),
    [
        (
            DefaultCredentialsError("Your default credentials were not found. To set up, see"),
            "no credentials of Google Cloud (Your default credentials were not found); log in: gcloud auth "
            "application-default login",
        ),
        (
            ServerNotFoundError("Unable to find the server"),
            "the compute API does not answer (Unable to find the server); check the network",
        ),
        (
            TransportError("Unable to find the server"),
            "the compute API does not answer (Unable to find the server); check the network",
        ),
        (TimeoutError("timed out"), "the compute API does not answer (timed out); check the network"),
    ],
)
def test_without_credentials_or_network_a_sentence_says_so(
    raised: Exception, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def client() -> Any:
        raise raised

    monkeypatch.setattr(gcp_api, "_client", client)
    with pytest.raises(InputError) as error:
        running_instances("xray-42", "us-central1-a", "chexpert")
    assert str(error.value) == f"project xray-42, zone us-central1-a: {sentence}"


def test_without_googles_client_nothing_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcp_api, "client_is_installed", lambda: False)
    check_instance("t4", {"nonsense": Path("x")})
