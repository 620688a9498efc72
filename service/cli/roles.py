"""Roles and decisions of reviews, as choices of the command line."""

from enum import StrEnum

from auditor.report.review import Decision, ReviewRole


class Role(StrEnum):
    """In which role somebody reviews."""

    value: ReviewRole
    DEVELOPER = "developer"
    VALIDATOR = "validator"
    APPROVER = "approver"


class Verdict(StrEnum):
    """What a review decides."""

    value: Decision
    APPROVE = "approve"
    REJECT = "reject"
    CONDITIONAL = "conditional"
