"""The image and the compose deployment, as far as they can be checked without Docker."""

import json
import re
import runpy
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import pytest
import yaml
from dagster._core.instance.ref import InstanceRef
from dagster_postgres.utils import pg_url_from_config
from sqlalchemy import make_url

from ftzard.dagster_instance import DAGSTER_YAML

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
REQUIRED_VARIABLE = re.compile(r"\$\{([A-Z_]+):\?[^}]+\}")


def instructions(name: str) -> list[str]:
    """The arguments of one instruction of the Dockerfile, continuation lines joined."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.split(maxsplit=1)[1] for line in joined.splitlines() if line.startswith(f"{name} ")]


def health_command(service: dict[str, Any]) -> list[str]:
    test: list[str] = service.get("healthcheck", {}).get("test", ["CMD"])
    return test[1:]


def commands() -> list[list[str]]:
    """Every command that runs in our image."""
    image = [json.loads(instructions("CMD")[0]), json.loads(instructions("HEALTHCHECK")[0].split("CMD", 1)[1])]
    services = [command for s in OURS.values() for command in (s["command"], health_command(s)) if command]
    return [*image, *services]


def variables(service: dict[str, Any]) -> dict[str, str]:
    return dict(service.get("environment", {}))


def option(service: str, name: str) -> str:
    return next(str(word).split("=", 1)[1] for word in SERVICES[service]["command"] if word.startswith(f"{name}="))


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint", path=sysconfig.get_path("scripts"))
    assert hadolint is not None
    result = subprocess.run([hadolint, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")


def test_images_are_pinned_to_a_version() -> None:
    images = [source.split()[0] for source in instructions("FROM")]
    images += [service["image"] for service in SERVICES.values()]
    assert [image for image in images if not re.search(r":v?\d+\.\d+", image)] == []


def test_the_image_is_built_on_cuda_for_the_environment_that_pixi_installs() -> None:
    assert any("nvidia/cuda:13" in source and "-runtime-" in source for source in instructions("FROM"))
    assert any("pixi install --environment docker" in run for run in instructions("RUN"))
    assert any(".pixi/envs/docker/bin" in env for env in instructions("ENV"))


def test_programs_run_as_a_user_without_privileges() -> None:
    defaults = dict(arg.split("=") for arg in instructions("ARG"))
    user = re.sub(r"\$\{(\w+)\}", lambda match: defaults[match[1]], instructions("USER")[-1])
    assert int(user) > 0
    after = DOCKERFILE[DOCKERFILE.rindex("\nUSER ") :]
    assert "root" not in after


def test_dependencies_are_installed_before_the_source_is_copied() -> None:
    assert DOCKERFILE.index("pixi install") < DOCKERFILE.index("COPY src")


def test_nothing_is_fetched_from_the_network_but_by_the_package_manager() -> None:
    assert instructions("ADD") == []
    assert not re.search(r"curl|wget|https?://(?!127\.0\.0\.1)", DOCKERFILE)


def test_what_is_copied_exists_and_reaches_the_build() -> None:
    copied = [words[:-1] for words in map(str.split, instructions("COPY")) if not words[0].startswith("--from")]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for source in [name for names in copied for name in names]:
        assert (ROOT / source).exists()
        assert source in allowed


def test_the_build_sees_nothing_that_it_was_not_given() -> None:
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


def test_the_image_says_whether_it_is_healthy_and_which_ports_it_serves() -> None:
    assert instructions("EXPOSE") == ["3000 5000"]
    assert "127.0.0.1:3000/server_info" in instructions("HEALTHCHECK")[0]


@pytest.mark.parametrize("command", commands(), ids=lambda command: " ".join(command[:3]))
def test_every_command_starts_a_program_that_is_installed(command: list[str]) -> None:
    assert shutil.which(command[0], path=sysconfig.get_path("scripts"))


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in commands() if c[0] != "python"], ids=lambda c: " ".join(c[:3]))
def test_every_option_of_a_command_is_known_to_its_program(command: list[str]) -> None:
    words = [word for word in command if not word.startswith("-") and not re.fullmatch(r"[\d.]+|ftzard\..*", word)]
    program = Path(sysconfig.get_path("scripts")) / words[0]
    result = subprocess.run([program, *words[1:], "--help"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    options = {word.split("=")[0] for word in command if word.startswith("--")}
    assert {name for name in options if not re.search(rf"{name}\b", result.stdout)} == set()


def test_each_service_of_the_deployment_is_there() -> None:
    assert set(SERVICES) == {"postgres", "mlflow-db", "mlflow", "worker", "dagster-webserver", "dagster-daemon"}


def test_a_service_waits_until_those_it_needs_are_healthy() -> None:
    for service in SERVICES.values():
        for name, when in service.get("depends_on", {}).items():
            assert when == {"condition": "service_healthy"}
            assert "healthcheck" in SERVICES[name]


def test_user_interfaces_are_published_on_loopback_and_databases_not_at_all() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {"mlflow": ["127.0.0.1:5000:5000"], "dagster-webserver": ["127.0.0.1:3000:3000"]}


def test_exactly_one_service_has_the_gpu_and_it_loads_the_assets() -> None:
    devices = {name: service["deploy"]["resources"] for name, service in SERVICES.items() if "deploy" in service}
    assert list(devices) == ["worker"]
    (device,) = devices["worker"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert SERVICES["worker"]["command"][:3] == ["dagster", "code-server", "start"]


def test_passwords_come_from_the_environment_which_must_set_them() -> None:
    for service in SERVICES.values():
        for name, value in variables(service).items():
            if "PASSWORD" in name:
                assert REQUIRED_VARIABLE.fullmatch(value), name
            elif urlsplit(value).username:
                assert REQUIRED_VARIABLE.fullmatch(value.split(":", 2)[2].rsplit("@", 1)[0]), name
        assert "PASSWORD" not in " ".join(service.get("command", []))


def test_the_example_environment_names_every_variable_and_gives_no_password() -> None:
    example = (ROOT / ".env.example").read_text()
    named = set(re.findall(r"^#?([A-Z_]+)=", example, flags=re.MULTILINE))
    assert named == set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    assert re.findall(r"^[A-Z_]*PASSWORD=.+", example, flags=re.MULTILINE) == []


def test_mounted_files_are_in_the_repository_and_volumes_are_named() -> None:
    for service in SERVICES.values():
        for source, _, mode in ((*volume.rsplit(":", 2), "")[:3] for volume in service.get("volumes", [])):
            if source.startswith("./"):
                assert (ROOT / source).is_file()
                assert mode == "ro"
            elif not source.startswith("${"):
                assert source in COMPOSE["volumes"]


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InstanceRef:
    shutil.copy(ROOT / "docker" / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_DB_PASSWORD", "secret")
    return InstanceRef.from_dir(str(tmp_path))


def test_dagster_accepts_the_deployments_settings_and_has_the_driver_of_its_database(instance: InstanceRef) -> None:
    storage = instance.storage_data
    assert storage is not None
    assert (storage.module_name, storage.class_name) == ("dagster_postgres", "DagsterPostgresStorage")
    config = yaml.safe_load(storage.config_yaml)
    assert config["postgres_db"]["password"] == {"env": "DAGSTER_DB_PASSWORD"}
    url = make_url(pg_url_from_config({"postgres_db": {**config["postgres_db"], "password": "secret"}}))
    database = variables(SERVICES[str(url.host)])
    assert (url.username, url.database) == (database["POSTGRES_USER"], database["POSTGRES_DB"])
    # The driver of a bare `postgresql` changed under us once, with SQLAlchemy 2.1.
    assert url.get_dialect().import_dbapi()


def test_runs_are_queued_and_started_by_the_code_server(instance: InstanceRef) -> None:
    classes = [data.class_name for data in (instance.run_coordinator_data, instance.run_launcher_data) if data]
    assert classes == ["QueuedRunCoordinator", "DefaultRunLauncher"]


def test_mlflow_has_the_driver_of_its_database() -> None:
    text = variables(SERVICES["mlflow"])["MLFLOW_BACKEND_STORE_URI"]
    url = make_url(REQUIRED_VARIABLE.sub("secret", text))
    database = variables(SERVICES[str(url.host)])
    assert (url.username, url.database) == (database["POSTGRES_USER"], database["POSTGRES_DB"])
    assert url.get_dialect().import_dbapi()


def test_webserver_and_daemon_look_for_the_assets_where_the_worker_serves_them() -> None:
    workspace = yaml.safe_load((ROOT / "docker" / "workspace.yaml").read_text())
    (location,) = workspace["load_from"]
    server = location["grpc_server"]
    assert server["host"] == "worker"
    assert str(server["port"]) == option("worker", "--port")


def test_the_workers_runs_are_tracked_on_the_mlflow_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = ROOT / "docker" / "definitions.py"
    defs = runpy.run_path(str(source))["defs"]
    assert isinstance(defs, dg.Definitions)
    # Nobody is there to switch them on.
    sensors = [one for one in defs.sensors or [] if isinstance(one, dg.SensorDefinition)]
    assert {sensor.default_status for sensor in sensors} == {dg.DefaultSensorStatus.RUNNING}
    uri = urlsplit(re.findall(r"tracking_uri=(\S+?)\"", source.read_text())[0])
    assert uri.hostname == "mlflow"
    assert str(uri.port) == option("mlflow", "--port")
    # MLflow answers only to names it was told.
    assert uri.netloc in option("mlflow", "--allowed-hosts").split(",")


def test_the_local_template_loads_and_sets_the_same_limits(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".dagster" / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path))) as instance:
        assert instance.telemetry_enabled is False
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_settings["free_slots_after_run_end_seconds"] == 60
    # A project gets the file that this repository has.
    assert (ROOT / ".dagster" / "dagster.yaml").read_text() == DAGSTER_YAML
    local = yaml.safe_load((ROOT / ".dagster" / "dagster.yaml").read_text())
    deployed = yaml.safe_load((ROOT / "docker" / "dagster.yaml").read_text())
    assert {name: deployed[name] for name in local} == local
