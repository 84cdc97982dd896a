# SPDX-License-Identifier: Apache-2.0
"""The reference PBX: the other side of the wire, to be read by firmware authors.

It shares no code with the server and imports nothing from the rest of ``fleet``:
whatever the two sides agree on, they agree on through the protocol page alone.

The rules, without input or output:

``life``           the words: standings, events, actions
``machine``        what happens when, one function for each event
``timekeeping``    what time it is when no clock can be trusted
``lease``          what a signed lease says, ``entitlements`` signed entitlements
``functions``      which functions there are: what was signed, and what was typed in
``codes``          what a person types, ``release_codes`` the ones that need no network
``documents``      what is believed; ``errors`` names the many kinds of nothing

The box:

``factory``        what was written into it, ``credentials`` its key and certificate
``record``         what it must remember, ``memory`` how that survives a power cut
``channel``        how it asks and what it believes, ``answers`` how bytes are read
``vendor``         the calls about the licence, ``voucher_center`` about the functions
``licence_calls``  what becomes of their answers, and so ``function_calls``
``transport``      HTTPS, ``clocks`` clocks; ``surroundings`` is all that is handed in
``box``            how an event becomes actions; ``appliance`` is all of it together

The stage for demonstrations: ``workshop`` (a PBX in a folder), ``stage``,
``narration``, ``rehearsal`` (some eventful days), ``cli``.
"""
