"""The tour of `make demo`: server, Kafka, events, endpoints, and who sees which rows.

In: a release build, an installed engine, the broker in .venv; settings from the environment and .env
(BIRDHOUSE_PORT, KAFKA_BOOTSTRAP_SERVERS, KAFKA_KEY, KAFKA_SECRET, DEMO_EVENTS, DEMO_YES, DEMO_EXIT).
Out: a server with data, and what one would type to get there. A client: it knows the commands and the HTTP
interface, nothing else. It begins processes and ends every one of them.
"""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIRDHOUSE = ROOT / "target/release/birdhouse"
GENERATOR = ROOT / "target/release/data-generator"
DATA = ROOT / ".birdhouse"
# What the demo keeps besides the server's data: the broker's, and logs.
KEPT = ROOT / ".demo"
TOPIC = "audit_log_demo"
CONNECTION = "demo_audit_log_connection"
PARTITIONS = 4

TOKENS = {
    "endpoints_token": [
        "PIPES:READ:api_audit_log",
        "PIPES:READ:api_totals",
        "PIPES:READ:api_ui_filters",
        "PIPES:READ:api_count_per_type",
    ],
    "company_1_token": [
        "PIPES:READ:api_audit_log",
        "PIPES:READ:api_totals",
        "PIPES:READ:api_ui_filters",
        "PIPES:READ:api_count_per_type",
        "DATASOURCES:READ:kafka_audit_log:company_id=1",
        "DATASOURCES:READ:companies:company_id=1",
        "DATASOURCES:READ:enriched_events_mv:name in (select name from companies where company_id = 1)",
        "DATASOURCES:READ:enriched_events_mv:name in (select name from companies where company_id = 1)",
        "DATASOURCES:READ:events_per_min_mv:company_id=1",
    ],
}

CALLS = [
    "api_totals",
    "api_ui_filters?filter=companies",
    "api_ui_filters?filter=events",
    "api_audit_log?page_size=5",
    "api_count_per_type",
    "events_per_company",
]


class Failure(Exception):
    """Something that ends the demo, in words for whoever runs it."""


class Settings:
    """The environment over .env."""

    def __init__(self):
        self.values = dict(read_dotenv(ROOT / ".env"))
        self.values.update(os.environ)

    def get(self, name, default=""):
        return self.values.get(name) or default

    def number(self, name, default):
        text = self.get(name, str(default))
        if not text.isdigit():
            raise Failure(f"{name} is not a number: {text}")
        return int(text)


def read_dotenv(path):
    if not path.exists():
        return
    for line in path.read_text().splitlines():
        line = line.strip().removeprefix("export ")
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            value = value.strip()
            if value[:1] in "'\"" and value[-1:] == value[:1]:
                value = value[1:-1]
            yield name.strip(), value


class Children:
    """The processes of the demo. Each leads a group of its own, so Ctrl-C reaches them through us alone."""

    def __init__(self):
        self.running = []

    def start(self, name, command, log, **options):
        with open(log, "wb") as output:
            child = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=ROOT,
                **options,
            )
        self.running.append((name, child))
        pid_file(name).write_text(str(child.pid))
        return child

    def stop(self):
        """Ends them, their own children too. The broker goes last: the server still reads from it."""
        self.running.sort(key=lambda it: it[0] == "broker")
        while self.running:
            name, child = self.running.pop(0)
            if child.poll() is None:
                print(f"Stopping the {name}", flush=True)
            stop_group(child)
            pid_file(name).unlink(missing_ok=True)


def pid_file(name):
    return KEPT / f"{name}.pid"


