# SPDX-License-Identifier: Apache-2.0
"""What the five features share: the registered PBXs and who speaks for them.

The features know the fleet; the fleet knows none of them. Its rooms, from the
ground up:

``settings``, ``clock``, ``errors``, ``database``, ``commits``
    what is configured, what time it is, how "no" is said, where things are kept,
    and how many requests share one commit.
``keys``
    secrets outside the database: signing keys, the signed key set, keyed digests.
``web``
    how HTTP looks: schemas, problem documents, callers, OpenAPI, health, metrics,
    access records, throttling.
``devices``
    the registry of PBXs and the factory list.
``identity``
    certificates: the device CA, EST, and who a request comes from.
``staff``
    people with tokens, roles, and an audit log that nobody can edit.
``server``
    the processes: web workers with mutual TLS, and the jobs process.
``pbx``
    a reference PBX: the other side of the wire, for firmware authors and tests.
"""
