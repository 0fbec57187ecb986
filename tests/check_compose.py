"""Holds docker-compose.yml to its promises: all workers, no root, no secrets, nothing public."""

import pathlib
import re

import yaml

WORKERS = {"orchestrator", "inference", "tools", "memory", "billing", "gateway", "telegram", "osc"}
# Services that answer HTTP, and where; PostgreSQL has its own check.
HEALTH = {"nats": "/healthz", "gateway": "/readyz", "postgres": "pg_isready"}
REPO = pathlib.Path(__file__).resolve().parent.parent

text = (REPO / "docker-compose.yml").read_text()
services = yaml.safe_load(text)["services"]

named = {name for name, service in services.items() if service.get("command") == ["worker", name]}
assert named == WORKERS, f"workers without a service, or services that are no worker: {named ^ WORKERS}"
assert services["setup"]["command"] == ["bus", "apply"] and services["setup"]["restart"] == "no"

for name, service in services.items():
    user = str(service.get("user", "root")).split(":")[0]
    assert user not in ("root", "0"), f"{name} runs as root"
    assert not service.get("privileged") and service["cap_drop"] == ["ALL"], f"{name} has privileges"
    for port in service.get("ports", []):
        assert isinstance(port, str) and port.startswith("127.0.0.1:"), f"{name} publishes {port}"
    assert service.get("network_mode") != "host", f"{name} shares the host's network"
    for key, value in service.get("environment", {}).items():
        secret = re.search("PASSWORD|TOKEN|KEY|_URL", key)
        assert not secret or value is None or "${" in value, f"{name} has {key} in the file"

for name, expected in HEALTH.items():
    assert expected in str(services[name].get("healthcheck")), f"{name} has no healthcheck of {expected}"
for name in WORKERS:
    wait = services[name]["depends_on"]["setup"]["condition"]
    assert wait == "service_completed_successfully", f"{name} does not wait for setup"

nats = (REPO / "bus-config/nats-server.conf").read_text()
assert "sync_interval: always" in nats, "nats acknowledges what is not on disk"
