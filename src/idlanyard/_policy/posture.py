"""
The posture of a policy in words: what each ID is believed from, and why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from idlanyard._policy.callables import describe_finding
from idlanyard._policy.checked_policy import CheckedPolicy
from idlanyard._policy.checks import find_unproven_certificates
from idlanyard._policy.proofs import Proof, proof_of
from idlanyard._policy.server_sources import Scope
from idlanyard._policy.sources import Baggage, Cookie, Header, PathPrefix, Query, Source, Subdomain
from idlanyard._policy.spec import IDSpec, needs_sender, signatures_of, sources_of


def explain_policy(policy: CheckedPolicy, excluded: Sequence[str]) -> str:
    """
    Return a line for each ID, one for jobs, one for each option that weakens the rest; no secrets.

    Args:
        policy: the checked options.
        excluded: the paths of ``exclude``.
    """
    lines = [f"{spec.name}: {_explain_spec(policy, spec)}" for spec in policy.specs.values()]
    queue = f"jobs and messages: {_explain_queue(policy)}."
    return "\n".join([*lines, queue, *_explain_weaknesses(policy, excluded)])


def _explain_spec(policy: CheckedPolicy, spec: IDSpec) -> str:
    sources = " or ".join(map(describe_source, sources_of(spec)))
    absent = "minted where it is absent" if spec.mint else "absent otherwise"
    if spec.required:
        absent = f"without it a request is answered {401 if spec.accept == 'proven' else 400}"
    cookie = "" if spec.cookie is None else f"; a fresh one is set as the cookie {spec.cookie}"
    known = _explain_admission(policy, spec)
    return f"{sources}, {_explain_proof(policy, spec)}; {absent}{known}{cookie}."


def _explain_admission(policy: CheckedPolicy, spec: IDSpec) -> str:
    if policy.admission is None or spec.name != "session_id":
        return ""
    unknown = "answered 404" if policy.admission.unknown == "refuse" else "treated as absent"
    return f"; one that Admission does not know is {unknown}"


def describe_source(source: Source) -> str:
    """
    Return the place in a request that a source reads.
    """
    match source:
        case Header():
            return _describe_parsed(source.parse, source.name)
        case Cookie():
            return f"the cookie {source.name}"
        case Query():
            return f"the query parameter {source.name}"
        case Subdomain():
            return f"the label before {source.base} in Host"
        case PathPrefix():
            return f"the path {source.template}"
        case Baggage():
            return f"the member {source.key} of baggage"
        case Scope():
            return _describe_parsed(source.parse, f"{source.path} in the ASGI scope")
        case _:
            return _describe_parsed(source.parse, f"{source.key} in the WSGI environ")


def _describe_parsed(parse: object, place: str) -> str:
    finds = describe_finding(parse) or "what a function finds"
    return place if parse is None else f"{finds} in {place}"


def _explain_proof(policy: CheckedPolicy, spec: IDSpec) -> str:
    """
    Return the end of the sentence: from whom a value is believed.
    """
    if signatures_of(spec) is not None:
        senders = f", from {_describe_senders(policy)}" if needs_sender(spec) else ""
        return f"only with a signature of this service{senders} (signed)"
    proof = proof_of(sources_of(spec))
    if proof is Proof.SERVER:
        return "which the server sets and no client (code)"
    if proof is Proof.SIGNATURE:
        senders = " whoever sends it"
        if needs_sender(spec):
            senders = f" and from {_describe_senders(policy)}"
        return f"which is verified{senders} (signed)"
    if spec.accept == "anyone":
        return "believed from anyone (client), who proves nothing"
    return f"believed from {_describe_senders(policy)} (peer)"


def _describe_senders(policy: CheckedPolicy) -> str:
    peers = policy.peers
    senders = ["everyone" if peers.everyone else str(entry) for entry in peers.entries]
    if policy.secret_header is not None:
        senders.append(f"those who know the secret in {policy.secret_header}")
    return ", ".join(senders) or "nobody, as trusted_peers and shared_secret are empty"


def _explain_queue(policy: CheckedPolicy) -> str:
    """
    Return the sentence on the IDs that another process has sent.
    """
    if policy.queue_proofs is None and not policy.trusted_queue:
        return (
            "an ID of another process proves nothing, as queue_keys and trusted_queue are not set"
        )
    if policy.queue_proofs is None:
        return "an ID is as proven as the message says, whoever has written it (trusted_queue)"
    signed = "an ID is as proven as the message says if one of queue_keys has signed it"
    if policy.trusted_queue:
        return f"{signed} or nobody has (trusted_queue)"
    return f"{signed}, and proves nothing otherwise"


def _explain_weaknesses(policy: CheckedPolicy, excluded: Sequence[str]) -> Iterator[str]:
    if policy.peers.anybody:
        yield "trusted_peers: holds every public address, so any client may claim any user."
    for name, header in find_unproven_certificates(policy.specs.values()):
        yield f"{header}: anyone may write it, so the {name} in it is of no certificate."
    for source in chain.from_iterable(map(sources_of, policy.specs.values())):
        if getattr(getattr(source, "parse", None), "one_line", False) is True:
            yield (
                f"one_line: {describe_source(source)} may be a part of another field with a slash."
            )
    if policy.assume_unix:
        yield "assume_unix: a peer without an address counts as the unix socket."
    if policy.unsafe_server_ok:
        yield "unsafe_server_ok: an alias such as X_User_ID may replace a header."
    if not policy.enabled:
        yield "enabled: no ID is bound in any request."
    elif excluded:
        yield f"exclude: no ID is bound in requests for {', '.join(excluded)}."
