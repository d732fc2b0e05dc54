"""What `tests/deploy/check` runs: each check is a function, its name a claim.

The last line is `N passed, N failed, N skipped`; the exit code is 1 if a
check has failed.
"""

import importlib.resources
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib

import jsonschema
import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
DOCS = ROOT / "docs" / "operations.md"
PROGRAM = os.environ["COZEWAY_BIN"]
HERE = pathlib.Path(__file__).resolve().parent
LINTERS = pathlib.Path(sys.executable).parent

# The oldest release with native sidecars, and the newest with a schema.
KUBERNETES_VERSIONS = ("1.29", "1.37")
# How long the program may need beyond drain_delay and shutdown_grace.
STOP_SLACK = 10
# systemd-analyze security, in tenths.
MOST_EXPOSURE = 15
TOKEN = "pat_" + "example" * 3
KEY = "sk-" + "example" * 3
PASSWORD = "password" * 3


class Skip(Exception):
    """This cannot be checked here."""


CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


# --- Reading ---------------------------------------------------------------


class Loader(yaml.SafeLoader):
    """YAML with Compose's tags, and without repeated keys."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = {key for key in keys if keys.count(key) > 1}
        assert not repeated, f"repeated keys {repeated} {node.start_mark}"
        return super().construct_mapping(node, deep)


Loader.add_constructor(
    yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG,
    lambda loader, node: loader.construct_mapping(node, deep=True),
)


def override(loader, node):
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True)


Loader.add_constructor("!override", override)


def documents(path):
    return [one for one in yaml.load_all(path.read_text(), Loader) if one is not None]


def manifests():
    paths = [path for path in sorted(KUBERNETES.glob("*.yaml")) if path.name != "kustomization.yaml"]
    return [(path.name, one) for path in paths for one in documents(path)]


def of_kind(kind):
    return [(file, one) for file, one in manifests() if one["kind"] == kind]


def run(*command, ok=(0,), **more):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120, **more)
    assert done.returncode in ok, f"{command[0]}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def tool(name):
    path = shutil.which(name)
    if path is None:
        raise Skip(f"there is no {name} here")
    return path


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h|d)?", str(text)).groups()
    return int(number) * {"ms": 0.001, None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]


def stop_time(config):
    server = tomllib.loads(config)["server"]
    return seconds(server["drain_delay"]) + seconds(server["shutdown_grace"]) + STOP_SLACK


def pods():
    for file, one in of_kind("Deployment"):
        yield file, one, one["spec"]["template"]["spec"]


def containers(pod):
    return pod.get("initContainers", []) + pod["containers"]


# --- YAML, Kubernetes ------------------------------------------------------


@check
def every_yaml_file_can_be_read():
    for path in sorted(DEPLOY.rglob("*.yaml")):
        assert documents(path), f"{path.name} is empty"


@check
def kubernetes_objects_fit_their_schemas():
    for file, one in manifests():
        for version in KUBERNETES_VERSIONS:
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                raise AssertionError(f"{file}, {one['kind']}, {version}: {error.path} {error.message}") from error


@check
def kustomize_builds_valid_objects_without_a_secret():
    built = run(tool("kubectl"), "kustomize", KUBERNETES).stdout
    objects = list(yaml.load_all(built, Loader))
    for one in objects:
        kubernetes_validate.validate(one, KUBERNETES_VERSIONS[-1], strict=True)
    kinds = {one["kind"] for one in objects}
    assert "Secret" not in kinds, "applying it would replace a real token"
    expected = {one["kind"] for _, one in manifests() if _ == "service.yaml"}
    assert kinds == expected, kinds ^ expected


@check
def kubernetes_objects_refer_to_what_is_there():
    kustomization = documents(KUBERNETES / "kustomization.yaml")[0]
    for resource in kustomization["resources"]:
        assert (KUBERNETES / resource).is_file(), resource
    images = {container["image"] for _, _, pod in pods() for container in containers(pod)}
    for image in kustomization["images"]:
        assert f"{image['name']}:{image['newTag']}" in images, image
    names = {(one["kind"], one["metadata"]["name"]) for _, one in manifests()}
    keys_of_secrets = {one["metadata"]["name"]: one["stringData"].keys() for _, one in of_kind("Secret")}
    for file, deployment, pod in pods():
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items(), file
        volumes = {}
        for volume in pod["volumes"]:
            volumes[volume["name"]] = volume
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in names, volume
            if "secret" in volume:
                assert ("Secret", volume["secret"]["secretName"]) in names, volume
        for container in containers(pod):
            for variable in container.get("env", []):
                secret = variable.get("valueFrom", {}).get("secretKeyRef")
                assert secret is None or secret["key"] in keys_of_secrets[secret["name"]], variable
            ports = {port["name"] for port in container.get("ports", [])}
            for mount in container.get("volumeMounts", []):
                assert mount["name"] in volumes and "subPath" not in mount, mount
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                http = container.get(probe, {}).get("httpGet")
                assert http is None or http["port"] in ports, (file, probe)
    _, deployment, _ = next(pod for pod in pods() if pod[0] == "service.yaml")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = {
        "Service": lambda spec: spec["selector"],
        "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
        "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
    }
    for kind, selector in selectors.items():
        for file, one in of_kind(kind):
            assert selector(one["spec"]).items() == labels.items(), (file, kind)
    for file, one in of_kind("HorizontalPodAutoscaler"):
        assert one["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"], file
        assert "replicas" not in deployment["spec"], "the autoscaler's number would be undone"


@check
def pods_are_restricted_and_know_their_size():
    for file, _, pod in pods():
        context = pod["securityContext"]
        assert context["runAsNonRoot"] and context["seccompProfile"]["type"] == "RuntimeDefault", file
        assert pod["automountServiceAccountToken"] is False, file
        for container in containers(pod):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, file
            assert context["readOnlyRootFilesystem"] is True, file
            assert context["capabilities"] == {"drop": ["ALL"]}, file
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), file
            assert "memory" in container["resources"]["limits"], file
            assert not container["image"].endswith(":latest"), file


@check
def everything_leaves_time_to_stop():
    configs = {file: one["data"]["cozeway.toml"] for file, one in of_kind("ConfigMap")}
    for file, _, pod in pods():
        assert pod["terminationGracePeriodSeconds"] >= stop_time(configs[file]), file
    wanted = stop_time((DEPLOY / "cozeway.toml").read_text())
    compose = documents(DEPLOY / "compose.yaml")[0]
    assert seconds(compose["services"]["cozeway"]["stop_grace_period"]) >= wanted, "compose.yaml"
    unit = (DEPLOY / "cozeway.service").read_text()
    assert seconds(re.search(r"^TimeoutStopSec=(.*)$", unit, re.M)[1]) >= wanted, "cozeway.service"


# --- Compose, image --------------------------------------------------------


@check
def compose_files_fit_the_compose_specification():
    schemas = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((schemas / "compose-spec.json").read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    for path in sorted(DEPLOY.glob("compose*.yaml")):
        faults = [f"{path.name}: {error.json_path}: {error.message}" for error in validator.iter_errors(documents(path)[0])]
        assert not faults, "\n".join(faults)


@check
def the_compose_service_is_confined():
    service = documents(DEPLOY / "compose.yaml")[0]["services"]["cozeway"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert all("127.0.0.1" in port for port in service["ports"])
    assert service["healthcheck"]["test"][0] == "CMD", "the image has no shell"


@check
def what_is_remembered_has_a_place_that_can_be_written_to():
    url = tomllib.loads((DEPLOY / "cozeway.toml").read_text())["state"]["url"]
    folder, file = re.fullmatch(r"sqlite:\$\{STATE_DIRECTORY:-([^}]+)\}/([^/]+)", url).groups()
    assert file.endswith(".db")
    unit = (DEPLOY / "cozeway.service").read_text()
    name = re.search(r"^StateDirectory=(.*)$", unit, re.M)[1]
    assert folder == f"/var/lib/{name}", "a command without systemd's variable looks elsewhere"
    compose = documents(DEPLOY / "compose.yaml")[0]
    mounts = {one["target"]: one for one in compose["services"]["cozeway"]["volumes"]}
    assert mounts[folder]["source"] in compose["volumes"] and not mounts[folder].get("read_only")
    final = re.split(r"^FROM ", (DEPLOY / "Dockerfile").read_text(), flags=re.M)[-1]
    user = re.search(r"^USER (.*)$", final, re.M)[1]
    assert re.search(rf"^COPY --from=build --chown={user} \S+ {folder}$", final, re.M), "a new volume is root's"
    assert f'VOLUME ["{folder}"]' in final, "a read-only container could not write there"
    configs = {file: one["data"]["cozeway.toml"] for file, one in of_kind("ConfigMap")}
    for file, _, pod in pods():
        url = tomllib.loads(configs[file])["state"]["url"]
        gateway = next(one for one in containers(pod) if one["name"] == "cozeway")
        if url.startswith("sqlite:"):
            folder = str(pathlib.PurePosixPath(url.removeprefix("sqlite:")).parent)
            mount = next((one for one in gateway["volumeMounts"] if one["mountPath"] == folder), None)
            assert mount is not None and not mount.get("readOnly"), f"{file}: nothing to write to at {folder}"
            volume = next(one for one in pod["volumes"] if one["name"] == mount["name"])
            assert {"emptyDir", "persistentVolumeClaim"} & volume.keys(), file
            assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"], file
        else:
            name = re.fullmatch(r"\$\{(\w+)\}", url)[1]
            assert any(one["name"] == name and "valueFrom" in one for one in gateway["env"]), file
    for file, _ in of_kind("HorizontalPodAutoscaler"):
        assert not tomllib.loads(configs[file])["state"]["url"].startswith("sqlite:"), f"{file}: replicas share no file"


@check
def the_dockerfile_passes_its_linter():
    run(LINTERS / "hadolint", "--failure-threshold", "style", DEPLOY / "Dockerfile")


@check
def the_image_runs_the_program_as_nobody_and_asks_it_for_its_health():
    stages = re.split(r"^FROM ", (DEPLOY / "Dockerfile").read_text(), flags=re.M)
    final = stages[-1]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", final, re.M)
    assert re.search(r"^STOPSIGNAL SIGTERM$", final, re.M)
    assert 'CMD ["/usr/local/bin/cozeway", "health"]' in final
    assert re.search(r'^ENTRYPOINT \["/usr/local/bin/cozeway"\]$', final, re.M)
    assert not re.search(r"^(ADD|RUN) ", final, re.M), "there is no shell to run it"


@check
def the_build_context_holds_what_the_build_reads():
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    kept = [line[1:] for line in ignored if line.startswith("!")]
    assert "*" in ignored
    with tempfile.TemporaryDirectory() as context:
        context = pathlib.Path(context)
        for name in kept:
            source, target = ROOT / name, context / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target)
            elif source.is_file():
                shutil.copy(source, target)
        if shutil.which("cargo"):
            run("cargo", "metadata", "--no-deps", "--offline", "--format-version=1", cwd=context)
        embedded = re.compile(r'include_(?:str|bytes)!\(\s*(concat!\(env!\("CARGO_MANIFEST_DIR"\),\s*)?"([^"]+)"')
        for source in sorted((context / "src").rglob("*.rs")):
            if "tests" in source.stem or "tests" in source.parts:
                continue
            for from_top, name in embedded.findall(source.read_text().split("#[cfg(test)]")[0]):
                path = context / name.lstrip("/") if from_top else source.parent / name
                assert path.resolve().is_file(), f"{source.relative_to(context)} embeds {name}, which .dockerignore leaves out"


@check
def every_version_is_the_programs():
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
    assert f"\nARG VERSION={version}\n" in (DEPLOY / "Dockerfile").read_text(), "deploy/Dockerfile"
    image = f"registry.example.com/cozeway:{version}"
    for file, _, pod in pods():
        assert image in [container["image"] for container in containers(pod)], file


# --- systemd ---------------------------------------------------------------


def unit_for_here(directory):
    """The unit, with the program where it is on this machine."""
    path = pathlib.Path(directory) / "cozeway.service"
    path.write_text((DEPLOY / "cozeway.service").read_text().replace("/usr/local/bin/cozeway", PROGRAM))
    return path


@check
def systemd_takes_the_unit():
    analyze = tool("systemd-analyze")
    with tempfile.TemporaryDirectory() as directory:
        done = run(analyze, "verify", "--man=no", unit_for_here(directory))
        assert "cozeway.service" not in done.stderr, done.stderr


@check
def systemd_finds_the_unit_little_exposed():
    analyze = tool("systemd-analyze")
    with tempfile.TemporaryDirectory() as directory:
        unit = unit_for_here(directory)
        run(analyze, "security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSURE}", unit)


# --- Configs, the program --------------------------------------------------


def secrets(directory):
    for name, text in (("coze-token", TOKEN), ("team-a-key", KEY)):
        (pathlib.Path(directory) / name).write_text(text + "\n")


def environment(directory, **more):
    """What systemd sets, and what the configs of Kubernetes take."""
    redis = f"redis://cozeway:{PASSWORD}@127.0.0.1:1/0"
    return {"CREDENTIALS_DIRECTORY": str(directory), "STATE_DIRECTORY": str(directory), "REDIS_URL": redis, **more}


@check
def the_program_takes_every_config():
    configs = [("cozeway.toml", (DEPLOY / "cozeway.toml").read_text())]
    configs += [(file, one["data"]["cozeway.toml"]) for file, one in of_kind("ConfigMap")]
    for variables in ({}, {"LISTEN": "0.0.0.0:8787", "COZE_BASE_URL": "http://coze-server:8888"}):
        for name, config in configs:
            with tempfile.TemporaryDirectory() as directory:
                secrets(directory)
                path = pathlib.Path(directory) / "cozeway.toml"
                path.write_text(config.replace("/run/secrets/cozeway", directory))
                try:
                    done = run(PROGRAM, "check", "--config", path, env=environment(directory, **variables))
                except AssertionError as error:
                    raise AssertionError(f"{name}: {error}") from error
                for secret in (TOKEN, KEY, PASSWORD):
                    assert secret not in done.stdout + done.stderr, name


class Gateway:
    """The program with deploy/cozeway.toml, on a free port."""

    def __init__(self, *before):
        self.directory = tempfile.TemporaryDirectory()
        secrets(self.directory.name)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % free.getsockname()[1]
        config = DEPLOY / "cozeway.toml"
        self.process = subprocess.Popen(
            [*before, PROGRAM, "serve", "--config", str(config)],
            env=environment(self.directory.name, LISTEN=self.address, COZE_BASE_URL="http://127.0.0.1:1"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )

    def __enter__(self):
        assert self.process.stdout.readline().startswith("cozeway listens"), self.process.stderr.read()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.directory.cleanup()

    def health(self):
        return subprocess.run(
            [PROGRAM, "health", "--url", f"http://{self.address}"], capture_output=True, text=True, timeout=30
        )


@check
def the_program_runs_with_the_config_and_is_healthy_until_it_is_told_to_stop():
    with Gateway() as gateway:
        healthy = gateway.health()
        assert healthy.returncode == 0, healthy.stderr
        gateway.process.send_signal(signal.SIGHUP)
        time.sleep(1)
        healthy = gateway.health()
        assert healthy.returncode == 0, f"after SIGHUP: {healthy.stderr}"
        gateway.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        assert gateway.health().returncode == 1, "still healthy while it drains"
        assert gateway.process.wait(timeout=30) == 0


@check
def the_program_runs_under_the_units_system_call_filters():
    tool("systemd-analyze")
    python = "/usr/bin/python3"
    probe = subprocess.run([python, "-c", "import seccomp"], capture_output=True)
    if probe.returncode != 0:
        raise Skip("Debian's python3-seccomp is not installed")
    with Gateway(python, "-B", str(HERE / "confined.py"), str(DEPLOY / "cozeway.service")) as gateway:
        healthy = gateway.health()
        assert healthy.returncode == 0, healthy.stderr
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(timeout=30) == 0


# --- What else is there ----------------------------------------------------


@check
def the_dashboard_can_be_read():
    path = DEPLOY / "grafana.json"
    if not path.is_file():
        raise Skip("there is no deploy/grafana.json")
    board = json.loads(path.read_text())
    assert board.get("panels"), "it has no panels"


@check
def nothing_looks_like_a_secret():
    shapes = re.compile(
        r"\b(?:pat|sat|czs|cztei)_[A-Za-z0-9]{16,}|\bsk-[A-Za-z0-9_-]{16,}|\beyJ[\w-]{10,}\.|\bAKIA[A-Z0-9]{12,}"
        r"|PRIVATE KEY-----|\b(?!0{64})[0-9a-f]{64}\b|bearer [A-Za-z0-9._-]{16,}",
        re.I,
    )
    for path in [*sorted(DEPLOY.rglob("*")), DOCS]:
        if path.is_file() and not {"secrets", "config"} & set(path.relative_to(ROOT).parts):
            found = shapes.search(path.read_text())
            assert found is None, f"{path.relative_to(ROOT)}: {found[0]}"
    for file, one in of_kind("Secret"):
        values = {*one.get("stringData", {}).values(), *one.get("data", {}).values()}
        assert values == {"REPLACE_ME"}, file


@check
def the_manual_names_every_log_field_error_code_and_metric():
    text = DOCS.read_text()
    journal = (ROOT / "src/http/journal.rs").read_text()
    line = journal[journal.index("macro_rules! line") : journal.index('"request {outcome}"')]
    fields = re.findall(r"^\s+([a-z_.]+)(?: =|,$)", line, re.M)
    assert len(fields) > 15, "the access log is written elsewhere now"
    codes, metrics = set(), set()
    code = re.compile(
        r'"((?:conversation|empty|host|insufficient|integer|internal|invalid|method|missing|model|origin|request|unknown'
        r'|unsupported|upstream|context_length|rate_limit|state)_[a-z_]+|overloaded)"'
    )
    for path in (ROOT / "src").rglob("*.rs"):
        source = path.read_text()
        if path.is_relative_to(ROOT / "src/openai") or path.is_relative_to(ROOT / "src/http"):
            codes |= set(code.findall(source))
        metrics |= set(re.findall(r'"(cozeway_[a-z0-9_]+?)(?:_bucket|_sum|_count)?\b', source))
    # Names of parameters and classes, not codes.
    codes -= {"invalid_request_error", "rate_limit_error", "conversation_id", "request_id"}
    missing = [name for name in [*fields, *sorted(codes), *sorted(metrics)] if f"`{name}`" not in text]
    assert not missing, f"not in docs/operations.md: {', '.join(missing)}"


def main():
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for function in CHECKS:
        name = function.__name__.replace("_", " ")
        try:
            function()
            outcome, why = "passed", ""
        except Skip as skip:
            outcome, why = "skipped", f": {skip}"
        except Exception as error:  # noqa: BLE001  whatever it is, it is a failure to report
            outcome, why = "failed", f": {type(error).__name__}: {error}"
        counts[outcome] += 1
        print(f"{outcome:8} {name}{why}", flush=True)
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
