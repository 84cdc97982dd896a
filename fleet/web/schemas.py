# SPDX-License-Identifier: Apache-2.0
"""What crosses the wire about the service itself."""

from marshmallow import EXCLUDE, Schema, fields, validate


class LivenessView(Schema):
    """The process runs."""

    status = fields.String(required=True, validate=validate.Equal("alive"))


class FindingView(Schema):
    """What one check found."""

    ok = fields.Boolean(required=True)
    says = fields.String(required=True)


class ReadinessView(Schema):
    """Whether the process can serve, check by check."""

    status = fields.String(
        required=True, validate=validate.OneOf(["ready", "not-ready"])
    )
    checks = fields.Dict(
        required=True, keys=fields.String(), values=fields.Nested(FindingView)
    )
    warnings = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "What will be missing soon."},
    )


class PageQuery(Schema):
    """In which language somebody wants a page."""

    class Meta:
        """Marshmallow options: people may arrive with anything in the address."""

        unknown = EXCLUDE

    lang = fields.String(
        load_default=None,
        metadata={"description": "`de`, `en` or `fr`; over Accept-Language."},
    )
