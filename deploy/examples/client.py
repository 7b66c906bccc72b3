#!/usr/bin/env python3
"""An example client of a Valise agent's local API, for people who connect their own software to it.

It needs Python 3.9 or later and nothing else. All that it knows of paths, methods and fields it reads from the OpenAPI
document that the node serves; of operations it knows the names alone.

It plays both sides of one exchange: the first node looks at a notice before it is sent, and sends it; the second finds
it, opens it and answers; the first sees the answer. For each step it prints one line of JSON.

    client.py --sender /var/lib/valise-agent/agent.sock --recipient http://127.0.0.1:8470 --recipient-token token.txt \\
        --officer "A. Example" --text "Officers will meet the flight." deportation.json

A node is named by its Unix socket, or by the address of its loopback listener, which asks for an officer's token. What
can be checked is checked before anything is sent: the arguments, both nodes, who acts at each and whether that is allowed.
"""

import argparse
import http.client
import json
import socket
import sys
import time
import urllib.parse

OUTCOMES = ["MATCH", "NO_MATCH", "NEED_MORE", "WILL_ACT"]

DOCUMENT = "/v1/openapi.json"
"""The one path that is not read from the document."""

DEADLINE_SECONDS = 60

NO_NOTICE = "00000000-0000-7000-8000-000000000000"


class Refused(Exception):
    """The node said no. Its words are for people: a sentence, and each mistake with path, value and rule."""

    def __init__(self, status, error):
        lines = [error.get("message", "no reason was given")]
        for mistake in error.get("mistakes", []):
            lines.append("  {path}: {value!r}: {rule}".format(**mistake))
        super().__init__("{} {}: {}".format(status, error.get("code", ""), "\n".join(lines)))
        self.status = status
        self.code = error.get("code")


class Unusable(Exception):
    """Something that was given cannot be used. Nothing was sent."""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=DEADLINE_SECONDS)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Node:
    """One node, as its OpenAPI document describes it."""

    def __init__(self, role, place, token=None, officer=None):
        self.role = role
        # A token says who acts; a name is for nodes where nobody has an account.
        self.token, self.officer = token, None if token else officer
        self._place = place
        self._headers = {"Accept": "application/json"}
        if token:
            self._headers["Authorization"] = "Bearer " + token
        elif officer:
            self._headers["X-Valise-Officer"] = officer
        self._document = self._ask("GET", DOCUMENT)
        self._operations = {}
        for path, methods in self._document["paths"].items():
            for method, operation in methods.items():
                if isinstance(operation, dict) and "operationId" in operation:
                    self._operations[operation["operationId"]] = (method.upper(), path, operation)

    def call(self, name, body=None, **parameters):
        """Does an operation by its name. Parameters go where the document says: into the path, or behind the `?`."""
        if name not in self._operations:
            raise LookupError("the node's document knows no operation {!r}".format(name))
        method, path, operation = self._operations[name]
        query = {}
        for parameter in operation.get("parameters", []):
            key = parameter["name"]
            if key not in parameters:
                if parameter.get("required"):
                    raise TypeError("{} needs {!r}".format(name, key))
                continue
            value = str(parameters.pop(key))
            if parameter["in"] == "path":
                path = path.replace("{" + key + "}", urllib.parse.quote(value, safe=""))
            else:
                query[key] = value
        if parameters:
            raise TypeError("{} does not take {}".format(name, ", ".join(sorted(parameters))))
        if query:
            path += "?" + urllib.parse.urlencode(query)
        if body is not None:
            self._check(name, operation, body)
        return self._ask(method, path, body)

    def must_allow(self, name):
        """Whether whoever acts may do an operation. A node looks at that before it looks at what is asked for, which here is
        nothing that there is."""
        method, path, _ = self._operations[name]
        try:
            self._ask(method, path.replace("{id}", NO_NOTICE), {})
        except Refused as error:
            if error.status in (401, 403):
                raise

    def takes(self, name, field):
        """Whether the body of an operation has this field."""
        return field in self._schema_of(self._operations[name][2]).get("properties", {})

    def _schema_of(self, operation):
        content = operation.get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        while "$ref" in schema:
            found = self._document
            for step in schema["$ref"].lstrip("#/").split("/"):
                found = found[step]
            schema = found
        return schema

    def _check(self, name, operation, body):
        """Finds out before anything is sent where a body is not what the document describes."""
        schema = self._schema_of(operation)
        missing = [field for field in schema.get("required", []) if field not in body]
        unknown = [field for field in body if field not in schema.get("properties", body)]
        if missing or unknown:
            raise TypeError("{}: missing {}, unknown {}".format(name, missing, unknown))

    def _ask(self, method, path, body=None):
        if self._place.startswith("http://"):
            connection = http.client.HTTPConnection(self._place[len("http://"):].rstrip("/"), timeout=DEADLINE_SECONDS)
        else:
            connection = UnixConnection(self._place)
        headers = dict(self._headers)
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode("utf-8")
        try:
            try:
                connection.request(method, path, data, headers)
            except (BrokenPipeError, ConnectionResetError):
                # The node has answered before it took everything, to say why.
                pass
            answer = connection.getresponse()
            told = json.loads(answer.read().decode("utf-8"))
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise Unusable("no answer from {}: {}; is the node running, and is this its place?".format(self._place, reason))
        finally:
            connection.close()
        if answer.status >= 400:
            raise Refused(answer.status, told.get("error", {}))
        return told


