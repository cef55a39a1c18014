"""Speaks to an expander as cluster-autoscaler does, with grpc's own library: one line of JSON for each case.

client.py FOLDER ADDRESS AUTHORITY OTHER-AUTHORITY CASE...
FOLDER holds expander.proto and takes what is compiled from it.
"""

import json
import sys
import time

import grpc
from grpc_tools import protoc

FOLDER, ADDRESS, AUTHORITY, OTHER = sys.argv[1:5]
ARGUMENTS = ["", f"-I{FOLDER}", f"--python_out={FOLDER}", f"--grpc_python_out={FOLDER}", "expander.proto"]
if protoc.main(ARGUMENTS) != 0:
    sys.exit("failed to compile expander.proto")
sys.path.insert(0, FOLDER)
import expander_pb2 as pb  # noqa: E402
import expander_pb2_grpc as rpc  # noqa: E402

MIB = 1 << 20
# More than the autoscaler's 5 s: nothing here is about speed.
LIMIT_S = 60


def quantities(cpu, memory):
    return {"cpu": pb.Quantity(string=cpu), "memory": pb.Quantity(string=memory)}


def pod(number, gang, padding):
    container = pb.Container(name="pause", resources=pb.Resources(requests=quantities("500m", "2Gi")))
    meta = pb.Meta(
        name=f"stand-in-{number}",
        namespace="jobs",
        uid=f"00000000-0000-4000-8000-{number:012}",
        labels={"kompass.dev/stand-in-for": gang, "app.kubernetes.io/managed-by": "kompass"},
        annotations={"padding": "x" * padding},
    )
    return pb.Pod(metadata=meta, spec=pb.Spec(containers=[container], schedulerName="kompass-stand-in"))


def node():
    return pb.Node(
        metadata=pb.Meta(name="template"), status=pb.NodeStatus(allocatable=quantities("16", "64Gi"))
    )


def question(options=3, pods=64, padding=0, old=False):
    """The first option takes all of the gang with no waste, the second all with much, the others a part."""
    gang = [pod(number, f"gang-{number % 2}", padding) for number in range(pods)]
    encoded = [member.SerializeToString(deterministic=True) for member in gang]
    request = pb.BestOptionsRequest()
    for at in range(options):
        left = slice(0, pods if at < 2 else pods - 1)
        count = -(-pods // 32) * (1 if at == 0 else 3)
        option = request.options.add(nodeGroupId=f"group-{at}", nodeCount=count, debug="by a test")
        if old:
            option.pod.extend(gang[left])
            request.nodeMap[option.nodeGroupId].CopyFrom(node())
        else:
            option.podBytes.extend(encoded[left])
            request.nodeBytesMap[option.nodeGroupId] = node().SerializeToString()
    return request


def of_size(mib, pods=4000):
    """A request of very nearly so many MiB, nearly all of it pods."""
    options = 8
    bare = len(pod(0, "gang-0", 0).SerializeToString())
    request = question(options, pods, padding=mib * MIB // (options * pods) - bare - 16)
    request.options[7].debug = "x" * (mib * MIB - 64 - request.ByteSize())
    return request


def empty_nodes():
    request = question()
    request.nodeBytesMap.clear()
    return request


def garbage():
    request = question()
    request.options[1].podBytes.append(b"\xff\xfe\xfd")
    return request


CASES = {
    "gang": question,
    "old": lambda: question(old=True),
    "empty_nodes": empty_nodes,
    "garbage": garbage,
    "nothing": pb.BestOptionsRequest,
    "20_mib": lambda: of_size(20),
    "127_mib": lambda: of_size(127),
    "100_mib": lambda: of_size(100),
    "129_mib": lambda: of_size(129),
    "5000_pods": lambda: question(options=10, pods=5000, padding=1800),
    "wrong_authority": question,
    "plain": question,
}


def channel(case):
    options = [("grpc.max_send_message_length", -1)]
    if case == "plain":
        return grpc.insecure_channel(ADDRESS, options)
    with open(OTHER if case == "wrong_authority" else AUTHORITY, "rb") as file:
        return grpc.secure_channel(ADDRESS, grpc.ssl_channel_credentials(file.read()), options)


def ask(case):
    request = CASES[case]()
    told = {"case": case, "bytes": request.ByteSize(), "options": [], "code": "OK"}
    with channel(case) as connection:
        stub = rpc.ExpanderStub(connection)
        for _ in range(5 if case == "5000_pods" else 1):
            begun = time.monotonic()
            try:
                response = stub.BestOptions(request, timeout=LIMIT_S)
                told["options"] = [option.nodeGroupId for option in response.options]
            except grpc.RpcError as error:
                told["code"] = error.code().name
            told.setdefault("ms", []).append(round(1000 * (time.monotonic() - begun)))
    print(json.dumps(told), flush=True)


for name in sys.argv[5:]:
    ask(name)
