# SPDX-License-Identifier: Apache-2.0
"""The way in, and what runs beside the requests.

`worker` is what gunicorn is told to use. It ends mutual TLS by itself (`tls`);
its `reactor` holds every connection until a whole request is there; `lanes` has
the threads that answer, and `rounds` lets those that share a commit take turns on
one of them; `admission` says no early when there is too much to do.
These know neither Flask nor the features: the application is any WSGI callable.
"""