DONE = {"sender": ["preview"], "recipient": ["read", "respond"]}
"""What is done at each node that takes a role."""


def check(node):
    """Finds out before anything is sent who acts at a node, and whether it takes that."""
    option = "--{}-token FILE (valise-agent token issue NAME makes a token)".format(node.role)
    accounts = node.call("status")["accounts"]
    if accounts and not node.token:
        raise Unusable("its officers have accounts, and it asks who acts: give {}".format(option))
    if not accounts and not node.token and not node.officer:
        raise Unusable("nobody has an account there: say who acts with --officer NAME")
    for name in DONE[node.role]:
        node.must_allow(name)


def until(what, look):
    """Looks again and again until there is something."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise TimeoutError("{} did not happen within {} seconds".format(what, DEADLINE_SECONDS))


def tell(step, **facts):
    print(json.dumps({"step": step, **facts}), flush=True)


def acting(node, name, body, reason):
    """Names the officer, and why, where the operation takes that."""
    for field, value in (("officer", node.officer), ("reason", reason)):
        if value and node.takes(name, field):
            body[field] = value
    return body


def play(sender, recipient, notice, arguments):
    preview = sender.call("preview", body=notice)
    if preview["mistakes"]:
        raise SystemExit("the notice cannot be sent: {}".format(json.dumps(preview["mistakes"], indent=2)))
    tell("previewed", recipients=[one["agency"] for one in preview["recipients"]], label=preview["label"])

    sent = sender.call("send", body=notice)
    notice_id = sent["notice_id"]
    tell("sent", notice_id=notice_id, recipients=sent["recipients"])

    def arrived():
        page = recipient.call("inbox", unread="true")
        return [entry for entry in page["notices"] if entry["notice_id"] == notice_id]

    entry = until("the arrival of the notice", arrived)[0]
    tell("arrived", kind=entry["kind"], originator=entry["originator"])

    opened = recipient.call("read", id=notice_id, body=acting(recipient, "read", {}, arguments.reason))
    parts = [part["type"] for portion in opened["opened"] for part in portion["content"]["parts"]]
    tell("read", portions=len(opened["opened"]), parts=parts)

    answer = {"outcome": arguments.outcome, "text": arguments.text}
    answer = recipient.call("respond", id=notice_id, body=acting(recipient, "respond", answer, None))
    tell("answered", notice_id=answer["notice_id"])

    me = opened["notice"]["recipients"]

    def answered():
        track = sender.call("track", id=notice_id)
        done = [one["agency"] for one in track["status"]["recipients"] if one["answered"] and one["agency"] in me]
        return track if done else None

    track = until("the answer", answered)
    states = {one["agency"]: one["state"] for one in track["status"]["recipients"]}
    tell("tracked", recipients=states, late=track["late"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sender", required=True, help="the node that sends: a Unix socket, or http://127.0.0.1:PORT")
    parser.add_argument("--sender-token", help="a file that holds an officer's token")
    parser.add_argument("--recipient", required=True, help="the node that receives, named in the same way")
    parser.add_argument("--recipient-token", help="a file that holds an officer's token")
    parser.add_argument("--officer", help="who acts, while a node has no officers' accounts")
    parser.add_argument("--reason", default="example client", help="why the notice is opened, for the access journal")
    parser.add_argument("--outcome", default="WILL_ACT", choices=OUTCOMES, help="what is answered")
    parser.add_argument("--text", default="Officers will meet the flight.", help="what is answered in words")
    parser.add_argument("notice", help="the notice, JSON")
    arguments = parser.parse_args()

    def node(role, place, token_file):
        try:
            node = Node(role, place, token_of(token_file), arguments.officer)
            check(node)
            return node
        except Refused as error:
            raise Unusable("the {}: {}{}".format(role, error, advice(role, error, token_file)))
        except Unusable as error:
            raise Unusable("the {}: {}".format(role, error))

    try:
        notice = notice_of(arguments.notice)
        sender = node("sender", arguments.sender, arguments.sender_token)
        recipient = node("recipient", arguments.recipient, arguments.recipient_token)
    except Unusable as error:
        sys.exit("client.py: nothing was sent. {}".format(error))
    try:
        play(sender, recipient, notice, arguments)
    except (Refused, Unusable, TimeoutError) as error:
        sys.exit("client.py: {}".format(error))


def advice(role, error, token_file):
    """What to look at where a node does not know who asks."""
    if error.status != 401:
        return ""
    if token_file:
        return "\nThe token was taken from {}: see that it is this node's, and neither ended nor revoked".format(token_file)
    return "\nGive an officer's token with --{}-token FILE".format(role)


def token_of(path):
    if not path:
        return None
    try:
        with open(path, encoding="ascii") as file:
            token = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable("the token cannot be read from {}: {}".format(path, error))
    if not token or len(token.split()) > 1:
        raise Unusable("{} must hold one token and nothing else".format(path))
    return token


def notice_of(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        raise Unusable("the notice cannot be read from {}: {}".format(path, error))


if __name__ == "__main__":
    main()
