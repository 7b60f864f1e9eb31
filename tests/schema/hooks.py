"""What schemathesis cannot know: the devices, conflicts, contents and places in the history that there are.

Most requests get real ones in place of generated ones, or nearly all would be refused by the first check; the rest stay as
they were made. Nothing is random: the same seed sends the same requests to the same server.
"""

import os
import re

import schemathesis

OWN_DEVICE = os.environ["NSELF_SYNC_DEVICE"]
BY_USER = os.environ["NSELF_SYNC_BY"] == "user"

known = {"devices": [OWN_DEVICE], "conflicts": [], "hashes": [], "epoch": None, "tag": None, "seq": 0}
calls = 0


def real(kind):
    """One of what is known of this kind, each in its turn."""
    return known[kind][calls % len(known[kind])] if known[kind] else None


@schemathesis.hook
def before_call(ctx, case, kwargs):
    global calls
    calls += 1
    path, method = case.operation.path, case.operation.method.upper()
    if calls % 4:
        make_real(case, path, method)
    if method == "DELETE" and case.path_parameters.get("id") == OWN_DEVICE:
        # It is what the other requests are made with.
        case.path_parameters["id"] = "nobody"


def make_real(case, path, method):
    if isinstance(case.body, dict):
        if path == "/sync/push":
            push(case.body)
        elif calls % 3 == 0:
            case.body.setdefault("resolution", "theirs")
            case.body.update(device_id=OWN_DEVICE, theirs_hash=None, force=True)
    if isinstance(case.query, dict) and path == "/sync/pull":
        case.query["since_seq"] = str(max(known["seq"] - calls % 5, 0))
        case.query.update(epoch=known["epoch"] or "", device_id=OWN_DEVICE)
        case.query.pop("tag", None)
    if isinstance(case.query, dict) and path == "/sync/history":
        case.query["key"] = ["files/f", "active_file", "context_pages/p"][calls % 3]
        case.query.pop("cursor", None)
    if isinstance(case.query, dict) and path == "/sync/live":
        case.query["device_id"] = OWN_DEVICE
    if isinstance(case.path_parameters, dict):
        if "/devices/" in path and BY_USER:
            case.path_parameters["id"] = known["devices"][-1] if method == "DELETE" else real("devices")
        elif "/conflicts/" in path and real("conflicts"):
            case.path_parameters["id"] = real("conflicts")
        elif "/files/" in path and real("hashes"):
            case.path_parameters["hash"] = real("hashes")


def push(body):
    if BY_USER and calls % 5 == 0:
        known["devices"].append(f"desktop-{calls}")
    body["device_id"] = known["devices"][-1] if BY_USER and calls % 2 == 0 else OWN_DEVICE
    body["seq"] = max(known["seq"] - calls % 7, 0)
    body["platform"] = "desktop"
    for place in ["epoch", "tag", "push_no"]:
        body.pop(place, None)
    state = body.get("state")
    if isinstance(state, dict):
        state.pop("env", None)
        files = state.setdefault("files", {})
        if isinstance(files, dict):
            # Two devices that write the same file from no base meet in a conflict.
            files["f"] = {"content": f"line {calls}\n", "base_hash": None if calls % 2 else real("hashes")}


@schemathesis.hook
def after_call(ctx, case, response):
    if case.operation.method.upper() == "DELETE" and response.status_code == 204:
        known["devices"] = [device for device in known["devices"] if device not in case.path_parameters.values()]
        known["devices"] = known["devices"] or [OWN_DEVICE]
    text = response.content.decode("utf-8", "replace")
    known["hashes"] = (known["hashes"] + re.findall(r'"hash":"([0-9a-f]{64})"', text))[-50:]
    known["conflicts"] = (known["conflicts"] + re.findall(r'"id":"([^"]+)"', text))[-50:]
    if '"policy"' in text and (place := re.search(r'"epoch":"([^"]+)".*"seq":(\d+),"', text)):
        known["epoch"] = place[1]
    if case.operation.path == "/sync/pull" and response.status_code == 200:
        answer = response.json()
        known.update(seq=answer["seq"], tag=answer["tag"], epoch=answer["epoch"])