def stop_group(child):
    try:
        os.killpg(child.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    deadline = time.monotonic() + 30
    # The wrapper of the broker may go before the broker does: the group is gone when nobody is left in it.
    while time.monotonic() < deadline:
        child.poll()
        try:
            os.killpg(child.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    print("  it did not stop by itself in 30 seconds; killed", flush=True)
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait()


def main():
    if "--reset" in sys.argv[1:]:
        return reset()
    os.chdir(ROOT)
    sys.stdout.reconfigure(line_buffering=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    children = Children()
    try:
        tour(Settings(), children)
        status = 0
    except KeyboardInterrupt:
        print()
        # Whoever serves until Ctrl-C has seen what there is to see; before that the tour was cut short.
        status = 0 if tour.complete else 130
    except Failure as failure:
        print(f"\nerror: {failure}", file=sys.stderr)
        status = 1
    finally:
        if pid_file("demo").exists() and pid_file("demo").read_text() == str(os.getpid()):
            pid_file("demo").unlink()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        children.stop()
    return status


def interrupted(*_):
    raise KeyboardInterrupt


def tour(settings, children):
    tour.complete = False
    KEPT.mkdir(exist_ok=True)
    be_the_only_one()
    pid_file("demo").write_text(str(os.getpid()))
    port = settings.number("BIRDHOUSE_PORT", 7181)
    host = f"http://localhost:{port}"

    step("The server")
    serve(settings, children, host, port)
    api = Api(host, settings.get("BIRDHOUSE_ADMIN_TOKEN") or (DATA / "admin_token").read_text().strip())
    remember(api)

    step("Kafka")
    kafka = Kafka.choose(settings, children)
    connect(api, kafka)
    begin = kafka.make_topic()

    step("The project")
    run([BIRDHOUSE, "push", "--fixtures"], api)

    step("Events")
    number = settings.number("DEMO_EVENTS", 10_000)
    send_and_wait(api, kafka, begin, number, children)

    step("Tokens: two curl calls")
    tokens = {name: make_token(api, name, scopes) for name, scopes in TOKENS.items()}

    step("Endpoints: what each token sees")
    compare(api, tokens)
    tour.complete = True

    if settings.get("DEMO_EXIT") == "1":
        print("\nDEMO_EXIT=1: that was the tour.")
        return
    step("Yours to try, in another terminal, in this folder")
    show_urls(api)
    print("\nServing until Ctrl-C. `make demo` again keeps the data, `make demo-reset` forgets it.")
    while True:
        for name, child in children.running:
            if child.poll() is not None:
                raise Failure(f"the {name} ended by itself with status {child.returncode}; see {shown(KEPT)}")
        time.sleep(0.5)


def step(title):
    step.number = getattr(step, "number", 0) + 1
    print(f"\n{bold(f'{step.number}. {title}')}")


def serve(settings, children, host, port):
    again = (DATA / "admin_token").exists()
    print(f"  $ birdhouse serve --port {port}")
    log = KEPT / "server.log"
    command = [BIRDHOUSE, "serve", "--port", port, "--data-dir", DATA]
    server = children.start("server", command, log, env={**settings.values, "NO_COLOR": "1"})
    started = time.monotonic()
    # Its own word comes first: on a port that is taken, another server would answer.
    while "birdhouse serves at" not in log.read_text(errors="replace") or not answers(host):
        if server.poll() is not None:
            children.running.pop()
            raise Failure(f"the server did not start:\n{tail(log)}{other_port(log)}")
        if time.monotonic() - started > 120:
            raise Failure(f"the server does not answer after two minutes:\n{tail(log)}")
        time.sleep(0.05)
    print(f"  it answers at {host} after {time.monotonic() - started:.1f} s; its log is {shown(log)}")
    print(f"  data from an earlier run is kept in {shown(DATA)}" if again else f"  its data is in {shown(DATA)}")


def other_port(log):
    taken = "in use" in log.read_text() or "taken" in log.read_text()
    return "\n  For the demo: make demo BIRDHOUSE_PORT=7182" if taken else ""


def answers(host):
    try:
        with urllib.request.urlopen(f"{host}/health", timeout=5) as reply:
            return reply.status == 200
    except (OSError, urllib.error.URLError):
        return False


def remember(api):
    """Makes this server the one of this folder, unless the folder belongs to another one."""
    tinyb = ROOT / ".tinyb"
    try:
        known = json.loads(tinyb.read_text()).get("host", api.host)
    except FileNotFoundError:
        known = api.host
    except ValueError:
        known = "something that is not JSON"
    if known.rstrip("/") != api.host:
        print(f"  .tinyb is about {known} and stays so; `birdhouse auth --host {api.host}` changes that")
        return
    run([BIRDHOUSE, "auth", "--host", api.host], api)


class Kafka:
    """Where the events go through."""

    def __init__(self, servers, key="", secret=""):
        self.servers = servers
        self.key = key
        self.secret = secret
        self.protocol = "SASL_SSL" if key else "PLAINTEXT"

    @staticmethod
    def choose(settings, children):
        servers = settings.get("KAFKA_BOOTSTRAP_SERVERS")
        if not servers:
            return Kafka(start_broker(children))
        kafka = Kafka(servers, settings.get("KAFKA_KEY"), settings.get("KAFKA_SECRET"))
        number = settings.number("DEMO_EVENTS", 10_000)
        print(f"  KAFKA_BOOTSTRAP_SERVERS is set: the demo will make topic {TOPIC} with {PARTITIONS} partitions,")
        print(f"  if there is none, and send {number:,} events to it, on {servers} by {kafka.protocol}.")
        if settings.get("DEMO_YES") != "1":
            if not sys.stdin.isatty():
                raise Failure("nobody can be asked here; DEMO_YES=1 says yes beforehand")
            if input("  Go on? [y/N] ").strip().lower() not in ("y", "yes"):
                raise Failure("not wanted. Without KAFKA_BOOTSTRAP_SERVERS the demo starts a broker of its own")
        return kafka

    def command(self, *more):
        return [
            GENERATOR,
            "--topic", TOPIC,
            "--bootstrap-servers", self.servers,
            "--security-protocol", self.protocol,
            *more,
        ]  # fmt: skip

    def environment(self):
        return {**os.environ, "KAFKA_KEY": self.key, "KAFKA_SECRET": self.secret}

    def make_topic(self):
        """Makes the topic if there is none; gives the end of each of its partitions."""
        command = self.command("--create-topic", "--partitions", PARTITIONS, "--positions", "--sample", 0)
        made = subprocess.run(
            [str(word) for word in command], env=self.environment(), capture_output=True, text=True, check=False
        )
        for line in made.stderr.splitlines():
            print(f"  {line}")
        if made.returncode != 0:
            raise Failure("the topic cannot be made, see above")
        return json.loads(made.stdout.splitlines()[0])


def start_broker(children):
    """A broker on loopback, on the port that it had before: the connection in the server names it."""
    port_file = KEPT / "broker.port"
    again = port_file.exists()
    port = int(port_file.read_text()) if again else free_port()
    if is_open(port):
        raise Failure(
            f"port {port}, which the demo's broker had before, is taken by something else; "
            "`make demo-reset` starts over with another one"
        )
    broker = [ROOT / ".venv/bin/noida-db", "start", "--only", "kafka", "--data-dir", KEPT / "broker"]
    log = KEPT / "broker.log"
    child = children.start("broker", [*broker, "--kafka-port", port], log)
    deadline = time.monotonic() + 60
    while not is_open(port):
        if child.poll() is not None or time.monotonic() > deadline:
            raise Failure(f"the broker did not start:\n{tail(log)}")
        time.sleep(0.05)
    port_file.write_text(str(port))
    kept = "with the topics of earlier runs" if again else f"its log is {shown(log)}"
    print(f"  a broker runs on 127.0.0.1:{port}, {kept}")
    return f"127.0.0.1:{port}"


def be_the_only_one():
    """Refuses to run beside another demo; ends what a demo that was killed has left behind."""
    file = pid_file("demo")
    if file.exists() and b"demo.py" in command_line(int(file.read_text())):
        raise Failure(f"a demo runs here already, process {file.read_text()}; end it with Ctrl-C there")
    for name in ("generator", "server", "broker"):
        stop_left_over(name)


def stop_left_over(name):
    """The paths in its command line prove that a process is ours: its number may be somebody else's by now."""
    file = pid_file(name)
    if not file.exists():
        return
    group = int(file.read_text())
    left = [pid for pid in processes() if group_of(pid) == group and str(ROOT).encode() in command_line(pid)]
    if left:
        print(f"Stopping the {name} that an earlier demo left behind")
        os.killpg(group, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while any(command_line(pid) for pid in left) and time.monotonic() < deadline:
            time.sleep(0.05)
    file.unlink()


def processes():
    proc = Path("/proc")
    return [int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()] if proc.exists() else []


def group_of(pid):
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_open(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def connect(api, kafka):
    known = {it["name"]: it for it in api.json("/v0/connectors")["connectors"]}
    if CONNECTION in known:
        servers = known[CONNECTION].get("settings", {}).get("kafka_bootstrap_servers", kafka.servers)
        if servers != kafka.servers:
            raise Failure(
                f"connection {CONNECTION} of an earlier run goes to {servers}, not to {kafka.servers}; "
                "`make demo-reset` starts over"
            )
        print(f"  connection {CONNECTION} is there already")
        return
    command = [BIRDHOUSE, "connection", "create", "kafka", "--connection-name", CONNECTION]
    command += ["--bootstrap-servers", kafka.servers, "--security-protocol", kafka.protocol]
    run(command, api, more={"KAFKA_KEY": kafka.key, "KAFKA_SECRET": kafka.secret})


def run(command, api, more=None):
    """One command of ours as a user would type it; what it says is indented below."""
    words = [str(word) for word in command]
    print(f"  $ {shlex.join(['birdhouse', *words[1:]])}")
    environment = {**os.environ, "TB_HOST": api.host, "TB_TOKEN": api.token, **(more or {})}
    done = subprocess.run(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    print(textwrap.indent(done.stdout.rstrip(), "  "))
    if done.returncode != 0:
        raise Failure(f"`birdhouse {words[1]}` failed, see above")


def send_and_wait(api, kafka, begin, number, children):
    """Sends events and waits until each has arrived. Events of earlier runs lie before `begin`."""
    before = api.count("select count() as c from kafka_audit_log")
    if before:
        print(f"  {before:,} events of earlier runs are there and stay")
    command = kafka.command("--sample", number)
    print(f"  $ {shlex.join(['data-generator', *map(str, command[1:])])}")
    log = KEPT / "generator.log"
    generator = children.start("generator", command, log, env=kafka.environment())
    parts = [f"(partition = {part} and offset >= {offset})" for part, offset in begin.items()]
    mine = f"select count() as c from kafka_audit_log where {' or '.join(parts)}"
    started = moved = time.monotonic()
    arrived = shown_last = -1
    while True:
        status = generator.poll()
        now = api.count(mine)
        if now != arrived:
            arrived, moved = now, time.monotonic()
        shown_last = progress(arrived, number, shown_last)
        if status is not None and status != 0:
            raise Failure(f"the generator failed:\n{tail(log)}")
        if arrived >= number and status == 0:
            break
        if time.monotonic() - moved > 60:
            missing = number - arrived
            raise Failure(f"{missing:,} events have not arrived, and none did for a minute:\n{tail(KEPT / 'server.log')}")
        time.sleep(0.1)
    elapsed = time.monotonic() - started
    children.running = [it for it in children.running if it[1] is not generator]
    print(f"  {log.read_text().strip().splitlines()[-1]}")
    if arrived > number:
        raise Failure(f"{arrived:,} events arrived, but only {number:,} were sent")
    total, enriched = totals(api)
    print(f"  all {number:,} arrived, {elapsed:.1f} s after the first was sent")
    print(f"  kafka_audit_log holds {total:,} events, enriched_events_mv {enriched:,}")
    if enriched != total:
        raise Failure("the materialized view should hold as many events as the landing data source")


def totals(api):
    """Rows of the landing data source and of its view. On a topic that others write to, both may be growing."""
    for _ in range(20):
        total = api.count("select count() as c from kafka_audit_log")
        enriched = api.count("select count() as c from enriched_events_mv")
        if total == enriched:
            break
        time.sleep(0.5)
    return total, enriched


def progress(done, total, last):
    """A bar on a terminal, a line for each tenth elsewhere."""
    share = min(done / total, 1) if total else 1
    if sys.stdout.isatty():
        bar = "#" * int(share * 40)
        end = "\n" if done >= total else ""
        print(f"\r  [{bar:<40}] {done:,} of {total:,} events arrived", end=end, flush=True)
        return done
    tenth = int(share * 10)
    if tenth != last:
        print(f"  {done:,} of {total:,} events arrived")
    return tenth


class Api:
    """HTTP with the admin's token, for what the demo itself must know."""

    def __init__(self, host, token):
        self.host = host
        self.token = token

    def call(self, path, token=None):
        """The status and the parsed reply."""
        request = urllib.request.Request(
            self.host + path, headers={"Authorization": f"Bearer {token or self.token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            try:
                return error.code, json.loads(text)
            except ValueError:
                return error.code, {"error": text}
        except OSError as error:
            raise Failure(f"the server does not answer any more: {error}\n{tail(KEPT / 'server.log')}") from error

    def json(self, path):
        status, reply = self.call(path)
        if status != 200:
            raise Failure(f"{path}: {status} {reply.get('error')}")
        return reply

    def count(self, query):
        return int(self.json("/v0/sql?" + urllib.parse.urlencode({"q": query + " FORMAT JSON"}))["data"][0]["c"])


def make_token(api, name, scopes):
    """The curl call of the manual, run by curl."""
    words = ["curl", "-H", '"Authorization: Bearer $TOKEN"', "-d", f'"name={name}"']
    for scope in scopes:
        words += ["-d", f'"scope={scope}"']
    words.append("$HOST/v0/tokens/")
    print(textwrap.fill(f"$ {' '.join(words)}", 110, initial_indent="  ", subsequent_indent="      "))
    status, known = api.call(f"/v0/tokens/{name}")
    if status == 200:
        print(f"  {name} is there already, from an earlier run, and stays\n")
        return known["token"]
    made = subprocess.run(
        ["bash", "-c", f"curl -sS {' '.join(words[1:])}"],
        env={**os.environ, "TOKEN": api.token, "HOST": api.host},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        reply = json.loads(made.stdout)
        value = reply["token"]
    except (ValueError, KeyError, TypeError):
        raise Failure(f"no token was made: {made.stdout}{made.stderr}") from None
    # The value opens the door: a log of this demo shows the beginning of it only.
    reply["token"] = value[:8] + "..."
    print(textwrap.fill(json.dumps(reply), 110, initial_indent="  ", subsequent_indent="  ") + "\n")
    return value


def compare(api, tokens):
    """Every endpoint with both tokens, side by side, and a look at whether each sees what it may."""
    print("  Left: endpoints_token, which sees every company. Right: company_1_token, which sees company 1.\n")
    replies = {}
    for call in CALLS:
        name, _, query = call.partition("?")
        path = f"/v0/pipes/{name}.json" + (f"?{query}" if query else "")
        sides = [api.call(path, token) for token in tokens.values()]
        replies[call] = sides
        print(f"  {bold(path)}")
        print(beside(*(table(*side) for side in sides)) + "\n")
    print("  api_count_per_type reads events_per_min_mv, so company_1_token has a filter on that source too:")
    print("  without it, this endpoint would show that token every company's counts.")
    verify(api, replies)


def verify(api, replies):
    """The tables above prove nothing if they are wrong."""

    def data(call, side):
        status, reply = replies[call][side]
        if status != 200:
            raise Failure(f"{call}: {status} {reply.get('error')}")
        return reply["data"]

    every = api.count("select count() as c from enriched_events_mv")
    own = api.count("select count() as c from enriched_events_mv where company_id = 1")
    wanted = [every, own]
    for side in (0, 1):
        total = int(data("api_totals", side)[0]["total_events"])
        if total != wanted[side]:
            raise Failure(f"api_totals counts {total} where {wanted[side]} events are to be seen")
        counted = sum(
            int(value) for row in data("api_count_per_type", side) for name, value in row.items() if name != "minute"
        )
        if counted != wanted[side]:
            raise Failure(f"api_count_per_type counts {counted} where {wanted[side]} events are to be seen")
    companies = {int(row["company_id"]) for row in data("api_ui_filters?filter=companies", 1)}
    if companies != {0, 1}:
        raise Failure(f"company_1_token sees the companies {companies}")
    own_name = next(row["name"] for row in data("api_ui_filters?filter=companies", 1) if int(row["company_id"]) == 1)
    for row in data("api_audit_log?page_size=5", 1):
        if f" from {own_name} did " not in row["message"]:
            raise Failure(f"company_1_token sees a message that is not {own_name}'s: {row['message']}")
    if {status for status, _ in replies["events_per_company"]} != {403}:
        raise Failure("events_per_company answered tokens that may not call it")
    print(f"  Checked: {every:,} events on the left, {own:,} of company 1 on the right, in every endpoint.")


MOST_ROWS = 5
MOST_COLUMNS = 4


def room():
    """The letters that one of two tables side by side may take in a line."""
    return (max(110, min(shutil.get_terminal_size((160, 0)).columns, 160)) - 8) // 2


def table(status, reply):
    """A reply as a few short lines."""
    if status != 200:
        return [f"{status}", *textwrap.wrap(str(reply.get("error", "")), room())]
    names = [column["name"] for column in reply["meta"]]
    hidden = max(0, len(names) - MOST_COLUMNS)
    names = names[:MOST_COLUMNS]
    shown_rows = reply["data"][:MOST_ROWS]
    cells = [names, *([str(row[name]) for name in names] for row in shown_rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(names))]
    # The widest column gives way.
    while sum(widths) + len(widths) - 1 > room():
        widths[widths.index(max(widths))] -= 1

    def line(row):
        return " ".join(clip(cell, width).ljust(width) for cell, width in zip(row, widths)).rstrip()

    lines = [line(cells[0]), " ".join("-" * width for width in widths), *map(line, cells[1:])]
    more = [(len(reply["data"]) - MOST_ROWS, "row"), (hidden, "column")]
    more = [f"{number:,} more {what}{'s' if number > 1 else ''}" for number, what in more if number > 0]
    return lines + ([f"({', '.join(more)})"] if more else [])


def clip(text, letters):
    return text if len(text) <= letters else text[: letters - 2] + ".."


def beside(left, right):
    width = max(map(len, left))
    rows = max(len(left), len(right))
    left, right = left + [""] * (rows - len(left)), right + [""] * (rows - len(right))
    return "\n".join(f"    {a:<{width}} | {b}".rstrip() for a, b in zip(left, right))


def show_urls(api):
    print('  export PATH="$PWD/target/release:$PATH"')
    for token in TOKENS:
        for call in ("api_totals", "api_audit_log?page_size=3"):
            name, _, query = call.partition("?")
            url = f"{api.host}/v0/pipes/{name}.json" + (f"?{query}" if query else "")
            print(f'  curl -H "Authorization: Bearer $(birdhouse token show {token})" "{url}"')
    query = "select%20company_id,%20count()%20from%20enriched_events_mv%20group%20by%20company_id"
    print(f'  curl -H "Authorization: Bearer $(birdhouse token show company_1_token)" "{api.host}/v0/sql?q={query}"')
    print("  birdhouse sql 'select event, count() from enriched_events_mv group by event'")


def reset():
    """Forgets data, topics and logs. A demo that still runs keeps them."""
    os.chdir(ROOT)
    try:
        be_the_only_one()
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    for folder in (DATA, KEPT):
        if folder.exists():
            shutil.rmtree(folder)
            print(f"removed {shown(folder)}")
    return 0


def tail(log, lines=15):
    text = log.read_text(errors="replace") if log.exists() else ""
    return textwrap.indent("\n".join(text.rstrip().splitlines()[-lines:]), "  ")


def shown(path):
    return path.relative_to(ROOT)


def bold(text):
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


if __name__ == "__main__":
    sys.exit(main())
